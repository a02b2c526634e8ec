"""DeepSeek-V3: latent attention, a few dense layers, routed and shared experts, multi-token prediction (MTP)."""

from aoe.checkpoints.parts import Config, Definition, Tensors, gated_mlp, in_bf16, projections


def layer(config: Config, number: int) -> Tensors:
    """Return the tensors of a layer; those from ``num_hidden_layers`` on are MTP layers."""
    hidden, name = config["hidden_size"], f"model.layers.{number}"
    compressed = {} if config["q_lora_rank"] is None else {"self_attn.q_a_layernorm": config["q_lora_rank"]}
    norms = compressed | {
        "self_attn.kv_a_layernorm": config["kv_lora_rank"],
        "input_layernorm": hidden,
        "post_attention_layernorm": hidden,
    }
    tensors = _attention(config, f"{name}.self_attn") | in_bf16(
        {f"{name}.{norm}.weight": (size,) for norm, size in norms.items()}
    )
    if number < config["first_k_dense_replace"]:
        return tensors | projections(config, gated_mlp(f"{name}.mlp", hidden, config["intermediate_size"]))
    tensors |= _experts(config, f"{name}.mlp")
    return tensors | (_prediction(config, name) if number >= config["num_hidden_layers"] else {})


def _attention(config: Config, name: str) -> Tensors:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    queries, keys, rope = config["q_lora_rank"], config["kv_lora_rank"], config["qk_rope_head_dim"]
    nope, values = config["qk_nope_head_dim"], config["v_head_dim"]
    if queries is None:  # as in Moonlight, queries are not compressed
        of_queries = {f"{name}.q_proj.weight": (heads * (nope + rope), hidden)}
    else:
        of_queries = {
            f"{name}.q_a_proj.weight": (queries, hidden),
            f"{name}.q_b_proj.weight": (heads * (nope + rope), queries),
        }
    return projections(
        config,
        of_queries
        | {
            f"{name}.kv_a_proj_with_mqa.weight": (keys + rope, hidden),
            f"{name}.kv_b_proj.weight": (heads * (nope + values), keys),
            f"{name}.o_proj.weight": (hidden, heads * values),
        },
    )


def _experts(config: Config, name: str) -> Tensors:
    hidden, width, experts = config["hidden_size"], config["moe_intermediate_size"], config["n_routed_experts"]
    tensors: Tensors = {}
    for expert in range(experts):
        tensors |= projections(config, gated_mlp(f"{name}.experts.{expert}", hidden, width))
    shared = gated_mlp(f"{name}.shared_experts", hidden, width * config["n_shared_experts"])
    tensors |= projections(config, shared) | in_bf16({f"{name}.gate.weight": (experts, hidden)})
    return tensors | {f"{name}.gate.e_score_correction_bias": ("F32", (experts,))}


def _prediction(config: Config, name: str) -> Tensors:
    """Return what an MTP layer has beside a decoder layer's tensors."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    norms = {f"{name}.{norm}.weight": (hidden,) for norm in ("enorm", "hnorm", "shared_head.norm")}
    return in_bf16(
        norms
        | {
            f"{name}.embed_tokens.weight": (vocabulary, hidden),
            f"{name}.shared_head.head.weight": (vocabulary, hidden),
            f"{name}.eh_proj.weight": (hidden, 2 * hidden),
        }
    )


DEFINITION = Definition(title="DeepSeek-V3", layer=layer)
