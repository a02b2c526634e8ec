"""Kimi K2: DeepSeek-V3's names."""

from aoe.checkpoints.parts import COMMON, EXPERTS_IN_MLP, GATED_EXPERTS, LATENT_ATTENTION, Definition

DEFINITION = Definition(
    title="Kimi K2",
    patterns=COMMON + EXPERTS_IN_MLP,
    projections=GATED_EXPERTS | LATENT_ATTENTION,
    experts="n_routed_experts",
)
