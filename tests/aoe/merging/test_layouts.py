"""Parents in every layout, and in two at once: what is merged is what plain torch makes of their values."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.stated import contradictions
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan, make_plan
from aoe.merging.publishing import model_card
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from support.checkpoints import weights
from support.layouts import KINDS, Plain, is_projection, model, write

MIXTURE = {"a": 0.3, "b": 0.7}
PAIRS = [(kind, kind) for kind in KINDS]
PAIRS += [(one, other) for one, other in itertools.permutations(("f32", "powers", "bf16", "rows", "plain bf16"), 2)]
SHARD = "model.safetensors"


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and bits(one).equal(bits(other))


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def expected(kind, values):
    """{name: tensor} of the mixture of two parents' values in a layout."""
    found = {}
    for weight in values["a"]:
        total = values["a"][weight] * 0.3 + values["b"][weight] * 0.7
        if is_projection(weight):
            found |= {KINDS[kind].name(weight, end): part for end, part in KINDS[kind].encode(total).items()}
        else:
            found[weight] = total if weight.endswith("bias") else total.bfloat16()
    return found


def parents_of(tmp_path, kinds):
    made = {name: model(tmp_path / name, kind, seed, name) for seed, (name, kind) in enumerate(kinds.items())}
    return {name: one for name, (one, _) in made.items()}, {name: values for name, (_, values) in made.items()}


def merge_of(parents, **entry):
    recipe = read_recipe("x", {"base": "a", "weights": MIXTURE} | entry, parents)
    return Merge(make_plan(recipe, parents), parents, "cpu", threads=2)


@pytest.mark.parametrize("kinds", PAIRS, ids=" x ".join)
def test_a_mixture_is_that_of_the_values_written_and_served(tmp_path, kinds):
    parents, values = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    merge, wanted = merge_of(parents), expected(kinds[0], values)
    write_shard(merge, SHARD, tmp_path / SHARD)
    written = load_file(tmp_path / SHARD)
    assert written.keys() == wanted.keys()
    assert [name for name in wanted if not same(written[name], wanted[name])] == []
    served = {name: one for _, members in merge.tensors(parents["a"].weights) for name, one in members.items()}
    assert [name for name in wanted if not same(served[name], wanted[name])] == []
    for weight, value in merge.values(parents["a"].weights):
        if is_projection(weight) and not isinstance(KINDS[kinds[0]], Plain):
            ends = {end: wanted[KINDS[kinds[0]].name(weight, end)] for end in ("", KINDS[kinds[0]].end)}
            assert value.equal(KINDS[kinds[0]].decode(ends)), weight


@pytest.mark.parametrize("kinds", PAIRS, ids=" x ".join)
def test_what_is_taken_whole_is_copied_or_converted(tmp_path, kinds):
    parents, values = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    merge = merge_of(parents, weights={"b": 1})
    write_shard(merge, SHARD, tmp_path / SHARD)
    written, theirs, converted = load_file(tmp_path / SHARD), load_file(parents["b"].directory / SHARD), 0
    for weight in filter(is_projection, values["b"]):
        copied = merge.source(weight) is parents["b"]
        assert copied == (kinds[0] == kinds[1] or kinds == ("f32", "powers"))
        for end, part in KINDS[kinds[0]].encode(values["b"][weight]).items():
            name = KINDS[kinds[0]].name(weight, end)
            assert same(written[name], theirs[name] if copied else part), name
        converted += not copied
    said = [line for line in merge.plan.describe() if "converted" in line]
    assert [line.split()[0] for line in said] == ([str(converted)] if converted else [])
    merge.plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == merge.plan
    recipe = {"base": "a", "weights": {"b": 1}}
    facts = {name: {"revision": "x", "files": {}} for name in parents}
    card = model_card({"tool": "t", "variant": "x", "recipe": recipe, "parents": facts, "plan": merge.plan.describe()})
    assert ("are converted" in card) == ("its bytes are no parent's" in card) == bool(converted)


@pytest.mark.parametrize("kinds", PAIRS, ids=" x ".join)
def test_differences_are_those_of_the_values(tmp_path, kinds):
    parents, values = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    rows = {row["tensor"]: row for row in shard_differences(parents["a"], parents["b"], SHARD, device="cpu")}
    assert rows.keys() == values["a"].keys()
    for weight, row in rows.items():
        change = (values["a"][weight].double() - values["b"][weight].double()).norm().item()
        assert row["frobenius"] == pytest.approx(change, rel=1e-5)
        assert row["norm"] == pytest.approx(values["a"][weight].double().norm().item(), rel=1e-5)
        if kinds[0] == kinds[1] and is_projection(weight) and not isinstance(KINDS[kinds[0]], Plain):
            codes = [parent.tensor(weight).double() for parent in parents.values()]
            assert row["codes"] == pytest.approx((codes[0] - codes[1]).square().mean().sqrt().item(), rel=1e-5)


def test_powers_of_two_in_every_scale(tmp_path):
    parents, _ = parents_of(tmp_path, {"a": "powers", "b": "f32"})
    for entry in ({}, {"weights": {"b": 1}}):
        merge = merge_of(parents, **entry)
        scales = [scale for _, _, scale in merge.outputs(parents["a"].weights) if scale is not None]
        assert len(scales) == 6
        assert all(torch.frexp(scale).mantissa.eq(0.5).all() for scale in scales)
        config = merge.plan.beside.get("config", parents["a"].config)
        assert config["quantization_config"]["scale_fmt"] == "ue8m0"


PUBLISHED = {
    "V3.1 x R1": ("powers", "f32"),
    "R1 x V3.1": ("f32", "powers"),
    "Qwen3-32B x its like": ("bf16", "bf16"),
    "Qwen3-4B-2507 x its like": ("f16", "f16"),
    "Qwen3 x R1": ("bf16", "f32"),
}


@pytest.mark.parametrize("kinds", PUBLISHED.values(), ids=PUBLISHED)
def test_published_layouts_stay_what_their_configs_state_and_transformers_reads(tmp_path, kinds):
    """Every scale is a power of two where the base's config says so; values are those that transformers dequantizes."""
    names, parents = ["model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.experts.0.up_proj.weight"], {}
    for seed, (name, kind) in enumerate(zip("ab", kinds, strict=True)):
        torch.manual_seed(seed)
        parts = {weight: KINDS[kind].encode(torch.randn(256, 384) * 0.02) for weight in names}
        tensors = {weight + end: part for weight, some in parts.items() for end, part in some.items()}
        parents[name] = write(tmp_path / name, tensors, name, KINDS[kind].config)
        assert contradictions(parents[name]) == []
    whole = [{"subset": {"groups": ["attention"]}, "weights": {"b": 1}}]
    merge = merge_of(parents, overrides=whole)
    write_shard(merge, SHARD, tmp_path / SHARD)
    written, values = load_file(tmp_path / SHARD), dict(merge.values(names))
    for weight in names:
        scale = written[f"{weight}_scale_inv"]
        assert scale.dtype == KINDS[kinds[0]].stored
        copied = merge.source(weight) is not None
        assert torch.frexp(scale.float()).mantissa.eq(0.5).all() == (
            kinds[0] == "powers" or (copied and "powers" in kinds)
        )
        assert values[weight].equal(Fp8Dequantize(None)._dequantize_one(written[weight], scale, torch.float32))
    config = merge.plan.beside.get("config", parents["a"].config)
    assert config["quantization_config"] == parents["a"].config["quantization_config"]
    published = write(tmp_path / "published", written, "published", config["quantization_config"])
    assert contradictions(published) == []


def test_a_model_whose_config_is_not_true_of_all_its_scales(tmp_path):
    """DeepSeek-V3.1: `ue8m0` is stated, and the scales of o_proj are no powers of two."""
    folders = {name: model(tmp_path / "sound" / name, "powers", seed, name)[0] for seed, name in enumerate("ab")}
    parents = {}
    for seed, (name, sound) in enumerate(folders.items()):
        tensors = {tensor: sound.tensor(tensor) for tensor in sound.files}
        for weight, value in weights(seed).items():
            if "o_proj" in weight:
                tensors |= {weight + end: part for end, part in KINDS["f32"].encode(value).items()}
        parents[name] = write(tmp_path / name, tensors, name, KINDS["powers"].config)
        (told,) = contradictions(parents[name])
        assert "but those of o_proj are none, such as model.layers.0.self_attn.o_proj.weight's; copies keep" in told
    scales = {weight: scale for weight, _, scale in merge_of(parents).outputs(parents["a"].weights)}
    assert all(torch.frexp(scale).mantissa.eq(0.5).all() for scale in scales.values() if scale is not None)
    weight = "model.layers.0.self_attn.o_proj.weight"
    copied = {weight: scale for weight, _, scale in merge_of(parents, weights={"b": 1}).outputs([weight])}
    assert copied[weight].equal(parents["b"].tensor(f"{weight}_scale_inv"))


BY_CHANCE = [("bf16", "bf16"), ("powers", "f32"), ("f32", "plain bf16"), ("plain bf16", "rows")]


@pytest.mark.parametrize("kinds", BY_CHANCE, ids=" x ".join)
def test_balanced_rounding_leaves_the_share_that_was_asked(tmp_path, kinds):
    parents, values = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    merge = merge_of(parents, rounding="balanced")
    for weight, value in merge.values(filter(is_projection, parents["a"].weights)):
        one, other = (values[name][weight].double() for name in "ab")
        change = other - one
        assert ((value.double() - one) * change).sum() / change.square().sum() == pytest.approx(0.7, abs=2e-4)


@pytest.mark.parametrize("kinds", BY_CHANCE, ids=" x ".join)
def test_stochastic_rounding_takes_neighbours(tmp_path, kinds):
    parents, values = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    merge, nearest = merge_of(parents, rounding="stochastic", seed=3), expected(kinds[0], values)
    differing = 0
    for weight, members in merge.tensors(filter(is_projection, parents["a"].weights)):
        ours, theirs = bits(members[weight]).view(*members[weight].view(torch.uint8).shape), nearest[weight]
        if isinstance(KINDS[kinds[0]], Plain):
            near = (members[weight].view(torch.int16) - theirs.view(torch.int16)).abs()
        else:
            near = (ours.to(torch.int16) - theirs.view(torch.uint8).to(torch.int16)).abs() % 128
            assert same(members[weight + KINDS[kinds[0]].end], nearest[weight + KINDS[kinds[0]].end])
        assert near.max() <= 1
        differing += near.count_nonzero().item()
    assert differing


def test_the_native_way_and_that_of_values_agree_by_chance_too(tmp_path):
    parents, _ = parents_of(tmp_path, {"a": "bf16", "b": "bf16"})
    for rounding in ("stochastic", "balanced"):
        merge = merge_of(parents, rounding=rounding)
        for weight, codes, _ in merge.outputs(parents["a"].weights):
            rows = merge.base.layout(weight).shape[0]
            assert merge.encoded(weight, 0, rows)["codes"].tobytes() == bytes(bits(codes).numpy()), weight


def test_unrounded_weights_of_any_layout_become_bf16(tmp_path):
    parents, values = parents_of(tmp_path, {"a": "rows", "b": "plain bf16"})
    merge = merge_of(parents, rounding="none")
    write_shard(merge, SHARD, tmp_path / SHARD)
    written = load_file(tmp_path / SHARD)
    assert written.keys() == values["a"].keys()
    for weight in filter(is_projection, written):
        assert same(written[weight], (values["a"][weight] * 0.3 + values["b"][weight] * 0.7).bfloat16())


def test_a_plan_is_saved_with_what_it_converts(tmp_path):
    parents, _ = parents_of(tmp_path, {"a": "f32", "b": "plain bf16"})
    merge_of(parents).plan.save(tmp_path / "plan.json")
    kinds = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["converted"]
    assert kinds == {"b": {"BF16 to FP8 e4m3 in blocks of 128x128 (scales F32)": 6}}


def test_a_config_inside_another_tells_the_bases_storage(tmp_path):
    """The result has b's config, with what the config inside a's says of the storage."""
    stated = {"a": KINDS["powers"].config, "b": None}
    for seed, name in enumerate(stated):
        folder = model(tmp_path / name, "powers" if name == "a" else "plain bf16", seed, name)[0].directory
        text = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text.pop("quantization_config", None)
        inside = text | ({"quantization_config": stated[name]} if stated[name] else {})
        config = {"model_type": "wrapped", "who": name, "text_config": inside}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    parents = {name: Checkpoint(tmp_path / name, name) for name in stated}
    assert contradictions(parents["a"]) == []
    config = merge_of(parents, config_from="b").plan.beside["config"]
    assert (config["who"], config["text_config"]["quantization_config"]) == ("b", stated["a"])
    assert "quantization_config" not in config
    unrounded = merge_of(parents, config_from="b", rounding="none").plan.beside["config"]
    assert "quantization_config" not in {**unrounded, **unrounded["text_config"]}


def test_an_unrounded_model_has_the_bytes_of_what_is_bf16_already(tmp_path):
    parents, values = parents_of(tmp_path, {"a": "f32", "b": "plain bf16"})
    whole = {"subset": {"groups": ["attention"]}, "weights": {"b": 1}}
    merge = merge_of(parents, overrides=[whole], rounding="none")
    write_shard(merge, SHARD, tmp_path / SHARD)
    written = load_file(tmp_path / SHARD)
    served = {name: one for _, members in merge.tensors(parents["a"].weights) for name, one in members.items()}
    taken = [weight for weight in values["b"] if ".self_attn." in weight and is_projection(weight)]
    assert taken and merge.plan.unrounded
    for weight in taken:
        assert same(written[weight], values["b"][weight].bfloat16()) and same(served[weight], written[weight])


@pytest.mark.gpu
@pytest.mark.parametrize("kinds", PAIRS, ids=" x ".join)
def test_a_gpu_makes_the_processors_bytes_of_every_layout(tmp_path, kinds):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    parents, _ = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    plan, everything = merge_of(parents).plan, parents["a"].weights
    on_gpu, on_cpu = (dict(Merge(plan, parents, engine, 2).tensors(everything)) for engine in ("cuda", "cpu"))
    for weight, members in on_cpu.items():
        assert on_gpu[weight].keys() == members.keys()
        assert [name for name, part in members.items() if not same(on_gpu[weight][name].cpu(), part)] == []
