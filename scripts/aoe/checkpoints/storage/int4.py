"""INT4 (or INT8) in groups: several codes an int32, and a scale for each group of a row.

compressed-tensors' ``pack-quantized`` stores ``weight_packed``, ``weight_scale``, ``weight_shape``, and zero points.
"""

from collections.abc import Mapping

from aoe.checkpoints.layout import CODES, ORDER, SCALE, SHAPE, Layout, Member, Scales, Settings, Storage, unknown
from aoe.checkpoints.shard import StoredTensor

ZERO = "zero"
ROUNDED_TO = {"F32": Scales.F32, "BF16": Scales.BF16, "F16": Scales.F16}
WORD = 32  # bits


def read(members: Mapping[str, StoredTensor], settings: Settings) -> Layout:
    """Return the Layout of a packed weight."""
    codes, scale = members[CODES], members[SCALE]
    if len(codes.shape) != 2 or len(scale.shape) != 2 or scale.shape[0] != codes.shape[0] or not scale.shape[1]:
        return unknown(members, "int4", STORAGE.title)
    fitting = (bits for bits in (settings.bits, *settings.other_bits) if _fits(codes, settings.shape, bits))
    bits = next(fitting, 0)
    rows, columns = codes.shape[0], codes.shape[1] * (WORD // bits) if bits else 0
    columns = settings.shape[1] if settings.shape else columns
    if not bits or columns % scale.shape[1] or not _fit(members, rows, columns, bits):
        return unknown(members, "int4", STORAGE.title)
    found = {CODES: Member(codes, 1), SCALE: Member(scale, 1)}
    # zero points are packed along the rows
    found |= {role: Member(members[role], 0) for role in (ZERO, SHAPE, ORDER) if role in members}
    rule = ROUNDED_TO.get(scale.dtype, Scales.F32)
    block = (1, columns // scale.shape[1])
    zeros = ", zero points" if ZERO in members else ""
    title, makes = f"packed INT{bits} in groups of {block[1]} (scales {scale.dtype}{zeros})", ORDER not in members
    return Layout(codes.name, "int4", title, (rows, columns), found, block, rule, makes, other={"bits": bits})


def _fits(codes, shape, bits):
    """Whether codes of so many bits can be a weight of the shape that is stated, if one is."""
    if not 1 <= bits <= 8:
        return False
    return not shape or (codes.shape[0], codes.shape[1]) == (shape[0], -(-shape[1] // (WORD // bits)))


def _fit(members, rows, columns, bits):
    """Whether zero points and the order of columns have their shapes."""
    shapes = {ZERO: (-(-rows // (WORD // bits)), members[SCALE].shape[1]), ORDER: (columns,)}
    return all(members[role].shape == shape for role, shape in shapes.items() if role in members)


STORAGE = Storage(
    name="int4",
    title="packed INT4",
    dtypes={CODES: ("I32",)},
    ends={
        CODES: (("_packed", ""),),
        SCALE: (("_packed", "_scale"),),
        SHAPE: (("_packed", "_shape"),),
        ZERO: (("_packed", "_zero_point"),),
        ORDER: (("_packed", "_g_idx"),),
    },
    needs=(SCALE,),
    read=read,
)
