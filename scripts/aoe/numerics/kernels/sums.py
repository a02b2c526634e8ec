"""Kernels for CPUs that sum parents' values in other arithmetics than float32's, and scale what comes of it.

They stand beside ``arithmetic.combine_fp8``, which does all of it at once for float32 and rounding to nearest.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels.jit import exact, inlined

Floats = NDArray[np.float32]


@inlined
def _in_bf16(value):
    """The nearest BF16 number, ties to even, as float32."""
    bits = np.float32(value).view(np.uint32)
    bits = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.uint32(bits).view(np.float32)


@inlined
def _from_e4m3(code):
    """See aoe.numerics.kernels.arithmetic, whose own stays there."""
    bits = (np.int32(np.int8(code)) << np.int32(20)) & np.int32(-0x78100000)
    return np.int32(bits).view(np.float32) * np.float32(2.0**120)


@exact
def add_fp8(codes: NDArray[np.uint8], scales: Floats, weight: float, total: Floats, first: bool) -> None:
    """Add weight times the values of one row of e4m3 blocks, (up to 128, n), to ``total``; the first replaces it."""
    share = np.float32(weight)
    for i in range(codes.shape[0]):
        for block in range(scales.size):
            begin, end = block * BLOCK, min(block * BLOCK + BLOCK, codes.shape[1])
            source, target, scale = codes[i, begin:end], total[i, begin:end], scales[block]
            if first:
                for j in range(source.size):
                    target[j] = _from_e4m3(source[j]) * scale * share
            else:
                for j in range(source.size):
                    target[j] = target[j] + _from_e4m3(source[j]) * scale * share


@exact
def add(values: Floats, weight: float, total: Floats, first: bool, bf16: bool) -> None:
    """Add weight times values, float32 (n,), to ``total``; the first summand replaces it.

    bf16: round the values, and their products with the weight, to BF16 before.
    """
    share = np.float32(weight)
    for j in range(total.size):
        product = _in_bf16(_in_bf16(values[j]) * share) if bf16 else values[j] * share
        total[j] = product if first else total[j] + product


@exact
def add_delta(values: Floats, origin: Floats, weight: float, total: Floats) -> None:
    """Add weight times (values - origin), float32 (n,), to ``total``; all but the sum is rounded to BF16."""
    share = _in_bf16(np.float32(weight))
    for j in range(total.size):
        delta = _in_bf16(_in_bf16(values[j]) - _in_bf16(origin[j]))
        total[j] = total[j] + _in_bf16(delta * share)


@exact
def add_to_origin(origin: Floats, total: Floats) -> None:
    """Replace sums of differences, float32 (n,), by themselves plus their origin; all is rounded to BF16."""
    for j in range(total.size):
        total[j] = _in_bf16(_in_bf16(origin[j]) + _in_bf16(total[j]))


@exact
def round_to_bf16(values: Floats) -> None:
    """Round float32 (n,) in place."""
    for j in range(values.size):
        values[j] = _in_bf16(values[j])


@exact
def largest(values: Floats) -> float:
    """Return the largest magnitude of float32 (n,); NaN counts as more than Inf."""
    found = np.uint32(0)
    for j in range(values.size):
        found = max(found, np.float32(values[j]).view(np.uint32) & np.uint32(0x7FFFFFFF))
    return np.uint32(found).view(np.float32)


@exact
def scales_of(values: Floats, scales: Floats) -> bool:
    """Fill in the scales (ceil(n / 128),) of one row of blocks, float32 (up to 128, n); return whether all is finite.

    A scale is the block's largest magnitude / 448, as in aoe.numerics.fp8; of zeros, 1.
    """
    rows, columns = values.shape
    worst = np.uint32(0)
    for block in range(scales.size):
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, columns)
        found = np.uint32(0)
        for i in range(rows):
            line = values[i, begin:end]
            for j in range(line.size):
                found = max(found, np.float32(line[j]).view(np.uint32) & np.uint32(0x7FFFFFFF))
        worst = max(worst, found)
        scale = np.uint32(found).view(np.float32) / np.float32(448)
        scales[block] = scale if scale > 0 else np.float32(1)
    return worst < np.uint32(0x7F800000)


@exact
def divide_blocks(values: Floats, scales: Floats) -> None:
    """Divide blocks of one row of them, float32 (up to 128, n), in place by given scales (ceil(n / 128),)."""
    for i in range(values.shape[0]):
        for block in range(scales.size):
            line, scale = values[i, block * BLOCK : block * BLOCK + BLOCK], scales[block]
            for j in range(line.size):
                line[j] = line[j] / scale
