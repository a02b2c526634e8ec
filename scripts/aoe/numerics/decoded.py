"""Weights as float32 values, whatever they are stored as, and values as they are stored.

Kernels combine numbers as they are stored where all parents store them alike (see Layout.native); everything else goes
through float32: decoded exactly, summed in the order of the recipe, and encoded once.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK, FORMATS, size_of
from aoe.checkpoints.layout import CODES, INPUT_SCALE, PLAIN, SCALE, Layout
from aoe.checkpoints.shard import StoredTensor
from aoe.numerics import fp8_blocks, packed_weights
from aoe.numerics.kernels import Method, NotFiniteError, arithmetic, comparing, composed, cpu, sums
from aoe.numerics.kernels.composed import PIECE
from aoe.numerics.slabs import memory
from aoe.numerics.stored_scales import narrowed, widened

VALUES = "F32"  # what decoded weights are, to whatever reads them
VALUE_BYTES = FORMATS[VALUES].bytes
# the largest step between numbers, in shares of the largest magnitude of a group
LARGEST_STEP = {"mxfp4": 1 / 2, "nvfp4": 1 / 2, "int4": 1 / 6, "awq": 1 / 6, "gptq": 1 / 6}
SLAB = 2 << 20  # bytes of values

Floats = NDArray[np.float32]
Rows = Mapping[str, np.ndarray]  # role -> the bytes of a member's rows, uint8 (n,)


class Decoded:
    """A Checkpoint whose weights are float32 matrices: what slabs read from.  Slabs begin and end with rows."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.name = checkpoint, checkpoint.name

    def stored(self, weight: str) -> StoredTensor:
        """Return the StoredTensor of a weight's values; its byte range begins at 0."""
        shape = self.checkpoint.layout(weight).shape
        return StoredTensor(weight, VALUES, shape, 0, size_of(VALUES, shape))

    def scale(self, weight: str) -> None:
        """Return None: values need no scale."""

    def read(self, weight: str, begin: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fill ``out``, uint8, with the bytes of whole rows of values, and return it."""
        layout = self.checkpoint.layout(weight)
        width = layout.shape[1] * VALUE_BYTES
        first, last = begin // width, (begin + len(out)) // width
        decode(self.checkpoint, layout, first, last, out.view(np.float32).reshape(-1, layout.shape[1]))
        return out


def rows_of_slabs(layout: Layout, most: int = SLAB) -> list[tuple[int, int]]:
    """Return the ranges of rows, about ``most`` bytes of values each, that a weight is encoded in, in order."""
    rows, columns = layout.shape
    # numbers that random ones are drawn for together stay together
    unit = layout.step or rows if layout.storage != PLAIN else PIECE // math.gcd(PIECE, columns)
    step = max(most // max(columns * VALUE_BYTES * unit, 1), 1) * unit
    return [(begin, min(begin + step, rows)) for begin in range(0, rows, step) if columns]


def decode(checkpoint: Checkpoint, layout: Layout, begin: int, end: int, out: Floats | None = None) -> Floats:
    """Return rows ``begin`` to ``end`` of a weight, float32 (rows, columns), in ``out`` if there is one.

    layout: that decodes.  Raises NotFiniteError for FP8 codes that are NaN.
    """
    if layout.pieces:
        return _decode_pieces(checkpoint, layout, begin, end, out)
    if layout.is_packed_by_rows and end - begin < layout.shape[0]:
        whole = decode(checkpoint, layout, 0, layout.shape[0])
        out = np.empty((end - begin, layout.shape[1]), np.float32) if out is None else out
        out[:] = whole[begin:end]
        return out
    rows = stored_rows(checkpoint, layout, begin, end)
    if layout.storage == "fp8" and comparing.has_nan(rows[CODES]):
        raise NotFiniteError
    try:
        return values_of(layout, rows, begin, end, out)
    except NotFiniteError:
        raise
    except ValueError as error:  # what only the numbers themselves tell, such as an order of columns
        raise AoeError(f"{checkpoint.name}: {layout.weight}, {layout.words()}, cannot be decoded ({error}).") from error


def _decode_pieces(checkpoint, layout, begin, end, out):
    """What decode returns, of a weight that is put together out of rows of others."""
    out = np.empty((end - begin, layout.shape[1]), np.float32) if out is None else out
    top = 0
    for theirs, first, last in layout.pieces:
        bottom = top + last - first
        above, below = max(begin, top), min(end, bottom)
        if above < below:
            shift = first - top
            decode(checkpoint, theirs, above + shift, below + shift, out[above - begin : below - begin])
        top = bottom
    return out


def stored_rows(checkpoint: Checkpoint, layout: Layout, begin: int, end: int, place: int | None = None) -> Rows:
    """Return the bytes that rows of a weight are decoded from.

    With a ``place``, a small number, they are the thread's own and hold until it reads into the same place again.
    """
    found = {}
    for role, member in layout.members.items():
        if role != INPUT_SCALE:
            first, last = member.span(begin, end, layout.shape[0])
            size = last - first
            out = np.empty(size, np.uint8) if place is None else memory(cpu, place, role, size=size)
            found[role] = checkpoint.read(member.stored.name, first, out)
    return found


def values_of(layout: Layout, rows: Rows, begin: int, end: int, out: Floats | None = None) -> Floats:
    """Return the values of rows of a weight; see decode."""
    out = np.empty((end - begin, layout.shape[1]), np.float32) if out is None else out
    if layout.storage == PLAIN:
        dtype = layout.codes.dtype
        cpu.values((_typed(rows[CODES], dtype), None), dtype, out.reshape(-1))
        return out
    if layout.storage == "fp8":
        return _decode_fp8(layout, rows, begin, out)
    out[:] = packed_weights.decode(layout, rows, end - begin)
    return out


def encode(
    total: Floats, layout: Layout, method: Method, begin: int, parents: Sequence[Floats] = ()
) -> dict[str, np.ndarray]:
    """Return rows of values from ``begin`` on as a layout stores them: role -> unsigned integers or float32.

    total: float32 (rows, columns), finite; method: of which the rounding counts, and the key; parents: the values that
    were summed, which balanced rounding looks at.  Raises NotFiniteError for values that the format cannot hold.
    """
    if layout.storage == PLAIN:
        return {CODES: _encode_plain(total, layout, method, begin, parents)}
    if layout.storage == "fp8":
        return _encode_fp8(total, layout, method, begin, parents)
    return packed_weights.encode(layout, total)


def summed(values: Sequence[Floats], weights: Sequence[float], method: Method) -> Floats:
    """Sum weights times values, float32 in their shape, in order, as a method has it.

    Raises NotFiniteError for NaN or Inf in the sum.
    """
    total = composed.summed(values, weights, method)
    if not sums.largest(total.reshape(-1)) < np.inf:
        raise NotFiniteError
    return total


def steps_of(layout: Layout, rows: Rows, values: Floats) -> Floats:
    """Return the distance from stored numbers to the next, float32 (rows, columns), or a little more.

    rows: as ``stored_rows`` gives them, from a row of blocks on; values: what they stand for.
    """
    if layout.storage == PLAIN:
        return cpu.steps((values.reshape(-1), None), layout.codes.dtype, values.reshape(-1)).reshape(values.shape)
    columns, width = layout.shape[1], layout.block[1]
    if layout.storage == "fp8":
        codes = rows[CODES].reshape(values.shape)
        exponents = np.maximum((codes >> 3) & 15, 1).astype(np.int32)
        scales = widened(rows[SCALE], layout.members[SCALE].stored.dtype).reshape(-1, -(-columns // width))
        tall = scales.repeat(min(layout.block[0], len(values)), axis=0)[: len(values)]
        return np.ldexp(tall.repeat(width, axis=1)[:, :columns], exponents - 10)
    largest = np.maximum.reduceat(np.abs(values), np.arange(0, columns, width), axis=1)
    return (largest * np.float32(LARGEST_STEP[layout.storage])).repeat(width, axis=1)[:, :columns]


def kept_rows(checkpoint: Checkpoint, layout: Layout) -> dict[str, np.ndarray]:
    """Return the bytes of a weight's members that decoding needs and encoding does not make, such as an order."""
    roles = layout.members.keys() - layout.made.keys() - {INPUT_SCALE}
    return {role: checkpoint.read(layout.members[role].stored.name) for role in roles}


def bytes_of(encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what ``encode`` gives as bytes."""
    return {role: np.ascontiguousarray(array).reshape(-1).view(np.uint8) for role, array in encoded.items()}


def _typed(numbers, dtype):
    return numbers.view(np.float32 if dtype == "F32" else f"u{FORMATS[dtype].bytes}")


def _decode_fp8(layout, numbers, begin, out):
    (rows, columns), (height, width) = out.shape, layout.block
    codes = numbers[CODES].reshape(rows, columns)
    scales = widened(numbers[SCALE], layout.members[SCALE].stored.dtype).reshape(-1, -(-columns // width))
    if layout.native and begin % BLOCK == 0:
        arithmetic.dequantize(codes, np.ascontiguousarray(scales), out)
        return out
    fp8_blocks.decode(codes, np.ascontiguousarray(scales), begin % height, height, width, out)
    return out


def _encode_fp8(total, layout, method, begin, parents):
    """Codes, and scales rounded up to what they are stored as before."""
    (rows, columns), (height, width) = total.shape, layout.block
    codes, kind = np.empty((rows, columns), np.uint8), cpu.SCALES[layout.scales]
    scales = np.empty((-(-rows // height), -(-columns // width)), np.float32)
    if not (method.rounding.by_chance and layout.native):
        finite = fp8_blocks.encode(total, height, width, kind, codes, scales)
    else:
        finite = _encode_by_chance(total, parents, method, begin, kind, codes, scales)
    if not finite:
        raise NotFiniteError
    return {CODES: codes, SCALE: narrowed(scales, layout.members[SCALE].stored.dtype)}


def _encode_by_chance(total, parents, method, begin, kind, codes, scales):
    """Fill in the codes and scales of blocks of 128 x 128; whether all are finite."""
    for number, scale in enumerate(scales):
        part = slice(number * BLOCK, min(number * BLOCK + BLOCK, len(total)))
        if not sums.scales_of(total[part], scale) or not arithmetic.round_up(scale, kind):
            return False
        values = [parent[part] for parent in parents]
        composed.encode_by_chance(total[part].copy(), values, scale, method, begin + part.start, codes[part])
    return True


def _encode_plain(total, layout, method, begin, parents):
    dtype, columns = layout.codes.dtype, total.shape[1]
    if dtype == "F32":
        return total
    values = total.reshape(-1)
    if method.rounding.by_chance:
        values = values.copy()
        flat = [parent.reshape(-1) for parent in parents]
        composed.round_by_chance(values, flat, cpu.KINDS[dtype], method, begin * columns)
    out = np.empty(values.size, np.uint16)
    if not arithmetic.narrow(values, cpu.KINDS[dtype], out):
        raise NotFiniteError
    return out.reshape(total.shape)
