"""Tiny models of every family of causal language models that transformers has, written by transformers itself.

families.yaml has the sizes of tiny models, by the keys that configs have for them, and what single families need beside
them.  Everything else is the family's default.
"""

import copy
from pathlib import Path

import torch
import yaml
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto import modeling_auto

DATA = yaml.safe_load((Path(__file__).parent / "families.yaml").read_text(encoding="utf-8"))
SIZES = {key: size for size, keys in DATA["sizes"].items() for key in keys.split()}
EXPERTS, WIDTH = SIZES["num_experts"], SIZES["intermediate_size"]
EXPERT_WIDTH = SIZES["moe_intermediate_size"]
UNSTATED = DATA["unstated"].split()
OTHERS = {name: reason for reason, names in DATA["others"].items() for name in names.split()}
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHARD = "100KB"  # the largest, so that every model has several
PARENTS = ("base", "other")


def all_families():
    """The model types: of causal language models, then of those that also read images."""
    texts, images = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )
    return list(dict.fromkeys([*texts, *images]))


def reads_images(model_type):
    """Whether a family has towers of other modalities, by transformers' list."""
    return model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def no_language_model(model_type):
    """Why a family is left out; None for a causal language model."""
    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "the decoder of an encoder-decoder"
    if model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "an encoder, which can also run as a decoder"
    return OTHERS.get(model_type)


def small(defaults, sizes=SIZES):
    """The settings of a tiny model, from a family's default config, a dict: one layer of each kind, at least two."""
    settings = {}
    for key, value in defaults.items():
        if key.endswith("config") and isinstance(value, dict) and "model_type" in value:
            settings[key] = small(value, sizes) | ({"model_type": value["model_type"]} if value["model_type"] else {})
        elif key in sizes and ((type(value) is int and value > 0) or (value is None and key in UNSTATED)):
            settings[key] = min(value or sizes[key], sizes[key])
        elif key in TOKENS:
            settings[key] = TOKENS[key]
        elif "token_i" in key and type(value) is int and value >= SIZES["vocab_size"]:
            settings[key] = 100 + len([name for name in settings if "token_i" in name])
    if "kv_lora_rank" in settings:  # latent attention: every head has its keys
        settings["num_key_value_heads"] = sizes["num_attention_heads"]
        settings |= (
            {"head_dim": settings["qk_rope_head_dim"]} if settings.keys() >= {"head_dim", "qk_rope_head_dim"} else {}
        )
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


def tiny_config(model_type, sizes=(), more=()):
    """The config of a tiny model.  sizes: {key: other size}; more: settings beside the family's own."""
    made = CONFIG_MAPPING[model_type]
    settings = _merged(small(made().to_dict(), SIZES | dict(sizes)), DATA["own"].get(model_type, {}))
    return made(**_merged(settings, dict(more)))


def _merged(settings, own):
    for key, value in own.items():
        inside = isinstance(value, dict) and isinstance(settings.get(key), dict)
        settings = settings | {key: _merged(settings[key], value) if inside else value}
    return settings


def tiny_model(model_type, sizes=(), more=()):
    """A tiny model in BF16: with its image tower, if it has one, as checkpoints on the Hub have it.

    sizes, more: as for tiny_config.
    """
    auto = AutoModelForImageTextToText if reads_images(model_type) else AutoModelForCausalLM
    torch.manual_seed(0)
    return auto.from_config(tiny_config(model_type, sizes, more), dtype=torch.bfloat16).eval()


def write_parents(model_type, folder, sizes=(), more=(), own=()):
    """Write two tiny models of a family that differ in every number; return {name: folder} and their class.

    own: the names of those that are written with transformers' own names and stacks, and not with the Hub's.
    """
    model = tiny_model(model_type, sizes, more)
    begun = copy.deepcopy(model.state_dict())
    for seed, name in enumerate(PARENTS):
        random = torch.Generator().manual_seed(seed)
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(begun[key] + 0.05 * torch.randn(tensor.shape, generator=random))
        model.save_pretrained(folder / name, max_shard_size=SHARD, save_original_format=name not in own)
    return {name: folder / name for name in PARENTS}, type(model)
