"""Checkpoints whose parts contradict each other: the tensors that are stored decide, or a sentence says what is odd."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from aoe import AoeError
from aoe.acquiring.together import check, check_stored
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.configs import differences
from aoe.checkpoints.stated import contradictions, true_config
from aoe.checkpoints.tokens.chat_templates import chat_templates
from aoe.merging.equality import agree
from aoe.numerics.decoded import decode
from support.checkpoints import CONFIG
from support.layouts import PACKED, packed_of

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
NAME = PACKED.removesuffix("weight")


def checkpoint(folder, tensors, quantized=None, **config):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config = CONFIG | ({"quantization_config": quantized} if quantized else {}) | config
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("int4", {"weight_shape": torch.tensor([64, 256])}),
        ("int4", {"weight_shape": torch.tensor([32, 128])}),
        ("int4", {"weight_zero_point": torch.ones(3, 4, dtype=torch.int32)}),
        ("gptq", {"qzeros": torch.ones(4, 16, dtype=torch.int32)}),
        ("gptq", {"g_idx": torch.ones(64, dtype=torch.int32)}),
        ("awq", {"qzeros": torch.ones(3, 8, dtype=torch.int32)}),
        ("nvfp4", {"weight_global_scale": torch.ones(3)}),
        ("mxfp4 of DeepSeek-V4", {"scale": torch.full((4, 64), 120, dtype=torch.uint8)}),
    ],
)
def test_members_that_contradict_each_other_are_copied_and_not_decoded(tmp_path, kind, change):
    model = checkpoint(tmp_path / "a", packed_of(0)[kind] | {f"{NAME}{end}": part for end, part in change.items()})
    (weight,) = (name for name in model.weights if not name.endswith("scale"))
    assert not model.layout(weight).decodes
    assert "of unknown form" in model.layout(weight).words()


def test_bits_are_those_that_the_stated_shape_gives(tmp_path):
    """Of a model in which some weights have 8 bits, and others 4."""
    groups = {str(bits): {"weights": {"num_bits": bits}} for bits in (4, 8)}
    shape = {f"{NAME}weight_shape": torch.tensor([64, 64])}
    model = checkpoint(tmp_path / "a", packed_of(0)["int4"] | shape, {"config_groups": groups})
    layout = model.layout(f"{NAME}weight_packed")
    assert (layout.other["bits"], layout.shape, layout.block) == (8, (64, 64), (1, 16))


def test_a_stated_shape_leaves_out_what_only_fills_the_last_word(tmp_path):
    codes, scale = torch.zeros(64, 16, dtype=torch.int32), torch.ones(64, 1).bfloat16()
    tensors = {"weight_packed": codes, "weight_scale": scale, "weight_shape": torch.tensor([64, 125])}
    model = checkpoint(tmp_path / "a", {f"{NAME}{end}": tensor for end, tensor in tensors.items()})
    layout = model.layout(f"{NAME}weight_packed")
    assert layout.shape == (64, 125)
    assert np.array_equal(decode(model, layout, 0, 64), np.full((64, 125), -8, np.float32))


def test_codes_in_another_order_or_with_other_zeros_are_other_weights(tmp_path):
    stored, weight = packed_of(0)["gptq"], f"{NAME}qweight"
    order = {f"{NAME}g_idx": stored[f"{NAME}g_idx"].flip(0)}
    plain = checkpoint(tmp_path / "a", stored)
    turned = checkpoint(tmp_path / "b", stored | order)
    without = checkpoint(tmp_path / "c", {name: tensor for name, tensor in stored.items() if name not in order})
    second = checkpoint(tmp_path / "d", stored, {"quant_method": "gptq", "checkpoint_format": "gptq_v2"})
    assert agree(plain, plain, weight)
    assert not any(agree(plain, other, weight) for other in (turned, without, second))
    assert not plain.layout(weight).is_stored_as(second.layout(weight))


def test_groups_that_are_not_there_are_told_with_model_and_tensor(tmp_path):
    order = {f"{NAME}g_idx": torch.full((128,), 9, dtype=torch.int32)}
    model = checkpoint(tmp_path / "a", packed_of(0)["gptq"] | order)
    with pytest.raises(AoeError, match=r"a: .*qweight, GPTQ, cannot be decoded \(g_idx names groups"):
        decode(model, model.layout(f"{NAME}qweight"), 0, 64)


def test_one_scale_for_a_tensor_has_any_name(tmp_path):
    codes = torch.ones(256, 384).to(torch.float8_e4m3fn)
    config = FP8 | {"weight_block_size": None, "activation_scheme": "static"}
    model = checkpoint(tmp_path / "a", {PACKED: codes, f"{PACKED}_scale_inv": torch.tensor(0.5).bfloat16()}, config)
    assert model.layout(PACKED).block == (256, 384)
    assert contradictions(model) == []


def test_a_quantization_config_inside_a_text_config_counts(tmp_path):
    codes = {PACKED: torch.ones(128, 128).to(torch.float8_e4m3fn), f"{PACKED}_scale_inv": torch.ones(1, 1)}
    inside = {"text_config": CONFIG | {"quantization_config": FP8}}
    model = checkpoint(tmp_path / "a", codes, **inside)
    assert contradictions(model) == []
    assert true_config(model, model.config) == model.config
    plain = checkpoint(tmp_path / "b", {PACKED: torch.ones(128, 128).bfloat16()}, **inside)
    assert "plain weights only" in contradictions(plain)[0]
    assert true_config(plain, plain.config)["text_config"] == CONFIG
    assert "quantization_config" not in str(true_config(plain, model.config))


@pytest.mark.parametrize("odd", [None, [], {}, "x", 1.5, [1, "a"], [{}], {"a": None}, [None]])
def test_what_a_config_says_in_another_form_counts_as_not_said(tmp_path, odd):
    codes = {PACKED: torch.ones(128, 128).to(torch.float8_e4m3fn), f"{PACKED}_scale_inv": torch.ones(1, 1)}
    for number, key in enumerate(("config_groups", "modules_to_not_convert", "weight_block_size", "fmt", "scale_fmt")):
        check_stored([checkpoint(tmp_path / str(number), codes, FP8 | {key: odd})])
    for key in ("eos_token_id", "rope_scaling", "rope_parameters", "vocab_size", "text_config"):
        differences(CONFIG | {key: odd}, CONFIG | {key: [2, 1]})
    folders = {name: checkpoint(tmp_path / name, codes).directory for name in "ab"}
    tokens = {"model": {"vocab": {"a": 0, "b": odd}, "merges": odd}, "added_tokens": odd}
    contents = {
        "tokenizer.json": tokens,
        "tokenizer_config.json": {"bos_token": odd, "chat_template": odd, "added_tokens_decoder": odd},
        "generation_config.json": {"eos_token_id": odd},
    }
    union = {"who": "The variant x", "models": ["a", "b"], "mixed": True}
    said = {"config_from": "a", "config": [], "tokenizer_from": None}
    for file, content in contents.items():
        (folders["a"] / file).write_text(json.dumps(content), encoding="utf-8")
        assert all(sentence.startswith("The variant x: ") for sentence in check([union | said], folders))
    assert all(isinstance(text, str) for text in chat_templates(folders["a"]).values())


def test_half_a_character_is_refused_before_it_would_have_to_be_written(tmp_path):
    with pytest.raises(AoeError, match=r"config\.json is not valid JSON .*surrogates"):
        checkpoint(tmp_path / "a", {PACKED: torch.ones(2, 2)}, label="\ud800").config  # noqa: B018
