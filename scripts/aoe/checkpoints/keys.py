"""What a config.json says of a model's size, whatever its keys are called and wherever they are nested."""

import re
from collections.abc import Mapping
from typing import Any

from aoe import AoeError

Config = Mapping[str, Any]

NESTED = ("text_config", "llm_config", "language_config", "language_model_config", "thinker_config", "decoder_config")
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers", "decoder_layers", "layers")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", "num_moe_experts", "n_experts")
EXPERTS_PER_TOKEN = (
    *("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "num_selected_experts"),
    *("top_k_experts", "experts_per_token"),
)
OF_MTP = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers", "num_mtp_modules")
WIDTHS = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "mlp_dim", "n_inner", "d_inner", "d_ff")  # of MLPs
OF_EXPERTS = re.compile("moe|expert")  # in a key
# an item, or a letter, for every layer
KINDS = ("layers_block_type", "layer_types", "hybrid_override_pattern")
# kinds of layers as ``layer_types`` names them, and the number that stands for them in ``attn_type_list``
LINEAR, LINEAR_NUMBER = "linear", 0


def text_config(config: Config) -> Config:
    """Return the part of a config.json that describes the language model: the config itself, or one inside it."""
    for key in NESTED:
        if isinstance(inside := config.get(key), Mapping):
            found = text_config(inside)
            if any(key in found for key in (*LAYERS, *KINDS)):
                return found
    return config


def quantization_of(config: Config) -> Any:
    """Return the ``quantization_config`` of a config.json, which a nested config may have; None without one."""
    return config.get("quantization_config") or text_config(config).get("quantization_config")


def layers_of(config: Config) -> int:
    """Return the number of layers, without those of MTP.

    Raises AoeError if the config names none, or one that is no number.
    """
    text = text_config(config)
    key = next((key for key in LAYERS if key in text), None)
    if key is None:
        if kinds := next((text[key] for key in KINDS if isinstance(text.get(key), list | str)), None):
            return len(kinds)
        raise AoeError(f"The model's config.json does not say how many layers it has ({', '.join(LAYERS)}).")
    if type(text[key]) is not int:
        raise AoeError(f"The model's config.json says {text[key]!r} for {key}, which is no number.")
    number: int = text[key]
    return number


def mtp_layers_of(config: Config) -> int:
    """Return the number of layers of multi-token prediction that a config states; 0 if it states none."""
    return _number(config, OF_MTP) or 0


def experts_of(config: Config) -> int | None:
    """Return the number of routed experts of a layer; None for a dense model."""
    return _number(config, EXPERTS)


def is_dense(config: Config) -> bool:
    """Return whether a config has the width of MLPs, and nothing in it is of experts."""
    text = text_config(config)
    return any(type(text.get(key)) is int for key in WIDTHS) and not _has_experts(text)


def _has_experts(config):
    inside = [value for value in config.values() if isinstance(value, Mapping)]
    return any(OF_EXPERTS.search(key) and config[key] for key in config) or any(map(_has_experts, inside))


def experts_per_token(config: Config) -> int | None:
    """Return the number of routed experts that a token meets in a layer; None where the config does not say."""
    return _number(config, EXPERTS_PER_TOKEN)


def _number(config, keys):
    text = text_config(config)
    mlps = text.get("ffn_config")  # of DBRX
    for key in keys:
        value = text.get(key, mlps.get(key) if isinstance(mlps, Mapping) else None)
        numbers = value if isinstance(value, list) else [value]  # some configs have one for every layer
        if found := [number for number in numbers if type(number) is int and number > 0]:
            return max(found)
    return None


def linear_layers(config: Config) -> frozenset[int]:
    """Return the numbers of the layers whose attention is linear, as far as the config says so."""
    text = text_config(config)
    kinds, numbers = text.get("layer_types"), text.get("attn_type_list")
    found = {i for i, kind in enumerate(kinds) if LINEAR in str(kind)} if isinstance(kinds, list) else set()
    found |= {i for i, kind in enumerate(numbers) if kind == LINEAR_NUMBER} if isinstance(numbers, list) else set()
    counted = text.get("linear_attn_config")
    if isinstance(counted, Mapping) and isinstance(counted.get("kda_layers"), list):
        found |= {number - 1 for number in counted["kda_layers"] if type(number) is int}  # counted from 1
    return frozenset(found)
