"""GPTQ: codes packed along the columns of the transposed matrix, zero points, and scales in groups of its rows."""

from collections.abc import Mapping

from aoe.checkpoints.layout import CODES, ORDER, SCALE, Layout, Member, Scales, Settings, Storage, unknown
from aoe.checkpoints.shard import StoredTensor

ZERO = "zero"
CODES_A_WORD = 8
ENDS = {
    CODES: ((".qweight", ""),),
    SCALE: ((".qweight", ".scales"),),
    ZERO: ((".qweight", ".qzeros"),),
    ORDER: ((".qweight", ".g_idx"),),
}


def packed_rows(members: Mapping[str, StoredTensor]) -> bool:
    """Return whether codes are packed along the inputs, as GPTQ has them; AWQ packs along the outputs."""
    return members[CODES].shape[-1:] == members[SCALE].shape[-1:]


def read(members: Mapping[str, StoredTensor], settings: Settings) -> Layout:
    """Return the Layout of a GPTQ weight, or of an AWQ one, which has the same names, but no order of its rows."""
    codes, scale = members[CODES], members[SCALE]
    rows = scale.shape[-1] if scale.shape else 0
    gptq, bits = packed_rows(members), settings.bits if settings.bits in (2, 3, 4, 8) else 4
    if len(codes.shape) != 2 or len(scale.shape) != 2 or (not gptq and codes.shape[1] * CODES_A_WORD != rows):
        return unknown(members, "gptq", STORAGE.title)
    columns = codes.shape[0] * 32 // bits if gptq else codes.shape[0]
    zeros, order = rows * bits // 32 if gptq else codes.shape[1], members.get(ORDER)
    fits = members[ZERO].shape == (scale.shape[0], zeros) and (order is None or order.shape == (columns,))
    if not scale.shape[0] or columns % scale.shape[0] or not fits:
        return unknown(members, "gptq", STORAGE.title)
    found = {role: Member(stored, 0) for role, stored in members.items()}
    block = (1, columns // scale.shape[0])
    if not gptq:
        return Layout(codes.name, "awq", "AWQ", (rows, columns), found, block, Scales.F16, other={"bits": bits})
    title = "GPTQ" if settings.less_one else "GPTQ (checkpoint_format gptq_v2)"
    other = {"bits": bits, "less_one": settings.less_one}
    return Layout(codes.name, "gptq", title, (rows, columns), found, block, Scales.F16, other=other)


STORAGE = Storage(
    name="gptq",
    title="GPTQ or AWQ",
    dtypes={CODES: ("I32",)},
    ends=ENDS,
    needs=(SCALE, ZERO),
    read=read,
    combines=False,
)
