"""Shards: safetensors files, their headers and the stored tensors in them.

The files are read here and not through a framework, because assembling and auditing need what frameworks hide: the
order of the tensors in a file, its metadata, and the bytes of a tensor as they are stored.  torch is imported only for
torch's tensors: verifying, planning, and merging and comparing on the CPU do without.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import attrgetter, mul
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from aoe import AoeError
from aoe.checkpoints.formats import FORMATS, size_of

if TYPE_CHECKING:
    import torch

HEADER_ALIGNMENT = 8  # bytes, to which the safetensors library pads
LARGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit
MOST_READ = 1 << 30  # bytes in one call; Linux reads no more than 2 GiB
LARGEST_NUMBER = 1 << 64  # the safetensors library computes shapes and offsets in 64 bits without a sign


def make_header(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the first bytes, length prefix included, of a safetensors file of {name: (dtype, shape)} in that order."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + size_of(dtype, tuple(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class StoredTensor(NamedTuple):
    """Where and how a tensor is stored: dtype as the file spells it, shape, byte range in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.begin


class Shard:
    """One safetensors file: ``size`` (bytes), ``header`` (from the first byte on), ``metadata``, ``tensors`` in order.

    ``metadata`` is text to text.  ``is_plain`` tells whether the file's own is, too: the safetensors library opens no
    other.  outline: the file holds the header only, and ``size`` is what that promises.  Raises AoeError if the file is
    not what its header says, or, for any other reason than its metadata, nothing that other readers open.
    """

    def __init__(self, path: Path | str, outline: bool = False) -> None:
        self.path, self.outline = Path(path), outline
        self._file: IO[bytes] | None = None
        self._lock, self.bytes_read = threading.Lock(), 0
        with open(self.path, "rb") as file:
            size = self.path.stat().st_size
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(LARGEST_HEADER, size - 8):
                raise AoeError(
                    f"{self.path} is no complete safetensors file: its header does not fit its {size} bytes."
                )
            text = file.read(length)
        self.header = prefix + text
        metadata, self.tensors, self.size = self._parse(text)
        self.metadata = _as_text(metadata)
        self.is_plain = metadata is None or metadata == self.metadata
        if not outline and self.size != size:
            raise AoeError(f"{self.path} has {size} bytes, but its header promises {self.size}; fetch the file again.")

    def _parse(self, text):
        try:
            # as text: of bytes, json also reads UTF-16, and marks before the first brace
            entries = json.loads(text.decode(), object_pairs_hook=self._unique, parse_int=_whole_number)
            metadata = entries.pop("__metadata__", None)
            stored = [self._entry(name, **entry) for name, entry in entries.items()]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise AoeError(f"{self.path} has an unreadable safetensors header ({error}).") from error
        stored.sort(key=attrgetter("begin", "end"))
        position = len(self.header)
        for tensor in stored:
            if tensor.begin != position:
                raise AoeError(f"{self.path}: the header leaves a gap or an overlap before the tensor {tensor.name}.")
            position = tensor.end
        return metadata, {tensor.name: tensor for tensor in stored}, position

    def _entry(self, name, dtype, shape, data_offsets, **_):
        numbers = [*shape, *data_offsets]
        if not _is_unicode(name):
            raise AoeError(
                f"{self.path}: the name {name!a} of a tensor is broken Unicode; no other reader opens the file."
            )
        if (
            len(data_offsets) != 2
            or set(map(type, numbers)) != {int}
            or min(numbers) < 0
            or max([*numbers, *accumulate(shape, mul)]) >= LARGEST_NUMBER
        ):
            raise AoeError(
                f"{self.path}: the tensor {name} has the impossible shape {shape} or offsets {data_offsets}."
            )
        begin, end = len(self.header) + data_offsets[0], len(self.header) + data_offsets[1]
        if dtype not in FORMATS:
            raise AoeError(f"{self.path}: the tensor {name} has the unknown dtype {dtype}.")
        if end - begin != size_of(dtype, shape):
            raise AoeError(f"{self.path}: the tensor {name} has a byte range that does not fit {dtype} {shape}.")
        return StoredTensor(name, dtype, tuple(shape), begin, end)

    def _unique(self, pairs):
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise AoeError(f"{self.path}: the header names a tensor twice.")
        return entries

    @property
    def written_header(self) -> bytes:
        """The header of a file with the same tensors that every reader opens: this one's, if its metadata lets it.

        The safetensors library wants metadata of text, transformers its ``format`` among them.
        """
        if self.is_plain and (not self.metadata or "format" in self.metadata):
            return self.header
        tensors = {name: (stored.dtype, stored.shape) for name, stored in self.tensors.items()}
        return make_header(tensors, {"format": "pt"} | self.metadata)

    @property
    def file(self) -> IO[bytes]:
        """The open file, for reading at any place; opened once, whatever threads ask for it."""
        with self._lock:
            if self._file is None:
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - for as long as the shard is in use
            return self._file

    def read(self, name: str, begin: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Fill ``out``, a uint8 array, with a tensor's bytes from ``begin`` on and return it; without one, all of them.

        Raises AoeError if the file ends before.
        """
        stored = self.tensors[name]
        out = np.empty(stored.size - begin, np.uint8) if out is None else out
        if begin + len(out) > stored.size:
            raise ValueError(f"the tensor {name} has {stored.size} bytes, not {begin + len(out)}")
        done, file = 0, self.file
        while done < len(out):
            try:
                count = os.preadv(file.fileno(), [out[done : done + MOST_READ].data], stored.begin + begin + done)
            except OSError as error:
                raise AoeError(f"{self.path} cannot be read at the tensor {name} ({error.strerror}).") from error
            if not count:
                raise AoeError(
                    f"{self.path} ends within the tensor {name}: "
                    + ("the shard itself was not fetched." if self.outline else "it was cut off after it was opened.")
                )
            done += count
        with self._lock:
            self.bytes_read += done
        return out

    def prefetch(self, name: str, begin: int, end: int) -> None:
        """Ask the system to read bytes of a tensor ahead."""
        if hasattr(os, "posix_fadvise"):
            start = self.tensors[name].begin + begin
            os.posix_fadvise(self.file.fileno(), start, end - begin, os.POSIX_FADV_WILLNEED)

    def tensor(self, name: str) -> torch.Tensor:
        """Return the tensor as stored: its own dtype and shape, a copy in memory."""
        import torch

        stored = self.tensors[name]
        dtype = getattr(torch, FORMATS[stored.dtype].torch)
        if not stored.elements:
            return torch.empty(stored.shape, dtype=dtype)
        return torch.from_numpy(self.read(name)).view(dtype).reshape(stored.shape)


def _whole_number(digits):
    """A number of the header's JSON; other readers take -0 for no whole one."""
    return float(digits) if digits == "-0" else int(digits)


def _as_text(metadata):
    """A header's metadata as the format has it, text to text; what is none, as JSON."""
    if not isinstance(metadata, dict):
        metadata = {} if metadata is None else {"metadata": metadata}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    return {_unicode(key): _unicode(text) for key, text in texts.items()}


def _unicode(text):
    return text.encode(errors="replace").decode()


def _is_unicode(text):
    return text == _unicode(text)
