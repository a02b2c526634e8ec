"""Configs of checkpoints: do parents compute alike, and does a config.json tell what its shards hold?

Weights are trained for one set of constants: rotations, routing, norms.  Parents may share every shape and differ in
these; then their mixture means something only if the recipe says with which of them it is to be computed.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK, FORMATS, SCALED, scale_of
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
PLAIN = {name: one.torch for name, one in FORMATS.items() if one.plain}
SKIPPED = ("modules_to_not_convert", "ignored_layers")  # as different writers call them


class Difference(NamedTuple):
    """A key that two configs state differently, with both values; ``computed``: whether the weights depend on it."""

    key: str
    ours: object
    theirs: object
    computed: bool

    def told(self, one: str, other: str) -> str:
        """Return the difference in words; one, other: the names of the two models."""
        return f"{self.key}: {_written(self.ours)} in {one}, {_written(self.theirs)} in {other}"


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
    return ids[0] if isinstance(ids, list) and len(ids) == 1 else sorted(ids) if isinstance(ids, list) else ids


def _rotation(config):
    """The keys of rotations: rope_theta, and rope_scaling.… of anything but plain ones."""
    parameters = config.get("rope_parameters") or {}
    scaling = {**(config.get("rope_scaling") or {}), **parameters} if isinstance(parameters, dict) else {}
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


def _written(value):
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


def contradictions(checkpoint: Checkpoint) -> list[str]:
    """Return sentences on what the config.json of a Checkpoint says of its weights, and its shards do not bear out."""
    return [sentence for sentence, _ in _contradicting(checkpoint)]


def true_config(checkpoint: Checkpoint, config: Mapping[str, Any], combined: bool) -> dict[str, Any]:
    """Return a config like ``config`` for weights stored as a Checkpoint's are: contradictions to headers are mended.

    combined: whether some of them are made here; the scales of these are no powers of two.
    """
    stated = {key: value for key, value in config.items() if key not in STORED}
    stated = stated | {key: checkpoint.config[key] for key in STORED if key in checkpoint.config}
    for _, mend in _contradicting(checkpoint):
        stated = mend(stated)
    quantized = stated.get("quantization_config")
    if combined and isinstance(quantized, dict) and quantized.get("scale_fmt") == "ue8m0":
        plain = {key: value for key, value in quantized.items() if key != "scale_fmt"}
        stated = stated | {"quantization_config": plain}
    return stated


def _contradicting(checkpoint):
    """Yields (sentence, what makes a config true: a function of one) of each contradiction."""
    dtypes, quantized = {}, checkpoint.config.get("quantization_config")
    for file in checkpoint.shard_names:
        for tensor, stored in checkpoint.shard(file).tensors.items():
            if not checkpoint.is_scale(tensor):
                dtypes[tensor] = stored.dtype
    scaled = [weight for weight, dtype in dtypes.items() if dtype in SCALED and scale_of(weight) in checkpoint]
    if quantized and set(dtypes.values()) <= set(PLAIN):
        sentence = (
            f"{checkpoint.name}: config.json has a quantization_config ({_method(quantized)}), but its shards hold "
            f"plain weights only ({_kinds(dtypes)}); what is published from them is written without."
        )
        yield sentence, lambda config: {k: v for k, v in config.items() if k != "quantization_config"}
    elif scaled and not quantized:
        sentence = (
            f"{checkpoint.name}: config.json has no quantization_config, but its shards hold {len(scaled):,} FP8 "
            "weights with scales; what is published from them is written with one."
        )
        yield sentence, lambda config: config | {"quantization_config": _block_format(dtypes, scaled, {})}
    elif scaled and isinstance(quantized, dict) and quantized.get("quant_method") == "fp8":
        wrong = _wrong_in(quantized, dtypes, scaled)
        if wrong:
            mended = _block_format(dtypes, scaled, quantized)
            sentence = (
                f"{checkpoint.name}: the quantization_config of config.json contradicts the shards: "
                f"{'; '.join(wrong)}.  What is published from them says what they hold."
            )
            yield sentence, lambda config: config | {"quantization_config": mended}
    yield from _wrong_dtype(checkpoint, dtypes)


def _wrong_dtype(checkpoint, dtypes):
    """The contradiction between the stated dtype and that of most unquantized weights, if there is one."""
    key = "dtype" if "dtype" in checkpoint.config else "torch_dtype"
    stated = str(checkpoint.config.get(key)).removeprefix("torch.")
    sizes = {}
    for weight, dtype in dtypes.items():
        if dtype in PLAIN:
            sizes[dtype] = sizes.get(dtype, 0) + checkpoint.stored(weight).elements
    most = PLAIN[max(sizes, key=sizes.__getitem__)] if sizes else None
    if most and stated in PLAIN.values() and stated != most:
        sentence = (
            f"{checkpoint.name}: config.json states {key} {stated}, but its shards hold {_kinds(dtypes)}; what is "
            f"published from them states {most}."
        )
        yield sentence, lambda config: config | {key: most}


def _wrong_in(quantized, dtypes, scaled):
    """In words, what a config of FP8 blocks says that the stored weights do not bear out."""
    wrong, block = [], quantized.get("weight_block_size")
    if block != [BLOCK, BLOCK]:
        wrong.append(f"weight_block_size is {_written(block)}, the scales' shapes give {[BLOCK, BLOCK]}")
    found = sorted({FORMATS[dtypes[weight]].fp8 or "" for weight in scaled})
    if quantized.get("fmt", "e4m3") not in found:
        wrong.append(f"fmt is {_written(quantized['fmt'])}, the weights are {', '.join(found)}")
    skipped = [name for key in SKIPPED for name in quantized.get(key) or []]
    if left := [weight for weight in scaled if _is_in(weight, skipped)]:
        wrong.append(f"{left[0]} is FP8, and among those that are not converted")
    if left := [weight for weight in _unquantized(dtypes, scaled) if not _is_in(weight, skipped)]:
        wrong.append(f"{left[0]} is {dtypes[left[0]]}, and not among those that are not converted")
    return wrong


def _unquantized(dtypes, scaled):
    """The projections that are stored plain although projections of the same name are FP8 elsewhere."""
    kinds = {weight.split(".")[-2] for weight in scaled}
    return [w for w, dtype in dtypes.items() if dtype in PLAIN and w.endswith(".weight") and w.split(".")[-2] in kinds]


def _is_in(weight, modules):
    module = weight.removesuffix(".weight")
    return any(module == name or module.startswith(f"{name}.") for name in modules)


def _block_format(dtypes, scaled, stated):
    """A quantization_config of FP8 blocks that is true of the stored weights; stated: the config's own."""
    made = {"activation_scheme": "dynamic", "quant_method": "fp8"} | stated
    made |= {"fmt": FORMATS[dtypes[scaled[0]]].fp8, "weight_block_size": [BLOCK, BLOCK]}
    skipped = [name for key in SKIPPED for name in stated.get(key) or []]
    modules = [name for name in skipped if not any(_is_in(weight, [name]) for weight in scaled)]
    modules += [w.removesuffix(".weight") for w in _unquantized(dtypes, scaled) if not _is_in(w, modules)]
    made = {key: value for key, value in made.items() if key not in SKIPPED}
    return made | ({next((k for k in SKIPPED if k in stated), SKIPPED[0]): modules} if modules else {})


def _method(quantized):
    return quantized.get("quant_method", "no quant_method") if isinstance(quantized, dict) else _written(quantized)


def _kinds(dtypes):
    return ", ".join(sorted(set(dtypes.values())))
