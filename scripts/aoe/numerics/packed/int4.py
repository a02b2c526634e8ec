"""Integers of 1 to 8 bits as compressed-tensors packs them (``pack-quantized``), such as Kimi-K2-Thinking's INT4.

``weight_packed`` int32 (rows, words): 32 // bits integers a word along the columns, the first in the lowest bits, each
plus 2**(bits - 1); ``weight_scale`` (rows, groups), of one group a row if it is a scale a row; ``weight_shape``: rows
and columns.  Asymmetric weights have ``weight_zero_point`` int32 (ceil(rows / (32 // bits)), groups), packed along the
rows; activation ordering has ``weight_g_idx`` int32 (columns,), the group of each column.

Every row can be decoded and encoded by itself, but with zero points: then slabs have to begin at a multiple of
32 // bits rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import checks, integers, scales

Floats = NDArray[np.float32]
Words = NDArray[np.int32]


class Encoded(NamedTuple):
    """A weight as it is stored, but for its scale, which is float32 here; zero_point: None of a symmetric weight."""

    packed: Words
    scale: Floats
    zero_point: Words | None = None


def decode(
    packed: Words,
    scale: Floats,
    columns: int,
    bits: int = 4,
    zero_point: Words | None = None,
    g_idx: NDArray[np.int32] | None = None,
    out: Floats | None = None,
) -> Floats:
    """Return the float32 values (rows, columns) of packed integers, exact for scales of BF16 and F16.

    packed: int32 (rows, ceil(columns / (32 // bits))); scale: float32 (rows, groups); zero_point, g_idx: as stored.  A
    ``g_idx`` with a -1 counts as none.  out: float32 to fill instead of a new array.  Raises ValueError for other
    shapes and dtypes, and for columns that groups do not divide.
    """
    count = _integers_a_word(bits)
    words = checks.words("packed integers", packed, (None, -(-columns // count)))
    rows = len(words)
    scale = checks.checked("a scale", scale, np.float32, (rows, None))
    size = checks.divided("packed integers", columns, scale.shape[1])
    zeros = _zeros(zero_point, bits, scale.shape)
    out = checks.result(out, (rows, columns))
    order = None if g_idx is None else checks.checked("g_idx", g_idx, np.int32, (columns,))
    if not out.size:
        return out
    if order is not None and order.min() >= 0:
        if order.max() >= scale.shape[1]:
            raise ValueError(f"g_idx names group {order.max()}, and there are {scale.shape[1]} groups of scales")
        integers.decode_by_index(unpacked(words, bits, columns), scale, zeros, order, out)
    elif bits == 4 and size % 2 == 0:
        integers.decode_nibbles(words.view(np.uint8), scale, zeros, out)
    else:
        integers.decode_bytes(unpacked(words, bits, columns), scale, zeros, out)
    return out


def encode(
    values: Floats, size: int, bits: int = 4, scale_dtype: str = "BF16", symmetric: bool = True, ratio: float = 0
) -> Encoded:
    """Return packed integers of float32 values (rows, columns) in groups of ``size`` columns.

    scale_dtype: what scales are rounded to before anything is divided by them, as safetensors spells it.  The rule is
    compressed-tensors': symmetric scales are the largest magnitude / ((2**bits - 1) / 2), 7.5 of 4 bits, unless another
    ``ratio`` is given; asymmetric ones are the range, with 0 in it, / (2**bits - 1).  Scales of 0 become the dtype's
    epsilon.  Numbers are rounded to nearest, ties to even.  With 7.5 no group keeps its scale when it is decoded and
    encoded again; with 7, those do whose codes lie from -7 to 7 and include one of both.  Raises NotFiniteError for NaN
    and Inf, and ValueError if the columns are no multiple of ``size``.
    """
    _integers_a_word(bits)
    values = checks.checked("a weight", values, np.float32, (None, None))
    rows, columns = values.shape
    if size < 1 or columns % size:
        raise ValueError(f"groups have {size} columns, and {columns} columns are no multiple of it")
    if scale_dtype not in scales.EPSILON:
        raise ValueError(f"scales cannot be rounded to {scale_dtype}: they are {', '.join(scales.EPSILON)}")
    smallest, largest = np.empty((2, rows, columns // size), np.float32)
    if values.size and not integers.ranges(values, smallest, largest):
        raise NotFiniteError
    steps = np.float32(2**bits - 1)
    if symmetric:
        scale = np.maximum(-smallest, largest) / np.float32(ratio or steps / 2)
        zeros = np.zeros_like(scale)
    else:
        scale = (largest - smallest) / steps
        zeros = _zero_points(smallest, scale, bits)
    scale = scales.widen(scales.narrow(scale, scale_dtype), scale_dtype)
    scale[scale == 0] = scales.EPSILON[scale_dtype]
    packed = encode_with(values, scale, zeros, bits)
    return Encoded(packed, scale, None if symmetric else _packed_zeros(zeros, bits))


def encode_with(values: Floats, scale: Floats, zeros: Floats, bits: int = 4) -> Words:
    """Return packed integers of float32 values (rows, columns), by scales and zeros that are given.

    scale: float32 (rows, groups), above 0; zeros: float32 (rows, groups), whole numbers, 0 where it is symmetric.
    Decoded values give the same bytes with the same scales.  Raises ValueError for other shapes and dtypes, and for
    other scales.
    """
    values = checks.checked("a weight", values, np.float32, (None, None))
    scale = checks.checked("a scale", scale, np.float32, (len(values), None))
    zeros = checks.checked("zeros", zeros, np.float32, scale.shape)
    checks.divided("a weight", values.shape[1], scale.shape[1])
    if not np.all(scale > 0):
        raise ValueError("a scale is not above 0, so that nothing can be divided by it")
    codes = np.empty(values.shape, np.uint8)
    integers.encode(values, scale, zeros, bits, codes)
    return _packed(codes, bits)


def unpacked(words: NDArray[np.uint32], bits: int, columns: int) -> NDArray[np.uint8]:
    """Return the unsigned integers (rows, columns) of words uint32 (rows, ceil(columns / (32 // bits)))."""
    out = np.empty((len(words), columns), np.uint8)
    integers.unpack(words, bits, out)
    return out


def _packed(codes, bits):
    if bits == 8 and codes.shape[1] % 4 == 0:
        return codes.view(np.int32)
    out = np.empty((len(codes), -(-codes.shape[1] // (32 // bits))), np.uint32)
    integers.pack(codes, bits, out)
    return out.view(np.int32)


def _zeros(zero_point, bits, shape):
    """Zeros of unsigned integers, int32 (rows, groups)."""
    half = np.int32(1 << (bits - 1))
    if zero_point is None:
        return np.full(shape, half, np.int32)
    rows, groups = shape
    words = checks.words("a zero point", zero_point, (-(-rows // (32 // bits)), groups))
    return np.ascontiguousarray(unpacked(np.ascontiguousarray(words.T), bits, rows).T, np.int32)


def _packed_zeros(zeros, bits):
    codes = (zeros.T + np.float32(1 << (bits - 1))).astype(np.uint8)
    return np.ascontiguousarray(_packed(codes, bits).T)


def _zero_points(smallest, scale, bits):
    lowest = -np.float32(1 << (bits - 1))
    with np.errstate(all="ignore"):
        zeros = np.rint(np.clip(lowest - smallest / scale, lowest, -lowest - np.float32(1)))
    return np.where(scale > 0, zeros, np.float32(0))


def _integers_a_word(bits):
    if not 1 <= bits <= 8:
        raise ValueError(f"integers of {bits} bits cannot be packed: they have 1 to 8")
    return 32 // bits
