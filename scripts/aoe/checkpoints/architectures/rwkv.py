"""RWKV: what it calls attention is linear, and the matrices of its MLPs have the names of attention's."""

from aoe.checkpoints.parts import Definition, TensorGroup

DEFINITION = Definition(
    title="RWKV",
    patterns=((r"\.attention\.", TensorGroup.LINEAR_ATTENTION), (r"\.feed_forward\.", TensorGroup.DENSE_MLP)),
)
