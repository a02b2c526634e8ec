"""FP8: a code a number, and a scale a block; a block may be a row, a column, or all of a tensor.

Scales are stored under three names: ``weight_scale_inv`` (DeepSeek, Qwen), ``weight_scale`` (compressed-tensors,
ModelOpt, Mixtral), ``scale`` (DeepSeek-V4).  All of them are factors of the codes, whatever the first one's name says.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK, FORMATS, SCALED, scale_of
from aoe.checkpoints.layout import CODES, INPUT_SCALE, SCALE, Layout, Member, Scales, Settings, Storage
from aoe.checkpoints.shard import StoredTensor

ROUNDED_TO = {"F32": Scales.F32, "BF16": Scales.BF16, "F16": Scales.F16, "F8_E8M0": Scales.POWERS, "U8": Scales.POWERS}
SQUARE = (BLOCK, BLOCK)
DIGITS = {"F32": 23, "BF16": 7, "F16": 10}  # of the mantissas that scales have
MX = (1, 32)  # blocks of MXFP8, whose scales are E8M0, as such or as bytes


def read(members: Mapping[str, StoredTensor], settings: Settings) -> Layout:
    """Return the Layout of an FP8 weight.  Raises ValueError for a scale that is missing, or does not fit."""
    codes, scale = members[CODES], members.get(SCALE)
    if scale is None:
        raise ValueError(f"the FP8 tensor {codes.name} has no {scale_of(codes.name)}.")
    if len(codes.shape) not in (2, 3):
        raise ValueError(f"the FP8 tensor {codes.name} has {len(codes.shape)} dimensions instead of 2.")
    block = block_of(codes, scale, settings)
    wanted = settings.block or SQUARE
    if block is None or scale.dtype not in ROUNDED_TO:
        expected = _grid(codes.shape, wanted)
        raise ValueError(
            f"the scale {scale.name} is {scale.dtype} {list(scale.shape)}, but its weight of shape "
            f"{list(codes.shape)} in blocks of {wanted[0]}x{wanted[1]} needs F32 {list(expected)}."
        )
    rows, columns = math.prod(codes.shape[:-1]), codes.shape[-1]
    whole = block[0] == rows
    found = {CODES: Member(codes, 1), SCALE: Member(scale, 0 if whole and block[1] == columns else block[0])}
    if INPUT_SCALE in members:
        found[INPUT_SCALE] = Member(members[INPUT_SCALE], 0)
    rule = Scales.POWERS if settings.powers else ROUNDED_TO[scale.dtype]
    combines = FORMATS[codes.dtype].combines
    shape = (rows, columns)
    title = _title(codes, scale, block, shape, rule)
    return Layout(codes.name, "fp8", title, shape, found, block, rule, combines, decodes=combines)


def block_of(codes: StoredTensor, scale: StoredTensor, settings: Settings) -> tuple[int, int] | None:
    """Return the rows and columns that share a scale, as far as its shape lets them; None if nothing fits.

    The rows are those of the matrix (rows, columns) that all dimensions but the last make.
    """
    *leading, rows, columns = codes.shape
    experts, shape = math.prod(leading), tuple(scale.shape)
    for block in dict.fromkeys((settings.block or SQUARE, SQUARE)):
        # of several matrices in one tensor, no block may reach from one into the next
        if shape == _grid(codes.shape, block) and (experts == 1 or rows % block[0] == 0):
            return block
    if ROUNDED_TO.get(scale.dtype) == Scales.POWERS and shape == _grid(codes.shape, MX):
        return MX
    if shape in ((), (1,)):  # of a whole tensor, under any name
        return experts * rows, columns
    if not scale.name.endswith("_inv"):
        if math.prod(shape) == 1:
            return experts * rows, columns
        if shape in ((*codes.shape[:-1], 1), codes.shape[:-1]):
            return 1, columns
        if not leading and shape == (1, columns):
            return rows, 1
        if leading and math.prod(shape) == experts:
            return rows, columns
    return None


def are_powers(scales: NDArray[np.uint8], dtype: str) -> bool:
    """Return whether scales, the bytes of numbers of a storage format, are powers of two (or 0, where none are yet)."""
    if dtype not in DIGITS:
        return True  # E8M0 are nothing else
    bits = scales.view(f"<u{FORMATS[dtype].bytes}")
    return not (bits & ((1 << DIGITS[dtype]) - 1)).any()


def _grid(shape, block):
    """The shape of the scales of a tensor in blocks."""
    *leading, rows, columns = shape
    return *leading, -(-rows // block[0]), -(-columns // block[1])


def _title(codes, scale, block, shape, rule):
    where = f"in blocks of {block[0]}x{block[1]}"
    if block == (1, shape[1]):
        where = "with a scale a row"
    if block == (shape[0], 1) and shape[0] > 1:
        where = "with a scale a column"
    if block == shape:
        where = "with one scale"
    powers = ", powers of two" if rule == Scales.POWERS and scale.dtype == "F32" else ""
    return f"FP8 {FORMATS[codes.dtype].fp8} {where} (scales {scale.dtype}{powers})"


STORAGE = Storage(
    name="fp8",
    title="FP8",
    dtypes={CODES: SCALED},
    ends={
        CODES: (("", ""),),
        SCALE: (("", "_scale_inv"), ("", "_scale"), (".weight", ".scale")),
        INPUT_SCALE: ((".weight", ".input_scale"), (".weight", ".activation_scale")),
    },
    needs=(),
    read=read,
)
