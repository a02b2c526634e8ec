"""Mixtral: routed experts under names of their own."""

from aoe.checkpoints.parts import COMMON, QUERIES_KEYS_VALUES, Definition, TensorGroup

DEFINITION = Definition(
    title="Mixtral",
    patterns=(
        *COMMON,
        (r"\.block_sparse_moe\.experts\.", TensorGroup.ROUTED_EXPERTS),
        (r"\.block_sparse_moe\.gate\.", TensorGroup.ROUTER_GATE),
    ),
    projections={TensorGroup.ROUTED_EXPERTS: ("w1", "w3", "w2"), **QUERIES_KEYS_VALUES},
    experts="num_local_experts",
)
