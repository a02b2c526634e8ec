"""GPTQ as AutoGPTQ and GPTQModel store it: integers of 2, 3, 4 or 8 bits with a scale and a zero a group of the inputs.

``qweight`` int32 (columns * bits / 32, rows), ``qzeros`` int32 (groups, rows * bits / 32), ``scales`` F16 (groups,
rows), ``g_idx`` int32 (columns,), the group of each column: the transpose of a weight (rows, columns), whose columns
are the inputs.  Integers follow one another without a gap, the lowest bits first; of 3 bits, 32 stand in three words.
The value is (integer - zero) * scale.  The ``checkpoint_format`` ``gptq`` stores zeros less 1, ``gptq_v2`` as they are.

Scales, zeros and the order of columns come out of a calibration: the format defines no encoding.  Each row has columns
of qweight and scales of its own, and zeros share words along the rows: slabs begin at multiples of 32 / bits rows, of
32 rows with 3 bits.  The columns of a row can be decoded from whole words only.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.packed import checks, integers

BITS = (2, 3, 4, 8)

Floats = NDArray[np.float32]
Words = NDArray[np.int32]


def decode(
    qweight: Words,
    qzeros: Words,
    scale: Floats,
    g_idx: NDArray[np.int32] | None = None,
    bits: int = 4,
    stored_less_one: bool = True,
    out: Floats | None = None,
) -> Floats:
    """Return the float32 values (rows, columns) of a weight, exact for scales of F16 and BF16.

    qweight: int32 (columns * bits / 32, rows); qzeros: int32 (groups, rows * bits / 32); scale: float32 (groups, rows);
    g_idx: int32 (columns,), without it columns are grouped in order.  stored_less_one: whether zeros are, as in
    ``gptq``, and not in ``gptq_v2``; the largest stored number is then the zero 0, as GPTQModel has it.  out: float32
    to fill instead of a new array.  Raises ValueError for other shapes, dtypes and bits, and for columns that groups do
    not divide.
    """
    if bits not in BITS:
        raise ValueError(f"GPTQ has integers of 2, 3, 4 or 8 bits, not of {bits}")
    words = checks.words("qweight", qweight, (None, None))
    rows, columns = words.shape[1], len(words) * 32 // bits
    scale = checks.checked("a GPTQ scale", scale, np.float32, (None, rows))
    zero_words = checks.words("qzeros", qzeros, (len(scale), -(-rows * bits // 32)))
    order = None if g_idx is None else checks.checked("g_idx", g_idx, np.int32, (columns,))
    if order is None or _in_order(order, len(scale)):
        checks.divided("GPTQ", columns, len(scale))
        order = None
    elif order.min() < 0 or order.max() >= len(scale):
        raise ValueError(f"g_idx names groups from {order.min()} to {order.max()}, and there are {len(scale)}")
    out = checks.result(out, (rows, columns))
    if not out.size:
        return out
    zeros = _zeros(zero_words, bits, rows, stored_less_one)
    spread, turned = np.ascontiguousarray(scale.T), np.empty((rows, len(words)), np.uint32)
    integers.transpose(words, turned)
    if order is not None:
        integers.decode_by_index(_unpacked(turned, bits, columns), spread, zeros, order, out)
    elif bits == 4 and columns // len(scale) % 2 == 0:
        integers.decode_nibbles(turned.view(np.uint8), spread, zeros, out)
    else:
        integers.decode_bytes(_unpacked(turned, bits, columns), spread, zeros, out)
    return out


def _in_order(order, groups):
    if not groups or order.size % groups:
        return False
    return np.array_equal(order, np.repeat(np.arange(groups, dtype=np.int32), order.size // groups))


def _zeros(words, bits, rows, stored_less_one):
    """Zeros int32 (rows, groups)."""
    stored = _unpacked(words, bits, rows).astype(np.int32)
    zeros = (stored + 1) & ((1 << bits) - 1) if stored_less_one else stored
    return np.ascontiguousarray(zeros.T)


def _unpacked(words, bits, columns):
    if bits == 8:
        return words.view(np.uint8)[:, :columns]
    out = np.empty((len(words), columns), np.uint8)
    if bits == 3:
        integers.unpack_stream(words, bits, out)
    else:
        integers.unpack(words, bits, out)
    return out
