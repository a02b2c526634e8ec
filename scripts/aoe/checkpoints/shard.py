"""Shards: safetensors files, their headers and the stored tensors in them.

The files are read here and not through a framework, because assembling and auditing need what frameworks hide: the
order of the tensors in a file, its metadata, and the bytes of a tensor as they are stored.  torch is imported only for
torch's tensors: verifying, planning, and merging and comparing on the CPU do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

HEADER_ALIGNMENT = 8  # bytes, to which the safetensors library pads
LARGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit
MOST_READ = 1 << 30  # bytes in one call; Linux reads no more than 2 GiB
