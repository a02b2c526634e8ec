"""Tiny models of every family of causal language models that transformers has, written by transformers itself.

``SIZES`` are the sizes of a tiny model, by the keys that configs have for them; ``OWN`` is what a family needs beside
them.  Everything else is the family's default.
"""

import copy

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto import modeling_auto

EXPERTS = 6  # routed experts of a layer; no other size is this one
WIDTH = 88  # of dense MLPs; a multiple of 11, which no other size is
SHARD = "100KB"  # the largest, so that every model has several
PARENTS = ("base", "other")
SIZES = {
    key: size
    for size, keys in {
        64: "hidden_size n_embd d_model dim_model emb_dim embedding_dim embedding_size word_embed_proj_dim embed_dim "
        "lru_width hidden_size_global projection_dim out_hidden_size text_hidden_size "
        "projection_hidden_size projector_hidden_size input_embedding_size output_embedding_size ple_embed_dim "
        "encoder_hidden_size projector_input_dim projector_output_dim vision_output_dim output_dim",
        WIDTH: "intermediate_size intermediate_size_mlp dense_intermediate_size ffn_dim dff dim_ff ffn_hidden_size "
        "n_inner feed_forward_size decoder_ffn_dim encoder_ffn_dim mlp_dim d_ff",
        48: "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size "
        "moe_shared_expert_intermediate_size share_expert_dim",
        EXPERTS: "num_experts num_local_experts n_routed_experts moe_num_experts",
        4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
        "attention_heads linear_num_value_heads linear_num_heads index_n_heads mamba_dt_rank time_step_rank "
        "swa_num_attention_heads swa_num_key_value_heads num_sliding_attention_heads hc_lowrank heads_per_ngram "
        "index_topk sliding_window attention_window_size attention_chunk_size sliding_window_size local_attention "
        "index_block_size compress_block_size",
        2: "num_key_value_heads num_kv_heads linear_num_key_heads num_experts_per_tok num_experts_per_token moe_topk "
        "moe_top_k moe_k o_groups mamba_n_groups n_groups num_hidden_layers n_layer n_layers num_layers "
        "decoder_layers encoder_layers num_blocks depth zero_expert_num index_topk_blocks num_layers_per_stack layers",
        1: "n_group topk_group num_expert_group n_shared_experts num_shared_experts moe_num_shared_experts "
        "first_k_dense_replace num_dense_layers",
        16: "head_dim swa_head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim index_head_dim linear_head_dim "
        "linear_key_head_dim linear_value_head_dim mamba_d_head mamba_head_dim attention_head_dim mamba_headdim "
        "kv_channels o_lora_rank hidden_size_per_layer_input laurel_rank adapter_rank router_hidden_size dim_head "
        "d_head attention_head_size",
        8: "latent_channels codebook_size num_embeddings mamba_d_state state_size ssm_state_size mamba_n_heads mamba_num_heads n_mamba_heads rotary_dim d_rel",
        32: "q_lora_rank kv_lora_rank base_channels",
        128: "vocab_size max_position_embeddings n_positions n_ctx max_seq_len model_max_length context_length "
        "vocab_size_per_layer_input mamba_d_ssm decoder_vocab_size rel_extent original_max_position_embeddings",
    }.items()
    for key in keys.split()
}
UNSTATED = ("n_inner", "ffn_dim", "head_dim", "num_key_value_heads")  # which follow from others unless they are stated
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
MROPE = {"text_config": {"rope_parameters": ROPE | {"mrope_section": [4, 2, 2]}}}  # of half a head
OWN = {
    "blt": {"encoder_hash_byte_group_vocab": 50, "encoder_hash_byte_group_size": [3, 4]},
    "chameleon": {"vocabulary_map": {"<image>": 100}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE | {"mrope_section": [3, 3, 2]}}},
    "cosmos3_edge": MROPE,
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": EXPERTS, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "emu3": {
        "vocabulary_map": {"<image>": 100, "<|extra_200|>": 101},
        "vq_config": {"channel_multiplier": [1, 1]},
    },
    "ernie4_5_vl_moe": {"text_config": {"rope_parameters": ROPE | {"mrope_section": [3, 3, 2]}}},
    "falcon_h1": {"mamba_d_head": 16},
    "falcon_mamba": {"intermediate_size": 128},
    "gemma3n_text": {
        "num_hidden_layers": 3,
        "num_kv_shared_layers": 1,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "intermediate_size": [WIDTH] * 3,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0],
    },
    "glm46v": MROPE,
    "glm4v": MROPE,
    "glm4v_moe": {
        "text_config": {"rope_parameters": ROPE | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5}}
    },
    "glm5_next": {"text_config": {"index_kpool": 2}},
    "glm_ocr": MROPE,
    "glmga": MROPE,
    "granite4_vision": {"text_config": {"model_type": "granite"}, "deepstack_layer_map": [[1, 0]]},
    "gpt_neo": {"intermediate_size": WIDTH},
    "hunyuan_v1_moe": {"num_experts": EXPERTS, "moe_topk": 2},
    "laguna": {"num_attention_heads_per_layer": [4, 4]},
    "lfm2": {"full_attn_idxs": [1], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba": {"intermediate_size": 128},
    "mamba2": {"num_heads": 8},
    "mistral4": {"head_dim": 32},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "paddleocr_vl": MROPE,
    "qwen2_5_omni_thinker": MROPE,
    "qwen2_5_vl": MROPE,
    "qwen2_vl": MROPE,
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "rwkv": {"attention_hidden_size": 64},
    "step3p7": {"text_config": {"sliding_window": 4}},
    "xlnet": {"d_inner": WIDTH},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
    },
    "zamba2": {"attention_hidden_size": 128, "attention_head_dim": 32},
}
OWN |= {name: {"text_config": OWN[f"{name}_text"]} for name in ("cohere_compass", "qwen4_exp")}
# What is no causal language model, beside what transformers' own lists say.
OTHERS = {
    name: reason
    for reason, names in {
        "the decoder of an encoder-decoder": "bert-generation florence2 pix2struct pp_formulanet trocr udop "
        "vision-encoder-decoder whisper",
        "answers only about an image": "blip blip-2 idefics instructblip instructblipvideo kosmos-2",
        "drafts tokens for another model, whose states it reads": "gemma4_assistant gemma4_unified_assistant",
        "makes sound": "moshi musicgen musicgen_melody",
        "fills a canvas instead of writing on": "diffusion_gemma",
        "judges images": "shieldgemma2",
        "moves robots": "pi0",
        "reads proteins": "evolla",
    }.items()
    for name in names.split()
}


def all_families():
    """The model types: of causal language models, then of those that also read images."""
    texts, images = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )
    return list(dict.fromkeys([*texts, *images]))


def no_language_model(model_type):
    """Why a family is left out; None for a causal language model."""
    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "the decoder of an encoder-decoder"
    if model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "an encoder, which can also run as a decoder"
    return OTHERS.get(model_type)


def small(defaults):
    """The settings of a tiny model, from a family's default config, a dict: one layer of each kind, at least two."""
    settings = {}
    for key, value in defaults.items():
        if key.endswith("config") and isinstance(value, dict) and "model_type" in value:
            settings[key] = small(value) | ({"model_type": value["model_type"]} if value["model_type"] else {})
        elif key in SIZES and ((type(value) is int and value > 0) or (value is None and key in UNSTATED)):
            settings[key] = min(value or SIZES[key], SIZES[key])
        elif key in TOKENS:
            settings[key] = TOKENS[key]
        elif "token_i" in key and type(value) is int and value >= SIZES["vocab_size"]:
            settings[key] = 100 + len([name for name in settings if "token_i" in name])
    if "kv_lora_rank" in settings:  # latent attention: every head has its keys
        settings["num_key_value_heads"] = SIZES["num_attention_heads"]
    return settings | _layers(defaults)


def _layers(defaults):
    """The number of layers, and the lists that have an entry for each."""
    stated = next((key for key in LAYERS if type(defaults.get(key)) is int), None)
    number = defaults.get(stated, 0)
    lists = {
        key: value
        for key, value in defaults.items()
        if isinstance(value, list) and len(value) == number > 3 and len(set(map(repr, value))) < number  # no indices
    }
    if not lists:
        return {}
    kinds = [repr(kind) for kind in zip(*lists.values(), strict=True)]
    kept = sorted({kinds.index(kind) for kind in kinds})
    kept = kept if len(kept) > 1 else [0, 1]
    return {stated: len(kept)} | {key: [value[index] for index in kept] for key, value in lists.items()}


def tiny_config(model_type):
    """The config of a tiny model."""
    made = CONFIG_MAPPING[model_type]
    settings = _merged(small(made().to_dict()), OWN.get(model_type, {}))
    return made(**settings)


def _merged(settings, own):
    for key, value in own.items():
        inside = isinstance(value, dict) and isinstance(settings.get(key), dict)
        settings = settings | {key: _merged(settings[key], value) if inside else value}
    return settings


def tiny_model(model_type, config=None):
    """A tiny model in BF16: with its image tower, if it has one, as checkpoints on the Hub have it."""
    seen = model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    auto = AutoModelForImageTextToText if seen else AutoModelForCausalLM
    torch.manual_seed(0)
    return auto.from_config(config or tiny_config(model_type), dtype=torch.bfloat16).eval()


def write_parents(model_type, folder):
    """Write two tiny models of a family that differ in every number; return {name: folder} and their class."""
    model = tiny_model(model_type)
    begun = copy.deepcopy(model.state_dict())
    for seed, name in enumerate(PARENTS):
        random = torch.Generator().manual_seed(seed)
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(begun[key] + 0.05 * torch.randn(tensor.shape, generator=random))
        model.save_pretrained(folder / name, max_shard_size=SHARD)
    return {name: folder / name for name in PARENTS}, type(model)
