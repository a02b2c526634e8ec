"""AWQ as AutoAWQ's GEMM version stores it: 4-bit integers with a scale and a zero a group of the inputs.

``qweight`` int32 (columns, rows / 8), ``qzeros`` int32 (groups, rows / 8), ``scales`` F16 (groups, rows): the transpose
of a weight (rows, columns), whose columns are the inputs.  A word has eight rows in the order 0, 2, 4, 6, 1, 3, 5, 7,
the first in the lowest bits.  The value is (integer - zero) * scale.

Scales and zeros come out of a calibration, and the weights of neighbouring layers are scaled along with it: the format
defines no encoding.  Eight rows, which a column of words holds, can be decoded by themselves, but no single row; and
so can the columns of a group.  The versions GEMV and GEMV-fast are stored otherwise.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact
from aoe.numerics.packed import checks, integers

EIGHT = 8  # rows a word
SHIFTS = np.array([0, 16, 4, 20, 8, 24, 12, 28], np.uint32)  # where in a word each of its rows stands
TILE = 64  # words are read in tiles, since the result is the transpose

Floats = NDArray[np.float32]
Words = NDArray[np.int32]


def decode(qweight: Words, qzeros: Words, scale: Floats, out: Floats | None = None) -> Floats:
    """Return the float32 values (rows, columns) of a weight, exact for scales of F16 and BF16.

    qweight: int32 (columns, rows / 8); qzeros: int32 (groups, rows / 8); scale: float32 (groups, rows).  out: float32
    to fill instead of a new array.  Raises ValueError for other shapes and dtypes, and for columns that groups do not
    divide.
    """
    words = checks.words("qweight", qweight, (None, None))
    columns, rows = len(words), words.shape[1] * EIGHT
    scale = checks.checked("an AWQ scale", scale, np.float32, (None, rows))
    zeros = checks.words("qzeros", qzeros, (len(scale), words.shape[1]))
    checks.divided("AWQ", columns, len(scale))
    out = checks.result(out, (rows, columns))
    if out.size:
        spread = np.ascontiguousarray(scale.T)
        integers.decode_bytes(_unpacked(words), spread, _unpacked(zeros).astype(np.int32), out)
    return out


def _unpacked(words):
    out = np.empty((words.shape[1] * EIGHT, len(words)), np.uint8)
    _unpack(words, out)
    return out


@exact
def _unpack(words, out):
    """Fill ``out`` (rows, columns) with the integers of words (columns, rows / 8)."""
    turned = np.empty((TILE, TILE), np.uint32)
    for top in range(0, words.shape[0], TILE):
        height = min(TILE, words.shape[0] - top)
        for left in range(0, words.shape[1], TILE):
            width = min(TILE, words.shape[1] - left)
            for i in range(height):
                for j in range(width):
                    turned[j, i] = words[top + i, left + j]
            for j in range(width):
                for k in range(EIGHT):
                    source, shift = turned[j], SHIFTS[k]
                    target = out[(left + j) * EIGHT + k, top : top + height]
                    for i in range(height):
                        target[i] = (source[i] >> shift) & np.uint32(15)
