"""Storage formats are found by names, dtypes and shapes; values are those of the libraries that own the formats."""

import json
from dataclasses import replace

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import Scales
from aoe.checkpoints.stated import contradictions
from aoe.checkpoints.storage import storages
from aoe.merging.forms import check_formats
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import Recipe
from aoe.numerics.decoded import decode
from aoe.numerics.kernels import Arithmetic, Rounding
from aoe.numerics.packed_weights import ARITHMETIC
from support.checkpoints import CONFIG
from support.layouts import packed_of

WEIGHT = "model.layers.0.mlp.up_proj.weight"
E4M3, E8M0 = torch.float8_e4m3fn, torch.float8_e8m0fnu


def checkpoint(folder, tensors, name="a", **quantization):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors")
    config = CONFIG | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder, name)


def values(model, weight):
    layout = model.layout(weight)
    return torch.from_numpy(decode(model, layout, 0, layout.shape[0]))


def test_every_format_has_its_arithmetic():
    names = {storage.name for storage in storages()}
    assert names == {"fp8", "gptq", "int4", "mxfp4", "nvfp4"}
    assert names | {"awq"} == ARITHMETIC.keys() | {"fp8"}
    assert all(ARITHMETIC[name].encode is None for name in ("awq", "gptq"))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.02


def compressed(strategy, seed=0, bits=8, kind="float", group=None, format="float-quantized"):
    """A weight (96, 128) as compressed-tensors stores it, and as it is decoded by it."""
    block = [32, 64] if strategy == "block" else None
    args = QuantizationArgs(
        num_bits=bits, type=kind, strategy=strategy, symmetric=True, group_size=group, block_structure=block
    )
    scheme, value = QuantizationScheme(targets=["Linear"], weights=args), randn(96, 128, seed=seed)
    if strategy == "block":
        parts = value.reshape(3, 32, 2, 64)
        low, high = parts.amin((1, 3)), parts.amax((1, 3))
    elif strategy == "tensor":
        low, high = value.amin().reshape(1), value.amax().reshape(1)
    else:
        parts = value.reshape(96, -1, group or 128)
        low, high = parts.amin(2), parts.amax(2)
    scale, _ = calculate_qparams(low, high, args)
    compressor = BaseCompressor.get_value_from_registry(format)
    stored = compressor.compress({"weight": value, "weight_scale": scale}, scheme)
    decoded = compressor.decompress(dict(stored), scheme)["weight"]
    return {f"{WEIGHT.removesuffix('weight')}{key}": part for key, part in stored.items()}, value, decoded


@pytest.mark.parametrize("strategy", ["tensor", "channel", "block"])
def test_fp8_as_compressed_tensors_stores_it(tmp_path, strategy):
    """Decoded as it is by its library, and encoded with the same bytes."""
    stated = {"weights": {"strategy": strategy, "num_bits": 8, "type": "float", "block_structure": [32, 64]}}
    config = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": stated}}
    parents, originals = {}, {}
    for seed, name in enumerate("ab"):
        stored, originals[name], decoded = compressed(strategy, seed)
        parents[name] = checkpoint(tmp_path / name, stored, name, **config)
        assert parents[name].weights == [WEIGHT]
        assert parents[name].layout(WEIGHT).strategy == strategy
        assert values(parents[name], WEIGHT).equal(decoded.float())
        assert contradictions(parents[name]) == []
    plain = checkpoint(tmp_path / "c", {WEIGHT: originals["b"]}, "c")
    # taken whole from a model of float32 numbers, a weight is what the library stores
    merge = Merge(make_plan(Recipe("a", {"c": 1}), parents | {"c": plain}), parents | {"c": plain}, "cpu")
    ((_, members),) = merge.tensors([WEIGHT])
    for name, tensor in members.items():
        wanted = parents["b"].tensor(name)
        assert tensor.dtype == wanted.dtype
        assert tensor.view(torch.uint8).equal(wanted.view(torch.uint8))


def test_int4_as_compressed_tensors_packs_it(tmp_path):
    stored, _, decoded = compressed("group", bits=4, kind="int", group=32, format="pack-quantized")
    model = checkpoint(tmp_path, stored)
    assert model.weights == [f"{WEIGHT}_packed"]
    assert values(model, f"{WEIGHT}_packed").equal(decoded.float())
    assert model.layout(f"{WEIGHT}_packed").title == "packed INT4 in groups of 32 (scales F32)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.uint8])
@pytest.mark.parametrize("shape", [(256, 384), (4, 256, 128)])
def test_blocks_are_dequantized_as_transformers_does(tmp_path, dtype, shape):
    """Qwen3's FP8 with scales in BF16 and F16, MXFP8, and experts in one tensor."""
    codes, grid = (randn(*shape) * 5000).to(E4M3), (*shape[:-2], shape[-2] // 128, shape[-1] // 128)
    scale = (torch.rand(grid) * 1e-2 + 1e-3).to(dtype)
    end = "_scale_inv"
    if dtype == torch.uint8:
        scale, end = torch.randint(90, 130, (*shape[:-1], shape[-1] // 32)).byte(), "_scale"
    model = checkpoint(tmp_path, {WEIGHT: codes, WEIGHT + end: scale})
    theirs = Fp8Dequantize(None)._dequantize_one(codes, scale, torch.float32)
    assert values(model, WEIGHT).equal(theirs.reshape(-1, shape[-1]))


@pytest.mark.parametrize("dtype", [E8M0, torch.uint8])
def test_e8m0_scales_are_torchs(tmp_path, dtype):
    codes, numbers = (randn(64, 128) * 5000).to(E4M3), torch.randint(60, 190, (64, 4)).to(torch.uint8)
    end = ".scale" if dtype == E8M0 else ".weight_scale"
    tensors = {WEIGHT: codes, WEIGHT.removesuffix(".weight") + end: numbers.view(dtype)}
    model = checkpoint(tmp_path, tensors)
    assert model.layout(WEIGHT).block == (1, 32)
    assert model.layout(WEIGHT).scales == Scales.POWERS
    wanted = codes.float() * numbers.view(E8M0).float().repeat_interleave(32, 1)
    assert values(model, WEIGHT).equal(wanted)


def modelopt(folder, name, seed):
    """ModelOpt's FP8: a scale a tensor, and a static scale of activations."""
    value = randn(64, 96, seed=seed)
    scale = value.abs().max() / 448
    base = WEIGHT.removesuffix("weight")
    tensors = {WEIGHT: (value / scale).to(E4M3), f"{base}weight_scale": scale}
    tensors[f"{base}input_scale"] = torch.tensor(0.1 + seed)
    return checkpoint(folder, tensors, name, quant_method="modelopt", quant_algo="FP8"), value


def test_static_scales_of_activations_stay_the_bases(tmp_path):
    parents = {name: modelopt(tmp_path / name, name, seed)[0] for seed, name in enumerate("ab")}
    assert parents["a"].weights == [WEIGHT]
    plan = make_plan(Recipe("a", {"a": 0.5, "b": 0.5}), parents)
    assert plan.describe()[-1] == "1 combined weights keep the activation scales of a"
    ((_, members),) = Merge(plan, parents, "cpu").tensors([WEIGHT])
    assert {name: tuple(tensor.shape) for name, tensor in members.items()} == {
        WEIGHT: (64, 96),
        WEIGHT + "_scale": (),
        WEIGHT.removesuffix("weight") + "input_scale": (),
    }
    assert members[WEIGHT.removesuffix("weight") + "input_scale"].item() == pytest.approx(0.1)
    whole = make_plan(Recipe("a", {"b": 1}), parents)
    ((_, members),) = Merge(whole, parents, "cpu").tensors([WEIGHT])
    assert members[WEIGHT.removesuffix("weight") + "input_scale"].item() == pytest.approx(1.1)


def test_experts_in_one_tensor(tmp_path):
    codes = (randn(4, 256, 128) * 5000).to(E4M3)
    name = "model.layers.1.mlp.experts.gate_up_proj"
    for shape in ((4, 2, 1), (4, 256, 1), (4, 1, 1)):
        scale, end = torch.rand(*shape) + 0.1, "_scale_inv" if shape[1] == 2 else "_scale"
        model = checkpoint(tmp_path / end / str(shape[1]), {name: codes, name + end: scale})
        spread = scale.repeat_interleave(256 // shape[1], 1).expand(4, 256, 128)
        assert values(model, name).equal((codes.float() * spread).reshape(1024, 128))


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({WEIGHT: torch.zeros(4, 4).to(E4M3)}, f"the FP8 tensor {WEIGHT} has no {WEIGHT}_scale_inv"),
        (
            {WEIGHT: torch.zeros(4, 4).to(E4M3), f"{WEIGHT}_scale": torch.ones(3)},
            r"the scale .*_scale is F32 \[3\], but its weight of shape \[4, 4\] in blocks .* needs F32 \[1, 1\]",
        ),
    ],
)
def test_members_that_do_not_fit_are_named(tmp_path, tensors, sentence):
    with pytest.raises(AoeError, match=sentence):
        checkpoint(tmp_path, tensors).check_scales()


def test_packed_weights_of_an_unknown_form_are_copied(tmp_path):
    tensors = {f"{WEIGHT}_packed": torch.ones(4, 4).int(), f"{WEIGHT}_scale": torch.ones(3, 1)}
    other = {name: tensor * 2 for name, tensor in tensors.items()}
    parents = {"a": checkpoint(tmp_path / "a", tensors), "b": checkpoint(tmp_path / "b", other, "b")}
    ((_, members),) = Merge(make_plan(Recipe("a", {"b": 1}), parents), parents, "cpu").tensors([f"{WEIGHT}_packed"])
    assert all(members[name].equal(other[name]) for name in other)
    mixed = Recipe("a", {"a": 0.5, "b": 0.5})
    sentence = r"packed INT4 of unknown form \(codes I32 \[4, 4\], scale F32 \[3, 1\]\), which cannot be combined"
    with pytest.raises(AoeError, match=sentence):
        make_plan(mixed, parents)
    with pytest.raises(AoeError, match=r"The variant x combines .*_packed, which a stores as packed INT4 of unknown"):
        check_formats("The variant x", mixed, parents)


def test_zero_points_of_two_kinds_are_not_copied_into_each_other(tmp_path):
    """GPTQ stores zero points less 1, and its second format does not: in the same tensors."""
    parents = {
        name: checkpoint(tmp_path / name, packed_of(seed)["gptq"], name, quant_method="gptq", checkpoint_format=stated)
        for seed, (name, stated) in enumerate({"a": "gptq", "b": "gptq_v2", "c": "gptq_v2"}.items())
    }
    sentence = r"qweight is GPTQ in a, but GPTQ \(checkpoint_format gptq_v2\) in b; GPTQ cannot be converted"
    with pytest.raises(AoeError, match=sentence):
        make_plan(Recipe("a", {"b": 1}), parents)
    assert make_plan(Recipe("b", {"c": 1}), parents).describe() == ["4 tensors = 1 c"]


def test_what_a_format_cannot_hold_is_told_from_headers(tmp_path):
    rows = {WEIGHT: torch.zeros(64, 32).to(E4M3), f"{WEIGHT}_scale": torch.ones(64, 1)}
    parents = {name: checkpoint(tmp_path / name, rows, name) for name in "ab"}
    half = Recipe("a", {"a": 0.5, "b": 0.5})
    check_formats("x", half, parents)
    for change, sentence in (
        ({"rounding": Rounding.STOCHASTIC}, r"FP8 e4m3 with a scale a row .*, which is rounded to nearest only"),
        ({"arithmetic": Arithmetic.STORED}, r"`arithmetic: stored` sums codes and scales of FP8 in blocks of 128x128"),
    ):
        with pytest.raises(AoeError, match=sentence):
            check_formats("x", replace(half, **change), parents)
        with pytest.raises(AoeError, match=sentence):
            make_plan(replace(half, **change), parents)


@pytest.mark.parametrize("kind", packed_of(0))
def test_packed_weights_are_one_weight_each(tmp_path, kind):
    parents = {name: checkpoint(tmp_path / name, packed_of(seed)[kind], name) for seed, name in enumerate("ab")}
    (weight,) = parents["a"].weights
    layout = parents["a"].layout(weight)
    assert layout.shape == (64, 128)
    assert layout.storage == kind.split()[0]
    # copies need no values
    ((_, members),) = Merge(make_plan(Recipe("a", {"b": 1}), parents), parents, "cpu").tensors([weight])
    assert members.keys() == parents["b"].files.keys()
    assert all(tensor.equal(parents["b"].tensor(name)) for name, tensor in members.items() if tensor.dtype != E4M3)
    mixed = Recipe("a", {"a": 0.5, "b": 0.5})
    if not layout.combines:
        with pytest.raises(AoeError, match=f"{weight} is stored as {kind.upper()}, which cannot be combined, and diff"):
            make_plan(mixed, parents)
        return
    merge = Merge(make_plan(mixed, parents), parents, "cpu")
    ((_, members),) = merge.tensors([weight])
    written = checkpoint(tmp_path / "written", members, "written")
    wanted = values(parents["a"], weight) * 0.5 + values(parents["b"], weight) * 0.5
    step = wanted.abs().reshape(64, -1, layout.block[1]).amax(2).repeat_interleave(layout.block[1], 1)
    # of 4 bits, steps are at most a third of the largest magnitude, and scales are rounded, too
    assert ((values(written, weight) - wanted).abs() <= step / 3).all()
