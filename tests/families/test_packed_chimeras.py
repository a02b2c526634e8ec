"""Models whose routed experts are packed, as Kimi-K2-Thinking's and gpt-oss': two parents, from the lock to the audit.

References are the libraries that own the formats: compressed-tensors for INT4, transformers' dequantization for MXFP4.
"""

import json
import re
import shutil

import pytest
import torch
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
)
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file
from transformers import GptOssForCausalLM, Mxfp4Config
from aoe import AoeError
from aoe.acquiring.fetching import lock_source
from aoe.acquiring.sources import open_source
from aoe.acquiring.verification import verify
from aoe.audit import VERIFIED
from aoe.audit.verdict import deviation, overall
from aoe.checkpoints.checkpoint import INDEX, OUTLINE, Checkpoint
from aoe.checkpoints.stated import contradictions
from aoe.merging.difference import shard_differences
from aoe.merging.forms import check_formats
from aoe.merging.merge import Merge
from aoe.merging.publishing import model_card
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.serving.rank import Rank, share_of
from support.families import write_parents
from support.layouts import packed_of
from support.layouts import write as write_one
from support.packed import Int4, Mxfp4
from support.published import Audited, plan_of
from support.served import write

HIDDEN, WIDTH, EXPERTS = 64, 96, 4
KIMI = {"model_type": "kimi_k2", "num_hidden_layers": 2, "first_k_dense_replace": 1, "n_routed_experts": EXPERTS}
OF_KIMI = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
NOT_QUANTIZED = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]
MIXED = {"base": "a", "weights": {"a": 0.6, "b": 0.4}}


def kimi_weights(seed):
    """{name where nothing is packed: float32} of a Kimi-K2-Thinking of two layers, one of them dense."""
    draw, shapes = torch.Generator().manual_seed(seed), {"model.embed_tokens.weight": (32, HIDDEN)}
    gated = {"gate_proj": (WIDTH, HIDDEN), "up_proj": (WIDTH, HIDDEN), "down_proj": (HIDDEN, WIDTH)}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{name}.weight": (HIDDEN, HIDDEN) for name in ("q_a_proj", "o_proj")}
        shapes[f"{prefix}.input_layernorm.weight"] = (HIDDEN,)
        inside = [f"experts.{number}" for number in range(EXPERTS)] + ["shared_experts"] if layer else [""]
        for part in filter(None, inside) if layer else ["mlp"]:
            where = f"{prefix}.mlp.{part}" if layer else f"{prefix}.mlp"
            shapes |= {f"{where}.{name}.weight": shape for name, shape in gated.items()}
    shapes["model.layers.1.mlp.gate.weight"] = (EXPERTS, HIDDEN)
    shapes["model.layers.1.mlp.gate.e_score_correction_bias"] = (EXPERTS,)
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (32, HIDDEN)}
    return {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in shapes.items()}


def is_packed(name):
    return ".experts." in name


def kimi(folder, seed):
    """A parent in two shards, whose experts the library quantizes and packs by its own rule."""
    args = QuantizationArgs(**OF_KIMI)
    scheme, tensors = QuantizationScheme(targets=["Linear"], weights=args), {}
    for name, value in kimi_weights(seed).items():
        if not is_packed(name):
            tensors[name] = value if name.endswith("bias") else value.bfloat16()
            continue
        groups = value.unflatten(-1, (-1, 32))
        scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        stored = PackedQuantizationCompressor.compress({"weight": value, "weight_scale": scale.bfloat16()}, scheme)
        tensors |= {f"{name.removesuffix('weight')}{key}": part for key, part in stored.items()}
    config = QuantizationConfig(
        config_groups={"group_0": scheme},
        format=CompressionFormat.pack_quantized.value,
        ignore=NOT_QUANTIZED,
        quantization_status=QuantizationStatus.COMPRESSED,
    )
    folder.mkdir()
    names = [*tensors]
    shards = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}  # scales apart
    for file, inside in shards.items():
        save_file({tensor: tensors[tensor].contiguous() for tensor in inside}, folder / file)
    files = {tensor: file for file, inside in shards.items() for tensor in inside}
    (folder / INDEX).write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    content = KIMI | {"quantization_config": config.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def gpt_oss(folder):
    """Two parents of the tiny model that transformers writes, whose experts are MXFP4 as in the published ones."""
    folders, _ = write_parents("gpt_oss", folder / "plain", {"hidden_size": 64, "intermediate_size": 32})
    found = {}
    for name, plain in zip("ab", folders.values(), strict=True):
        found[name], kind = folder / name, Mxfp4(("_blocks", "_scales"), blocks=True)
        shutil.copytree(plain, found[name], ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
        tensors = {}
        for file in plain.glob("*.safetensors"):
            for tensor, value in load_file(file).items():
                packed = tensor.endswith(("gate_up_proj", "down_proj"))
                parts = kind.encode(value.float().transpose(1, 2)) if packed else {"": value}
                tensors |= {tensor + end: part.contiguous() for end, part in parts.items()}
        save_file(tensors, found[name] / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((found[name] / "config.json").read_text(encoding="utf-8"))
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
        (found[name] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return found


@pytest.fixture(scope="module", params=["kimi_k2", "gpt_oss"])
def chimera(request, tmp_path_factory):
    """(kind of the packed weights, parents, the recipe, its Merge, the model on the disk)."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "kimi_k2":
        folders, kind = {name: kimi(folder / name, seed) for seed, name in enumerate("ab")}, Int4()
        others = [{"subset": {"experts": [0]}, "weights": {"b": 1}}]
    else:
        folders, kind = gpt_oss(folder), Mxfp4(("_blocks", "_scales"), blocks=True)
        others = [{"subset": {"groups": ["routed_experts"], "layers": [0]}, "weights": {"b": 1}}]
    parents = {name: Checkpoint(path, name) for name, path in folders.items()}
    recipe = MIXED | {"overrides": others}
    merge = Merge(plan_of(recipe, parents), parents, "cpu", threads=2)
    return kind, parents, recipe, merge, Checkpoint(write(merge, folder / "chimera"), "chimera")


def parts_of(model, weight, kind):
    """{end: tensor} of a packed weight, as a kind knows it."""
    ends = list(kind.ends)
    return {end: model.tensor(weight.removesuffix(ends[0]) + end) for end in ends}


def packed_in(model, kind):
    return [weight for weight in model.weights if weight.endswith(kind.ends[0])]


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_parents_are_locked_verified_and_free_of_contradictions(chimera):
    _, parents, *_ = chimera
    for name, parent in parents.items():
        entry = lock_source(name, "models", open_source(f"file:{parent.directory}"))
        held = {group for file in entry.shards for group in entry.files[file]["holds"]}
        assert "routed_experts" in held and not held & {"other", "unknown"}
        verify(name, parent.directory, {file: entry.files[file] for file in entry.needed})
        assert contradictions(parent) == []


def test_differences_are_those_of_the_libraries_values(chimera):
    kind, parents, *_ = chimera
    base, other = parents.values()
    rows = {row["tensor"]: row for f in base.shard_names for row in shard_differences(base, other, f, device="cpu")}
    assert rows.keys() == set(base.weights)
    weights = packed_in(base, kind)
    assert len(weights) >= 4
    for weight in weights:
        ours, theirs = (kind.decode(parts_of(parent, weight, kind)).double() for parent in (base, other))
        assert rows[weight]["frobenius"] == pytest.approx((ours - theirs).norm().item(), rel=1e-6)
        assert rows[weight]["elements"] == ours.numel()


def test_the_chimera_has_the_libraries_bytes(chimera):
    kind, parents, _, merge, model = chimera
    copied = 0
    for weight in model.weights:
        if not weight.endswith(kind.ends[0]):
            total = sum(share * p.tensor(weight).float() for share, p in zip((0.6, 0.4), parents.values(), strict=True))
            total = parents["b"].tensor(weight) if merge.plan.source(weight) else total
            assert model.tensor(weight).equal(total.to(model.tensor(weight).dtype))
            continue
        values = [kind.decode(parts_of(parent, weight, kind)) for parent in parents.values()]
        wanted = kind.encode(values[0] * 0.6 + values[1] * 0.4)
        if merge.plan.source(weight):
            wanted, copied = parts_of(parents["b"], weight, kind), copied + 1
        for end, part in parts_of(model, weight, kind).items():
            assert part.dtype == wanted[end].dtype
            assert bits(part).equal(bits(wanted[end])), weight + end
    assert 0 < copied < len(packed_in(model, kind))


def test_what_vllm_is_handed_is_what_is_written(chimera):
    from aoe.serving.vllm_loader import given

    kind, _, _, merge, model = chimera
    rank = Rank(0, 1, None, {}, ())
    handed = {name: one for _, some in given(share_of(rank, merge), rank, merge, False) for name, one in some.items()}
    assert handed.keys() == model.files.keys()
    assert all(bits(one).equal(bits(model.tensor(name))) for name, one in handed.items())
    plain = {name: one for _, some in given(share_of(rank, merge), rank, merge, True) for name, one in some.items()}
    for weight in packed_in(model, kind):
        values, stacked = kind.decode(parts_of(model, weight, kind)), kind.ends[0] == "_blocks"
        name = weight.removesuffix(kind.ends[0])
        # gpt-oss' experts are stored the other way round where they are plain
        assert plain[name].equal(values.transpose(1, 2) if stacked else values)
    assert not any(name.endswith(kind.ends) for name in plain)


def test_the_audit_finds_the_recipe_and_a_flipped_bit(chimera, tmp_path):
    kind, parents, recipe, merge, model = chimera
    for claim in (recipe, None):
        audited = Audited(model, parents, claim)
        assert overall(row["status"] for row in audited.list) == VERIFIED
    assert audited.recovered.entry["weights"] == recipe["weights"]
    plans = [plan_of(entry, parents) for entry in (recipe, audited.recovered.entry)]
    assert all(plans[0].weights(tensor) == plans[1].weights(tensor) for tensor in plans[0].tensors)
    for weight in packed_in(model, kind)[:1] + packed_in(model, kind)[-1:]:
        shutil.copytree(model.directory, tmp_path / weight)
        stored, file = model.stored(weight), tmp_path / weight / model.files[weight]
        content = bytearray(file.read_bytes())
        content[stored.begin + stored.size // 2] ^= 4
        file.write_bytes(content)
        for claim in (recipe, None):
            audited = Audited(Checkpoint(tmp_path / weight, "flipped"), parents, claim)
            assert audited.deviating == [weight]
            if claim or merge.plan.source(weight):
                assert re.search("differs in 1 of .* by [0-9.]+ steps at most", deviation(audited.rows[weight]))


def test_transformers_loads_the_gpt_oss_chimera(chimera):
    kind, _, _, _, model = chimera
    if kind.ends[0] != "_blocks":
        pytest.skip("transformers decompresses INT4 with a package that is not pinned")
    settings = {"quantization_config": Mxfp4Config(dequantize=True), "dtype": torch.bfloat16}
    loaded, info = GptOssForCausalLM.from_pretrained(model.directory, output_loading_info=True, **settings)
    assert not any(info.values()), info
    state = loaded.state_dict()
    for weight in packed_in(model, kind):
        values = kind.decode(parts_of(model, weight, kind)).transpose(1, 2)
        assert state[weight.removesuffix("_blocks")].equal(values.bfloat16())


@pytest.mark.parametrize("kind", ["awq", "gptq"])
def test_formats_that_are_not_combined_are_named_before_anything_is_fetched(tmp_path, kind):
    """Their headers are there; copies are merged, loaded and audited."""
    parents = {name: write_one(tmp_path / name, packed_of(seed)[kind], name) for seed, name in enumerate("ab")}
    outlines = {}
    for name, parent in parents.items():
        (tmp_path / f"headers of {name}" / OUTLINE).mkdir(parents=True)
        shutil.copy(parent.directory / "config.json", tmp_path / f"headers of {name}")
        header = parent.shard("model.safetensors").header
        (tmp_path / f"headers of {name}" / OUTLINE / "model.safetensors").write_bytes(header)
        outlines[name] = Checkpoint(tmp_path / f"headers of {name}", name)
    (weight,) = parents["a"].weights
    with pytest.raises(AoeError, match=rf"^The variant x combines {weight}, which a stores as {kind.upper()}; such we"):
        check_formats("The variant x", read_recipe("x", MIXED, parents), outlines)
    whole = {"base": "a", "weights": {"b": 1}}
    check_formats("The variant x", read_recipe("x", whole, parents), outlines)
    merge = Merge(plan_of(whole, parents), parents, "cpu")
    write_shard(merge, "model.safetensors", tmp_path / "model.safetensors")
    theirs = (parents["b"].directory / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == theirs
    assert {row["status"] for row in Audited(parents["b"], parents, whole).list} == {VERIFIED}


def test_the_plan_and_the_card_name_formats_that_are_converted(tmp_path):
    """A parent packed in groups of 64 becomes what the base is."""
    value = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    expert, parents = "model.layers.1.mlp.experts.0.up_proj.weight", {}
    for name, kind in (("a", Int4()), ("b", Int4(64, torch.float16))):
        tensors = {expert + end: part for end, part in kind.encode(value + ord(name)).items()}
        parents[name] = write_one(tmp_path / name, tensors, name, kind.config)
    plan = plan_of({"base": "a", "weights": {"b": 1}}, parents)
    facts = {name: {"revision": "x", "files": {}} for name in parents}
    recipe = {"base": "a", "weights": {"b": 1}}
    card = model_card({"tool": "t", "variant": "x", "recipe": recipe, "parents": facts, "plan": plan.describe()})
    formats = "packed INT4 in groups of 64 (scales F16) to packed INT4 in groups of 32 (scales BF16)"
    assert plan.describe() == ["3 tensors = 1 b", f"1 weight of b is converted: {formats}"]
    assert f"* 1 weight of b is converted: {formats}\n" in card
