"""Rows of weights that all parents store alike, decoded, summed and encoded at once: no values of theirs are kept.

The bytes are those that aoe.numerics.decoded makes one step after the other, which does the rest: other arithmetics and
roundings, parents that are stored differently, and words about what is wrong with numbers.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import CODES, ORDER, SCALE, Layout
from aoe.numerics import fp8_blocks, packed_weights
from aoe.numerics.decoded import stored_rows
from aoe.numerics.kernels import Method, comparing, cpu
from aoe.numerics.packed import combining, mxfp4, nvfp4, scales
from aoe.numerics.packed_weights import GLOBAL, ZERO
from aoe.numerics.stored_scales import narrowed, widened

SLAB = 8 << 20  # bytes of values: a megabyte or two as stored

Encoded = dict[str, np.ndarray]  # role -> unsigned integers or float32
Floats = NDArray[np.float32]


def is_known(layout: Layout, parents: Sequence[Checkpoint], method: Method) -> bool:
    """Return whether ``combine`` makes a weight of a layout from these parents, by a method."""
    if not method.is_plain or layout.storage not in COMBINING:
        return False
    if layout.storage == "int4" and (layout.other["bits"] != 4 or layout.block[1] % 2):
        return False
    theirs = [parent.layout(layout.weight) for parent in parents]
    alike = all(layout.is_stored_as(one) and one.is_stored_as(layout) and one.other == layout.other for one in theirs)
    return alike and not any(role in one.members for one in (layout, *theirs) for role in (ZERO, ORDER))


def combine(
    layout: Layout, parents: Sequence[Checkpoint], weights: Sequence[float], begin: int, end: int
) -> Encoded | None:
    """Return combined rows of a weight, as aoe.numerics.decoded.encode does; None if a number is not finite.

    weights: λ of the parents; begin: a multiple of the layout's ``step``.
    """
    theirs = [parent.layout(layout.weight) for parent in parents]
    pairs = enumerate(zip(parents, theirs, strict=True))
    rows = [stored_rows(parent, one, begin, end, place) for place, (parent, one) in pairs]
    return COMBINING[layout.storage](layout, theirs, rows, np.asarray(weights, np.float32), end - begin)


def _combine_fp8(layout, parents, rows, weights, count):
    if any(comparing.has_nan(each[CODES]) for each in rows):
        return None
    (height, width), kind = layout.block, cpu.SCALES[layout.scales]
    dtype, columns = layout.members[SCALE].stored.dtype, layout.shape[1]
    codes = tuple(each[CODES].reshape(count, columns) for each in rows)
    factors = tuple(
        np.ascontiguousarray(widened(each[SCALE], parent.members[SCALE].stored.dtype)).reshape(-1, -(-columns // width))
        for parent, each in zip(parents, rows, strict=True)
    )
    out, scale = np.empty((count, columns), np.uint8), np.empty(factors[0].shape, np.float32)
    if not fp8_blocks.combine(codes, factors, weights, height, width, kind, out, scale):
        return None
    return {CODES: out, SCALE: narrowed(scale, dtype)}


def _of_rows(rows, role, count):
    return tuple(each[role].reshape(count, -1) for each in rows)


def _combine_mxfp4(layout, parents, rows, weights, count):
    codes, stored = _of_rows(rows, CODES, count), _of_rows(rows, SCALE, count)
    out, scale, carry = np.empty_like(codes[0]), np.empty_like(stored[0]), mxfp4.CARRIES[packed_weights.rule_of(layout)]
    finite = combining.combine_mxfp4(codes, stored, scales.E8M0, weights, carry, out, scale)
    return {CODES: out, SCALE: scale} if finite else None


def _combine_nvfp4(layout, parents, rows, weights, count):
    codes, stored = _of_rows(rows, CODES, count), _of_rows(rows, SCALE, count)
    out, scale, convention = np.empty_like(codes[0]), np.empty_like(stored[0]), packed_weights.convention_of(layout)
    divides = convention == nvfp4.GlobalScale.DIVIDES
    factors = np.array([each[GLOBAL].view(np.float32)[0] for each in rows], np.float32)
    largest = combining.largest_nvfp4(codes, stored, factors, divides, scales.E4M3, weights)
    if not largest < np.inf:
        return None
    factors = np.append(factors, nvfp4.global_scale_of(float(largest), convention))
    combining.combine_nvfp4(codes, stored, factors, divides, scales.E4M3, weights, out, scale)
    return {CODES: out, SCALE: scale, GLOBAL: factors[-1:]}


def _combine_int4(layout, parents, rows, weights, count):
    codes, dtype = _of_rows(rows, CODES, count), layout.members[SCALE].stored.dtype
    stored = [each[SCALE].view(scales.STORAGE[dtype]).reshape(count, -1) for each in rows]
    factors = tuple(scales.widen(each, dtype) for each in stored)
    out, scale = np.empty(codes[0].shape, np.uint8), np.empty(factors[0].shape, scales.STORAGE[dtype])
    bits, kind, epsilon = scale.view(f"u{scale.itemsize}"), scales.KINDS[dtype], scales.EPSILON[dtype]
    finite = combining.combine_int4(codes, factors, weights, kind, epsilon, out, bits)
    return {CODES: out.view(np.int32), SCALE: scale} if finite else None


COMBINING: dict[str, Callable[..., Encoded | None]] = {
    "fp8": _combine_fp8,
    "mxfp4": _combine_mxfp4,
    "nvfp4": _combine_nvfp4,
    "int4": _combine_int4,
}
