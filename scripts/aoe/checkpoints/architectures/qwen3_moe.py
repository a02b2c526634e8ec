"""Qwen3-MoE: grouped queries, every layer of routed experts."""

from aoe.checkpoints.parts import Config, Definition, Tensors, gated_mlp, in_bf16, projections


def layer(config: Config, number: int) -> Tensors:
    """Return the tensors of a layer."""
    hidden, head, name = config["hidden_size"], config["head_dim"], f"model.layers.{number}"
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    tensors = projections(
        config,
        {
            f"{name}.self_attn.q_proj.weight": (queries, hidden),
            f"{name}.self_attn.k_proj.weight": (keys, hidden),
            f"{name}.self_attn.v_proj.weight": (keys, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, queries),
        },
    ) | in_bf16(
        {
            f"{name}.self_attn.q_norm.weight": (head,),
            f"{name}.self_attn.k_norm.weight": (head,),
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
        }
    )
    for expert in range(config["num_experts"]):
        mlp = gated_mlp(f"{name}.mlp.experts.{expert}", hidden, config["moe_intermediate_size"])
        tensors |= projections(config, mlp)
    return tensors | in_bf16({f"{name}.mlp.gate.weight": (config["num_experts"], hidden)})


DEFINITION = Definition(title="Qwen3-MoE", layer=layer)
