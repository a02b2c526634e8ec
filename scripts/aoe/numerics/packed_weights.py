"""Rows of packed weights, by their Layout, as values and back; the formats' arithmetic is aoe.numerics.packed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.layout import CODES, ORDER, SCALE, Layout
from aoe.numerics.packed import awq, gptq, int4, mxfp4, nvfp4, scales

ZERO, GLOBAL = "zero", "global_scale"  # roles of members

Floats = NDArray[np.float32]
Rows = Mapping[str, np.ndarray]  # role -> the bytes of a member's rows, uint8 (n,)
Encoded = dict[str, np.ndarray]  # role -> the same as they are stored


def decode(layout: Layout, rows: Rows, count: int) -> Floats:
    """Return the float32 values (count, columns) of so many rows.  Raises KeyError for an unknown format."""
    return ARITHMETIC[layout.storage].decode(layout, rows, count)


def encode(layout: Layout, values: Floats) -> Encoded:
    """Return rows of values as a layout stores them.  Raises NotFiniteError for values that are not finite."""
    made = ARITHMETIC[layout.storage].encode
    assert made is not None  # a layout that combines has one
    return made(layout, values)


def _decode_mxfp4(layout: Layout, rows: Rows, count: int) -> Floats:
    groups = layout.shape[1] // mxfp4.GROUP
    return mxfp4.decode(rows[CODES].reshape(count, -1), rows[SCALE].reshape(count, groups))


def rule_of(layout: Layout) -> mxfp4.SharedExponent:
    """Return how the exponents of a layout's groups are found: OCP's rule, as gpt-oss has it, or another one."""
    even = layout.weight.endswith("_packed")  # compressed-tensors
    return mxfp4.SharedExponent.EVEN if even else mxfp4.SharedExponent.FLOOR


def _encode_mxfp4(layout: Layout, values: Floats) -> Encoded:
    codes, scale = mxfp4.encode(values, rule_of(layout))
    return {CODES: codes, SCALE: scale}


def convention_of(layout: Layout) -> nvfp4.GlobalScale:
    """Return what the scale of an NVFP4 weight does to the scales of its groups."""
    return nvfp4.GlobalScale.DIVIDES if layout.other["divides"] else nvfp4.GlobalScale.MULTIPLIES


def _decode_nvfp4(layout: Layout, rows: Rows, count: int) -> Floats:
    codes, scale = rows[CODES].reshape(count, -1), rows[SCALE].reshape(count, -1)
    return nvfp4.decode(codes, scale, float(rows[GLOBAL].view(np.float32)[0]), convention_of(layout))


def _encode_nvfp4(layout: Layout, values: Floats) -> Encoded:
    factor = nvfp4.global_scale_of(float(np.abs(values).max(initial=0)), convention_of(layout))
    codes, scale = nvfp4.encode(values, float(factor), convention_of(layout))
    return {CODES: codes, SCALE: scale, GLOBAL: np.array([factor], np.float32)}


def _scales(layout: Layout, rows: Rows, shape: tuple[int, int]) -> Floats:
    dtype = layout.members[SCALE].stored.dtype
    return scales.widen(rows[SCALE].view(scales.STORAGE[dtype]).reshape(shape), dtype)


def _decode_int4(layout: Layout, rows: Rows, count: int) -> Floats:
    packed, scale = rows[CODES].view(np.int32).reshape(count, -1), _scales(layout, rows, (count, -1))
    zero = rows[ZERO].view(np.int32).reshape(-1, scale.shape[1]) if ZERO in rows else None
    order = rows[ORDER].view(np.int32) if ORDER in rows else None
    return int4.decode(packed, scale, layout.shape[1], layout.other["bits"], zero, order)


def _encode_int4(layout: Layout, values: Floats) -> Encoded:
    bits, dtype = layout.other["bits"], layout.members[SCALE].stored.dtype
    # the largest magnitude becomes the largest code, so that what was decoded is encoded without a change
    found = int4.encode(values, layout.block[1], bits, dtype, ZERO not in layout.members, ratio=2 ** (bits - 1) - 1)
    made = {CODES: found.packed, SCALE: scales.narrow(found.scale, dtype)}
    return made if found.zero_point is None else made | {ZERO: found.zero_point}


def _decode_awq(layout: Layout, rows: Rows, count: int) -> Floats:
    codes, zeros = (rows[role].view(np.int32).reshape(-1, layout.shape[0] // awq.EIGHT) for role in (CODES, ZERO))
    return awq.decode(codes, zeros, _scales(layout, rows, (-1, layout.shape[0])))


def _decode_gptq(layout: Layout, rows: Rows, count: int) -> Floats:
    codes, scale = rows[CODES].view(np.int32).reshape(-1, layout.shape[0]), _scales(layout, rows, (-1, layout.shape[0]))
    zeros = rows[ZERO].view(np.int32).reshape(len(scale), -1)
    order = rows[ORDER].view(np.int32) if ORDER in rows else None
    return gptq.decode(codes, zeros, scale, order, layout.other["bits"], layout.other["less_one"])


class Arithmetic(NamedTuple):
    """A format's functions; encode: None where scales come out of a calibration."""

    decode: Callable[[Layout, Rows, int], Floats]
    encode: Callable[[Layout, Floats], Encoded] | None = None


ARITHMETIC = {
    "mxfp4": Arithmetic(_decode_mxfp4, _encode_mxfp4),
    "nvfp4": Arithmetic(_decode_nvfp4, _encode_nvfp4),
    "int4": Arithmetic(_decode_int4, _encode_int4),
    "awq": Arithmetic(_decode_awq),
    "gptq": Arithmetic(_decode_gptq),
}
