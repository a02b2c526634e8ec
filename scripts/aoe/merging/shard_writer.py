"""Write the shards of a merged checkpoint: in the base's layout, in little memory, and never half.

A shard has the base's header (see Shard.written_header), so its names, order, alignment and metadata; of an unrounded
plan, that of its BF16 weights.  What is copied goes from file to file inside the kernel, and a shard that is one
parent's is copied whole, which file systems that can share blocks do at no cost.
"""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from aoe import AoeError
from aoe.checkpoints.formats import FORMATS, scale_shape
from aoe.checkpoints.shard import make_header
from aoe.files.disk import copy_range, reserve, start_flushing
from aoe.files.replacing import replacing
from aoe.merging.merge import Merge
from aoe.numerics.kernels import FP8
from aoe.numerics.slabs import slabs
from aoe.numerics.stored_scales import narrowed

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
    header, begins, size = _layout(merge, shard)
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
                merge.run(_tasks(merge, out, begins))
    except OSError as error:
        sentence = f"{target} could not be written: {error.strerror}; it takes {size:,} bytes."
        raise AoeError(sentence) from error


def _layout(merge, shard):
    """(header, {tensor: where it begins}, size) of the output's file: the base's, but for what becomes BF16."""
    if not merge.plan.unrounded:
        shift = len(shard.written_header) - len(shard.header)
        begins = {tensor: stored.begin + shift for tensor, stored in shard.tensors.items()}
        return shard.written_header, begins, shard.size + shift
    kept = {tensor: merge.stored(tensor) for tensor in shard.tensors if not merge.base.is_scale(tensor)}
    header = make_header({t: (one.dtype, one.shape) for t, one in kept.items()}, {"format": "pt"} | shard.metadata)
    begins, end = {}, len(header)
    for tensor, stored in kept.items():
        begins[tensor], end = end, end + stored.size
    return header, begins, end


def _whole_source(merge, shard, header):
    """The parent's shard that the output, which begins with ``header``, equals in every byte, or None."""
    sources = {merge.source(merge.base.weight(tensor)) for tensor in shard.tensors}
    if len(sources) != 1 or None in sources:
        return None
    (source,) = sources
    if any(tensor not in source or source.rearranges(tensor) for tensor in shard.tensors):
        return None
    others = {source.shard_of(tensor) for tensor in shard.tensors}
    other = others.pop()
    return other if not others and other.header == header else None


def _tasks(merge, out, begins):
    """What there is to do for a shard, in its order: callables that fill their own bytes of the file ``out``.

    begins: {tensor: where it begins in the file}.
    """
    done = set()  # weights that are combined: their members are made together
    for tensor in begins:
        weight = merge.base.weight(tensor)
        if merge.source(weight) is not None or tensor in merge.kept(weight):
            checkpoint, name = merge.member(tensor)
            size = checkpoint.stored(name).size
            for copied in range(0, size, COPIED_BYTES):
                length = min(COPIED_BYTES, size - copied)
                if checkpoint.rearranges(name):
                    yield partial(_write_rearranged, checkpoint, name, copied, length, out, begins[tensor])
                    continue
                origin = checkpoint.shard_of(name)
                start = origin.tensors[name].begin
                yield partial(copy_range, origin.file, start + copied, out, begins[tensor] + copied, length)
        elif weight not in done:
            done.add(weight)
            yield from _combining(merge, weight, out, begins)


def _combining(merge, weight, out, begins):
    """Yields what there is to do for a weight that is combined or converted."""
    if not merge.is_native(weight):
        for begin, end in merge.pieces(weight):
            yield partial(_write_encoded, merge, weight, begin, end, out, begins)
        return
    for slab in slabs(merge.base.stored(weight), merge.engine):
        for parent in merge.parents(weight):
            slab.prefetch(parent)
        yield partial(_write_combined, merge, slab, out, begins)


def _write_encoded(merge, weight, begin, end, out, begins):
    """Combine rows of a weight and write those of its members that the shard holds."""
    layout = merge.layout(weight)
    for role, numbers in merge.encoded(weight, begin, end).items():
        member = layout.members[role]
        if member.stored.name in begins:
            start, _ = member.span(begin, end, layout.shape[0])
            _write(out, numbers, begins[member.stored.name] + start)


def _write_rearranged(source, tensor, begin, length, out, position):
    """Copy bytes of a tensor whose rows have another order in their file."""
    _write(out, source.read(tensor, begin, np.empty(length, np.uint8)), position + begin)


def _write_combined(merge, slab, out, begins):
    """Combine a slab and write its numbers, its scales, or both, whatever of them the shard holds."""
    weight, engine, dtype = slab.stored.name, merge.engine, merge.stored(slab.stored.name).dtype
    numbers = engine.empty(slab.shape, dtype)
    scale, scale_name = None, None
    if dtype == FP8:
        scale_name = merge.base.scale(weight)
        scale = engine.empty(scale_shape(*slab.shape), "F32")
    merge.combine(slab, numbers, scale)
    if weight in begins:
        start = slab.bytes[0] * FORMATS[dtype].bytes // FORMATS[slab.stored.dtype].bytes
        _write(out, engine.host(numbers), begins[weight] + start)
    if scale_name in begins:
        stored = merge.base.stored(scale_name).dtype
        _write(out, narrowed(engine.host(scale), stored), begins[scale_name] + slab.scale_bytes(stored)[0])


def _write(out, array, position):
    view, start = memoryview(array).cast("B"), position
    while view:
        count = os.pwrite(out.fileno(), view[:WRITTEN_BYTES], position)
        view, position = view[count:], position + count
    start_flushing(out, start, position - start)
