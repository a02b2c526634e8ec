"""Configs of checkpoints: do parents compute alike?

Weights are trained for one set of constants: rotations, routing, norms.  Parents may share every shape and differ in
these; then their mixture means something only if the recipe says with which of them it is to be computed.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aoe import AoeError
from aoe.checkpoints.keys import text_config

STORED = ("quantization_config", "torch_dtype", "dtype")  # keys of a config.json that tell how weights are stored

# What every class of transformers takes for a key that a config does not state; None: nothing, or what follows from
# other keys.
DEFAULTS: dict[str, Any] = {
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "hidden_act": "silu",
    "mlp_only_layers": [],
    "moe_layer_freq": 1,
    "norm_topk_prob": None,
    "num_experts_per_tok": 8,
    "rms_norm_eps": 1e-6,
    "rope_interleave": True,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
OF_TYPE: dict[str, dict[str, Any]] = {  # where the classes of two architectures have different ones
    "deepseek_v3": {
        "first_k_dense_replace": 3,
        "n_group": 8,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "topk_group": 4,
        "topk_method": "noaux_tc",
    },
    "qwen3_moe": {"norm_topk_prob": False},
}
# What a model computes with, besides its weights; "rope" stands for the keys of rotations, however they are spelled.
COMPUTED = {
    *DEFAULTS,
    *(key for defaults in OF_TYPE.values() for key in defaults),
    *("attn_logit_softcapping", "final_logit_softcapping", "hidden_activation", "hidden_size", "intermediate_size"),
    *("kv_lora_rank", "layer_norm_epsilon", "layer_types", "logit_scale", "mlp_bias", "moe_intermediate_size"),
    *("n_routed_experts", "n_shared_experts", "norm_eps", "num_attention_heads", "num_experts", "num_hidden_layers"),
    *("num_key_value_heads", "num_local_experts", "partial_rotary_factor", "q_lora_rank", "qk_nope_head_dim"),
    *("qk_rope_head_dim", "query_pre_attn_scalar", "residual_multiplier", "attention_multiplier", "sliding_window"),
    *("embedding_multiplier", "logits_scaling", "swiglu_limit", "v_head_dim", "vocab_size", "use_qk_norm"),
}
# What says nothing about the model: who wrote the file and how, what only training looks at, how it is stored.
INCIDENTAL = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "head_dim", "qk_head_dim", "model_type"),
    *(
        "attention_dropout",
        "aux_loss_alpha",
        "ep_size",
        "initializer_range",
        "max_window_layers",
        "output_router_logits",
    ),
    *("pretraining_tp", "quantization_config", "router_aux_loss_coef", "seq_aux", "transformers_version", "use_cache"),
    *("output_attentions", "output_hidden_states", "return_dict", "torchscript", "gradient_checkpointing"),
    *("num_nextn_predict_layers", "unsloth_fixed", "unsloth_version", "is_causal", "chunk_size_feed_forward"),
    *("problem_type", "id2label", "label2id", "compression_config", "use_bfloat16", "is_encoder_decoder"),
}
ROTATIONS = ("rope_theta", "rope_scaling", "rope_parameters")
OF_YARN: dict[str, Any] = {"beta_fast": 32, "beta_slow": 1, "truncate": True}


class Difference(NamedTuple):
    """A key that two configs state differently, with both values; ``computed``: whether the weights depend on it."""

    key: str
    ours: object
    theirs: object
    computed: bool

    def told(self, one: str, other: str) -> str:
        """Return the difference in words; one, other: the names of the two models."""
        return f"{self.key}: {written(self.ours)} in {one}, {written(self.theirs)} in {other}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Return the Differences of two configs (dicts) that may matter, in the order of their keys.

    A key that one of them lacks counts as its class's default; where none is known, as not different, unless weights
    depend on it.
    """
    ours, theirs = _flat(ours), _flat(theirs)
    one, other = _stated(ours), _stated(theirs)
    found = []
    for key in sorted(one.keys() | other.keys()):
        computed = key in COMPUTED or key.startswith("rope_scaling")
        mine, yours = (config.get(key, _default(key, stated)) for config, stated in ((one, ours), (other, theirs)))
        if mine != yours and (computed or None not in (mine, yours)):
            # of a key without a known default nobody can tell whether the other model has the same
            found.append(Difference(key, mine, yours, computed and _is_known(key, mine, yours)))
    if any(one.key == "rope_scaling.type" for one in found):  # another kind has other keys
        found = [one for one in found if not one.key.startswith("rope_scaling.") or one.key.endswith(".type")]
    return found


def _flat(config):
    """A config whose language model is described inside it: that one's keys, and those of others after their names."""
    text = text_config(config)
    return {**_beside(config, text, ""), **text} if text is not config else config


def _beside(config, text, prefix):
    keys = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value is not text and key not in (*INCIDENTAL, *ROTATIONS):
            keys |= _beside(value, text, f"{prefix}{key}.")
        elif value is not text and not (prefix and key in INCIDENTAL):
            keys[f"{prefix}{key}"] = value
    return keys


def _is_known(key, mine, yours):
    return None not in (mine, yours) or key.startswith(("rope_scaling", "sliding_window"))


def _stated(config):
    """{key: value} of what a config states and may matter, rotations and windows in one spelling, without nulls."""
    kept = {key: value for key, value in config.items() if key not in INCIDENTAL and key not in ROTATIONS}
    if "hidden_size" in config and config.get("num_attention_heads"):
        kept.setdefault("num_key_value_heads", config["num_attention_heads"])
    if not config.get("use_sliding_window", config.get("model_type") not in OF_TYPE):
        kept.pop("sliding_window", None)
    if "num_local_experts" in kept and config.get("model_type") == "qwen3_moe":
        kept["num_experts"] = kept.pop("num_local_experts")
    for special in [key for key in kept if key.endswith("_token_id")]:
        kept[special] = _several(kept[special])
    return {key: value for key, value in (kept | _rotation(config)).items() if value is not None}


def _several(ids):
    if not isinstance(ids, list) or {*map(type, ids)} - {int}:
        return ids
    return ids[0] if len(ids) == 1 else sorted(ids)


def _rotation(config):
    """The keys of rotations: rope_theta, and rope_scaling.… of anything but plain ones."""
    stated = [config.get(key) for key in ("rope_scaling", "rope_parameters")]
    scaling = {key: value for part in stated if isinstance(part, Mapping) for key, value in part.items()}
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", None) or kind or "default"
    rotation = {"rope_theta": scaling.pop("rope_theta", config.get("rope_theta"))}
    if kind == "default":
        return rotation
    scaling = (OF_YARN if kind == "yarn" else {}) | scaling | {"type": kind}
    return rotation | {f"rope_scaling.{key}": value for key, value in scaling.items()}


def _default(key, config):
    defaults = DEFAULTS | OF_TYPE.get(config.get("model_type"), {})
    return defaults.get(key)


def written(value: object) -> str:
    """Return a value of a config as JSON, or that there is none."""
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def check_alike(who: str, parents: Mapping[str, Mapping[str, Any]], said: Collection[str] | None = ()) -> list[str]:
    """Raise AoeError, naming keys and values, if the parents of ``who`` compute with different constants.

    parents: name -> config, the base first; said: the keys that the recipe itself states, or None if it names the
    parent whose config is meant.  Returns sentences on what differs and may matter, or is decided by the recipe.
    """
    (base, ours), *others = parents.items()
    told = []
    if said and "rope_parameters" in said:
        said = {*said, *ROTATIONS}
    for other, theirs in others:
        found = differences(ours, theirs)
        open_ = [one for one in found if one.computed and said is not None and one.key.split(".")[0] not in said]
        if open_:
            raise AoeError(
                f"{who}: the config.json of {base} and {other} differ in {_listed(open_, base, other)}.  Their weights "
                f"were trained for different models; say in the recipe with which to compute: `config_from: {base}`, "
                f"or the key itself in `config`."
            )
        if found:
            told.append(f"{who}: the config.json of {base} and {other} differ in {_listed(found, base, other)}.")
    return told


def _listed(found, base, other):
    text = "; ".join(one.told(base, other) for one in found[:6])
    return text + (f"; and {len(found) - 6} more" if len(found) > 6 else "")
