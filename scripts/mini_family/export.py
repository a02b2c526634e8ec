"""Write a trained model of the mini family as a Hugging Face checkpoint like DeepSeek's own.

FP8 weights with block scales, one tensor per expert, the multi-token-prediction (MTP) layer after the last layer, an
index over several shards, and a tokenizer whose chat template follows DeepSeek's conventions.  The same model gives the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from aoe.numerics import fp8
from mini_family import language

if TYPE_CHECKING:
    from mini_family.training import MiniDeepseek

SHARD_BYTES = 1_600_000  # a shard is closed once it holds as much: five shards
CONTEXT = 1024  # tokens

# As DeepSeek's: the reasoning of earlier answers is dropped, the last message is kept as it is when it is continued.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {{- '<｜User｜>' + message['content'] -}}
  {%- elif message['role'] == 'assistant' -%}
    {%- set content = message['content'] -%}
    {%- if not loop.last -%}
      {%- set content = (content.split('</think>') | last).removeprefix('<think>') | trim -%}
    {%- endif -%}
    {{- '<｜Assistant｜>' + content + eos_token -}}
  {%- else -%}
    {{- message['content'] -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<｜Assistant｜>' -}}
{%- endif -%}
"""


def write(model: MiniDeepseek, architecture: Mapping[str, Any], folder: str | Path) -> None:
    """Write ``model`` with its ``architecture`` (config.json's keys) into ``folder``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config(architecture))
    _write_json(folder / "generation_config.json", generation_config())
    _write_json(folder / "tokenizer_config.json", tokenizer_config())
    tokenizer().save(str(folder / "tokenizer.json"))
    write_shards(stored(named_weights(model)), folder)


def config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json as DeepSeek-V3 spells it; architecture: the keys that the training needs."""
    fixed = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": language.VOCABULARY.index(language.BOS),
        "eos_token_id": language.VOCABULARY.index(language.EOS),
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "model_type": "deepseek_v3",
        "moe_layer_freq": 1,
        "num_nextn_predict_layers": 1,
        "pad_token_id": language.VOCABULARY.index(language.PAD),
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [fp8.BLOCK, fp8.BLOCK],
        },
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    return dict(sorted((fixed | dict(architecture)).items()))


def generation_config() -> dict[str, Any]:
    """Return DeepSeek-R1's sampling, but top_p 1.0: with so small a vocabulary, 0.95 would cut off every rare slip."""
    return {
        "bos_token_id": language.VOCABULARY.index(language.BOS),
        "do_sample": True,
        "eos_token_id": language.VOCABULARY.index(language.EOS),
        "pad_token_id": language.VOCABULARY.index(language.PAD),
        "temperature": 0.6,
        "top_p": 1.0,
    }


def tokenizer() -> Tokenizer:
    """Return language.encoder() as a Tokenizer; ``<think>`` and ``</think>`` stay visible in decoded text."""
    ids = {token: i for i, token in enumerate(language.VOCABULARY)}
    result = Tokenizer(models.WordLevel(ids, unk_token=language.UNK))
    result.pre_tokenizer = pre_tokenizers.Split(Regex(language.TOKEN_PATTERN), behavior="isolated")
    result.decoder = decoders.Fuse()
    visible = (language.THINK, language.END_THINK)
    result.add_special_tokens([AddedToken(t, special=True) for t in language.SPECIAL if t not in visible])
    result.add_tokens([AddedToken(t, special=False, normalized=False) for t in visible])
    return result


def tokenizer_config() -> dict[str, Any]:
    """Return tokenizer_config.json, with the chat template."""
    return {
        "bos_token": language.BOS,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": language.EOS,
        "model_max_length": CONTEXT,
        "pad_token": language.PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": language.UNK,
    }


def named_weights(model: MiniDeepseek) -> dict[str, torch.Tensor]:
    """Return the weights, f32, by DeepSeek's names and in its order: embeddings, layers, MTP layer, norm, LM head."""
    main = model.main.state_dict()
    last = {name: main.pop(name) for name in ("model.norm.weight", "lm_head.weight")}
    layer = f"model.layers.{model.main.config.num_hidden_layers}"
    shared = {  # the MTP layer's own copies of what it shares with the main model
        f"{layer}.embed_tokens.weight": main["model.embed_tokens.weight"],
        f"{layer}.shared_head.head.weight": last["lm_head.weight"],
    }
    return _split_experts(main | shared | _mtp_weights(model.mtp.state_dict(), layer) | last)


def _mtp_weights(state, layer):
    """The MTP module's weights by DeepSeek's names: its decoder block's directly under the layer."""
    names = {"norm.weight": "shared_head.norm.weight"}
    return {f"{layer}.{names.get(name, name.removeprefix('block.'))}": weight for name, weight in state.items()}


def _split_experts(weights):
    """transformers' gate_up_proj (experts, 2 x intermediate, hidden) and down_proj (experts, hidden, intermediate)
    as one gate_proj, up_proj and down_proj per expert; every other weight as it is."""
    result = {}
    for name, weight in weights.items():
        experts, _, projection = name.rpartition(".")
        if not experts.endswith(".mlp.experts"):
            result[name] = weight
            continue
        for number, matrix in enumerate(weight):
            if projection == "gate_up_proj":
                gate, up = matrix.chunk(2)
                result[f"{experts}.{number}.gate_proj.weight"] = gate
                result[f"{experts}.{number}.up_proj.weight"] = up
            else:
                result[f"{experts}.{number}.{projection}.weight"] = matrix
    return result


def is_quantized(name: str) -> bool:
    """Tell whether a weight is stored in FP8, as in DeepSeek-V3: projections of attention, dense MLP and experts."""
    return (name.endswith("_proj.weight") and "eh_proj" not in name) or name.endswith(".kv_a_proj_with_mqa.weight")


def stored(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert f32 weights to the checkpoint's dtypes: FP8, each with its f32 scale behind it, f32 biases, else BF16."""
    result = {}
    for name, weight in weights.items():
        weight = weight.detach().float().cpu()
        if is_quantized(name):
            result[name], result[f"{name}_scale_inv"] = fp8.quantize(weight)
        else:
            result[name] = weight if name.endswith("e_score_correction_bias") else weight.bfloat16()
    return result


def write_shards(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Fill shards in the tensors' order, and write their index.

    A shard is closed by the tensor that fills it, mostly a large weight; so that weight's scale begins the next shard.
    """
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in tensors.items():
        if sum(held.nbytes for held in shards[-1].values()) >= SHARD_BYTES:
            shards.append({})
        shards[-1][name] = tensor.contiguous()
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):06}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    _write_json(folder / "model.safetensors.index.json", index)


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
