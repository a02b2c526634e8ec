"""Kernels for FP8 in blocks of any height and width, such as rows, columns and whole tensors.

Blocks of 128 x 128 have kernels of their own, which are faster, in aoe.numerics.kernels.arithmetic.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import arithmetic
from aoe.numerics.kernels.jit import exact

KEPT = 1 << 16  # sums of a row of blocks that are kept, rather than made again, until they are encoded

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
MAGNITUDE = np.uint32(0x7FFFFFFF)
INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN


@exact
def _spread(scales, width, out):
    """Fill ``out`` (n,) with scales, one for every ``width`` numbers."""
    for number in range(scales.size):
        part, scale = out[number * width : number * width + width], scales[number]
        for j in range(part.size):
            part[j] = scale


@exact
def _raise(found, values):
    """Raise ``found`` (n,), bits of magnitudes, to those of values (n,)."""
    for j in range(values.size):
        found[j] = max(found[j], np.float32(values[j]).view(np.uint32) & MAGNITUDE)


@exact
def _scales_of(found, width, kind, scales):
    """Fill ``scales`` of a row of blocks by the largest magnitudes of its columns; return the largest bits of all."""
    worst = np.uint32(0)
    for number in range(scales.size):
        part, largest = found[number * width : number * width + width], np.uint32(0)
        for j in range(part.size):
            largest = max(largest, part[j])
        scales[number] = arithmetic.scale_of(largest, kind)
        worst = max(worst, max(largest, np.float32(scales[number]).view(np.uint32)))
    return worst


@exact
def decode(codes: Codes, scales: Floats, skipped: int, height: int, width: int, out: Floats) -> None:
    """Fill ``out`` (float32) with the values of uint8 (m, n) codes in blocks of any height and width.

    scales: float32 (blocks that the rows are in, ceil(n / width)); skipped: rows of the first of these before ours.
    """
    line, known = np.empty(codes.shape[1], np.float32), -1
    for i in range(codes.shape[0]):
        block = (skipped + i) // height
        if block != known:
            _spread(scales[block], width, line)
            known = block
        arithmetic.decode_row(codes[i], line, out[i])


@exact
def encode(values: Floats, height: int, width: int, kind: int, out: Codes, scales: Floats) -> bool:
    """Make FP8 codes (m, n) and scales of a ``kind`` of float32 (m, n) in blocks of any height and width.

    scales: (ceil(m / height), ceil(n / width)).  Returns whether all of it is finite.
    """
    rows, columns = values.shape
    found, line, worst = np.empty(columns, np.uint32), np.empty(columns, np.float32), np.uint32(0)
    for block in range(scales.shape[0]):
        top, bottom = block * height, min(block * height + height, rows)
        found[:] = np.uint32(0)
        for i in range(top, bottom):
            _raise(found, values[i])
        worst = max(worst, _scales_of(found, width, kind, scales[block]))
        _spread(scales[block], width, line)
        for i in range(top, bottom):
            arithmetic.encode_row(values[i], line, out[i])
    return bool(worst < INFINITY)


@exact
def combine(
    codes: tuple[Codes, ...],
    scales: tuple[Floats, ...],
    weights: Floats,
    height: int,
    width: int,
    kind: int,
    out: Codes,
    out_scales: Floats,
) -> bool:
    """Dequantize, sum weights times values in order, and requantize, in blocks of any height and width.

    codes: a tuple of uint8 (m, n), none of them NaN; scales: of float32 (ceil(m / height), ceil(n / width)); weights:
    one float32 a parent; kind: what the new scales are rounded to.  Returns whether all of it is finite.
    """
    rows, columns = out.shape
    tall = min(height, rows)
    # sums of blocks that are too large to be kept are made a second time
    keeps = tall * min(width, columns) <= KEPT
    blocks = min(max(KEPT // (tall * width), 1), out_scales.shape[1]) if keeps else out_scales.shape[1]
    strip = min(blocks * width, columns)
    sums, lines = np.empty((tall if keeps else 1, strip), np.float32), np.empty((len(codes), strip), np.float32)
    found, line, worst = np.empty(strip, np.uint32), np.empty(strip, np.float32), np.uint32(0)
    for block in range(out_scales.shape[0]):
        top, bottom = block * height, min(block * height + height, rows)
        for first in range(0, out_scales.shape[1], blocks):
            last = min(first + blocks, out_scales.shape[1])
            left, right = first * width, min(last * width, columns)
            size = right - left
            for parent in range(len(codes)):
                _spread(scales[parent][block, first:last], width, lines[parent, :size])
            found[:] = np.uint32(0)
            for i in range(top, bottom):
                total = sums[i - top if keeps else 0, :size]
                for parent in range(len(codes)):
                    source = codes[parent][i, left:right]
                    arithmetic.add_row(source, lines[parent, :size], weights[parent], parent == 0, total)
                _raise(found[:size], total)
            worst = max(worst, _scales_of(found[:size], width, kind, out_scales[block, first:last]))
            _spread(out_scales[block, first:last], width, line[:size])
            for i in range(top, bottom):
                total = sums[i - top if keeps else 0, :size]
                if not keeps:
                    for parent in range(len(codes)):
                        source = codes[parent][i, left:right]
                        arithmetic.add_row(source, lines[parent, :size], weights[parent], parent == 0, total)
                arithmetic.encode_row(total, line[:size], out[i, left:right])
    return bool(worst < INFINITY)
