"""GLM-4.5 and later models of its kind: grouped queries, routed and shared experts, MTP layers."""

from aoe.checkpoints.parts import COMMON, EXPERTS_IN_MLP, GATED_EXPERTS, QUERIES_KEYS_VALUES, Definition

DEFINITION = Definition(
    title="GLM-4 MoE",
    patterns=COMMON + EXPERTS_IN_MLP,
    projections=GATED_EXPERTS | QUERIES_KEYS_VALUES,
    experts="n_routed_experts",
)
