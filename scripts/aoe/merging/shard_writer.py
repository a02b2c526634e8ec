"""Write the shards of a merged checkpoint: in the base's layout, in little memory, and never half.

A shard has the base's header (see Shard.written_header), so its names, order, alignment and metadata; what is copied
goes from file to file inside the kernel, and a shard that is one parent's is copied whole, which file systems that can
share blocks do at no cost.
"""

import os
import shutil
from functools import partial
from pathlib import Path

from aoe import AoeError
from aoe.files.disk import copy_range, reserve, start_flushing
from aoe.files.replacing import replacing
from aoe.merging.merge import Merge
from aoe.numerics.kernels import FP8
from aoe.numerics.slabs import slabs

COPIED_BYTES = 64 << 20  # at a time
WRITTEN_BYTES = 256 << 10  # at a time; ext4 is several times slower with megabytes


def write_shard(merge: Merge, file: str, target: Path | str) -> None:
    """Write the shard ``file`` of a merged checkpoint to ``target``, through a temporary name beside it.

    A file under its own name is complete and on the disk.  Raises AoeError if the space does not suffice, and what
    Merge.combine raises; what was written until then is removed.
    """
    target = Path(target)
    shard = merge.base.shard(file)
    for tensor in shard.tensors:
        if merge.base.files.get(tensor) != file:
            raise AoeError(f"{merge.base.name}: {file} holds the tensor {tensor}, but the index does not put it there.")
    header = shard.written_header
    shift = len(header) - len(shard.header)
    size = shard.size + shift
    try:
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise AoeError(f"{target.parent} has {free:,} bytes left, but {file} takes {size:,}; free some.")
        with replacing(target, flushed=True) as partial_file, open(partial_file, "wb", buffering=0) as out:
            reserve(out, size)
            whole = _whole_source(merge, shard, header)
            if whole is not None:
                copy_range(whole.file, 0, out, 0, size)
            else:
                os.pwrite(out.fileno(), header, 0)
                merge.run(_tasks(merge, shard, out, shift))
    except OSError as error:
        sentence = f"{target} could not be written: {error.strerror}; it takes {size:,} bytes."
        raise AoeError(sentence) from error


def _whole_source(merge, shard, header):
    """The parent's shard that the output, which begins with ``header``, equals in every byte, or None."""
    sources = {merge.source(merge.base.weight(tensor)) for tensor in shard.tensors}
    if len(sources) != 1 or None in sources:
        return None
    (source,) = sources
    others = {source.shard_of(tensor) for tensor in shard.tensors}
    other = others.pop()
    return other if not others and other.header == header else None


def _tasks(merge, shard, out, shift):
    """What there is to do for a shard, in its order: callables that fill their own bytes of the file ``out``.

    shift: by how many bytes the output's header is longer than the base's.
    """
    for tensor, stored in shard.tensors.items():
        weight = merge.base.weight(tensor)
        source = merge.source(weight)
        if source is not None:
            origin = source.shard_of(tensor)
            start = origin.tensors[tensor].begin
            for done in range(0, stored.size, COPIED_BYTES):
                length = min(COPIED_BYTES, stored.size - done)
                yield partial(copy_range, origin.file, start + done, out, stored.begin + shift + done, length)
        elif tensor == weight or weight not in shard.tensors:  # a scale is made with its weight
            for slab in slabs(merge.base.stored(weight), merge.engine):
                for parent in merge.parents(weight):
                    slab.prefetch(parent)
                yield partial(_write_combined, merge, shard, slab, out, shift)


def _write_combined(merge, shard, slab, out, shift):
    """Combine a slab and write its numbers, its scales, or both, whatever of them the shard holds."""
    weight, engine = slab.stored.name, merge.engine
    numbers = engine.empty(slab.shape, slab.stored.dtype)
    scale, scale_name = None, None
    if slab.stored.dtype == FP8:
        scale_name = merge.base.scale(weight)
        first, last = slab.block_rows.start, slab.block_rows.stop
        scale = engine.empty((last - first, *merge.base.stored(scale_name).shape[1:]), "F32")
    merge.combine(slab, numbers, scale)
    if weight in shard.tensors:
        _write(out, engine.host(numbers), shard.tensors[weight].begin + shift + slab.bytes[0])
    if scale_name in shard.tensors:
        _write(out, engine.host(scale), shard.tensors[scale_name].begin + shift + slab.scale_bytes[0])


def _write(out, array, position):
    view, start = memoryview(array).cast("B"), position
    while view:
        count = os.pwrite(out.fileno(), view[:WRITTEN_BYTES], position)
        view, position = view[count:], position + count
    start_flushing(out, start, position - start)
