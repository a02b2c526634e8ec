"""NVFP4: two e2m1 codes a byte, an e4m3 scale for each 16 of a row, and a float32 scale for the tensor.

compressed-tensors stores ``weight_packed``, ``weight_scale``, ``weight_global_scale``; ModelOpt ``weight``,
``weight_scale``, ``weight_scale_2``.
"""

from collections.abc import Mapping

from aoe.checkpoints.layout import CODES, INPUT_SCALE, SCALE, Layout, Member, Scales, Settings, Storage, unknown
from aoe.checkpoints.shard import StoredTensor

GROUP = 16  # numbers that share a scale
GLOBAL = "global_scale"


def read(members: Mapping[str, StoredTensor], _: Settings) -> Layout:
    """Return the Layout of an NVFP4 weight."""
    codes, scale = members[CODES], members[SCALE]
    columns = codes.shape[-1] * 2 if codes.shape else 0
    fits = len(codes.shape) == 2 and columns % GROUP == 0 and members[GLOBAL].elements == 1
    if not fits or tuple(scale.shape) != (codes.shape[0], columns // GROUP):
        return unknown(members, "nvfp4", STORAGE.title)
    found = {CODES: Member(codes, 1), SCALE: Member(scale, 1), GLOBAL: Member(members[GLOBAL], 0)}
    found |= {INPUT_SCALE: Member(members[INPUT_SCALE], 0)} if INPUT_SCALE in members else {}
    # ModelOpt's second scale is a factor; compressed-tensors' a divisor
    other = {"divides": members[GLOBAL].name.endswith("_global_scale")}
    shape = (codes.shape[0], columns)
    combines = STORAGE.combines
    return Layout(codes.name, "nvfp4", STORAGE.title, shape, found, (1, GROUP), Scales.F32, combines, other=other)


STORAGE = Storage(
    name="nvfp4",
    title="NVFP4",
    dtypes={CODES: ("U8",), SCALE: ("F8_E4M3",), GLOBAL: ("F32",)},
    ends={
        CODES: (("_packed", ""), (".weight", "")),
        SCALE: (("_packed", "_scale"), (".weight", ".weight_scale")),
        GLOBAL: (("_packed", "_global_scale"), (".weight", ".weight_scale_2")),
        INPUT_SCALE: (("weight_packed", "input_global_scale"), (".weight", ".input_scale")),
    },
    needs=(SCALE, GLOBAL),
    read=read,
)
