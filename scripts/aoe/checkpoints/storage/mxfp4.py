"""MXFP4: two e2m1 codes a byte, and a power of two (E8M0) for each 32 of a row.

gpt-oss stores ``_blocks`` (experts, rows, groups, 16) and ``_scales``; DeepSeek-V4 ``weight`` and ``scale``;
compressed-tensors ``weight_packed`` and ``weight_scale``.
"""

import math
from collections.abc import Mapping

from aoe.checkpoints.layout import CODES, SCALE, Layout, Member, Scales, Settings, Storage, unknown
from aoe.checkpoints.shard import StoredTensor

GROUP = 32  # numbers that share a scale


def read(members: Mapping[str, StoredTensor], _: Settings) -> Layout:
    """Return the Layout of an MXFP4 weight."""
    codes, scale = members[CODES], members[SCALE]
    rows = math.prod(scale.shape[:-1])
    *leading, groups = scale.shape or (0,)
    shapes = (*leading, groups, GROUP // 2), (*leading, groups * GROUP // 2)
    if codes.shape not in shapes or not rows:
        return unknown(members, "mxfp4", STORAGE.title)
    found = {CODES: Member(codes, 1), SCALE: Member(scale, 1)}
    shape = (rows, scale.shape[-1] * GROUP)
    return Layout(codes.name, "mxfp4", STORAGE.title, shape, found, (1, GROUP), Scales.POWERS, STORAGE.combines)


STORAGE = Storage(
    name="mxfp4",
    title="MXFP4",
    dtypes={CODES: ("U8", "I8"), SCALE: ("U8", "F8_E8M0")},
    ends={
        CODES: (("_blocks", ""), ("_packed", ""), (".weight", "")),
        SCALE: (("_blocks", "_scales"), ("_packed", "_scale"), (".weight", ".scale")),
    },
    needs=(SCALE,),
    read=read,
)
