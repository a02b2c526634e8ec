"""Recipes with another arithmetic or rounding: read, planned, written, and given to a server."""

import json

import pytest
import safetensors.torch
import torch
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan, make_plan
from aoe.merging.publishing import complete_checkpoint
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.studies.sweeps import sweep_points
from support.published import FULL, WAYS, parents

MODELS = ["v3-0324", "r1", "r1-0528"]


@pytest.fixture(scope="module")
def family():
    return parents(MODELS)


def recipe_of(way, entry=FULL):
    return read_recipe("mine", entry | way, MODELS)


def written(plan, family, folder, threads=1):
    folder.mkdir(parents=True)
    merge = Merge(plan, family, "cpu", threads)
    for file in merge.base.shard_names:
        write_shard(merge, file, folder / file)
    parents = {name: {"revision": "0", "files": {}} for name in plan.parents}
    provenance = {"variant": "mine", "recipe": FULL, "parents": parents, "plan": plan.describe()}
    complete_checkpoint(family[plan.base], folder, provenance, plan.beside, None, plan.unrounded)
    return Checkpoint(folder, "mine")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_written_is_what_is_served(family, tmp_path, way):
    """With any number of threads; and FP8 models keep every name, dtype and shape of the base."""
    plan = make_plan(recipe_of(way), family)
    one, other = (written(plan, family, tmp_path / str(threads), threads) for threads in (1, 4))
    for file in one.shard_names:
        assert (one.directory / file).read_bytes() == (other.directory / file).read_bytes()
        loaded = safetensors.torch.load_file(one.directory / file)  # by the format's own library
        assert loaded.keys() == one.shard(file).tensors.keys()
    merge = Merge(plan, family, "cpu", 2)
    for weight, tensor, scale in merge.outputs(family["v3-0324"].weights):
        assert torch.equal(one.tensor(weight).view(torch.uint8), tensor.view(torch.uint8))
        assert scale is None or torch.equal(one.tensor(f"{weight}_scale_inv"), scale)
    for weight, tensor in merge.values(family["v3-0324"].weights):
        assert tensor.dtype in (torch.bfloat16, torch.float32)
        if plan.unrounded:
            assert torch.equal(one.tensor(weight), tensor)
    if not plan.unrounded:
        for tensor in family["v3-0324"].files:
            ours, theirs = one.stored(tensor), family["v3-0324"].stored(tensor)
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)


def test_every_way_gives_a_model_of_its_own(family):
    weight = "model.layers.1.self_attn.o_proj.weight"
    found = set()
    for way in [{}, *WAYS, {"rounding": "stochastic", "seed": 4}]:
        merge = Merge(make_plan(recipe_of(way), family), family, "cpu")
        ((_, tensor, _),) = merge.outputs([weight])
        found.add(bytes(tensor.contiguous().view(torch.uint8).reshape(-1).numpy()))
    assert len(found) == len(WAYS) + 2


def test_an_unrounded_model_is_bf16_throughout(family, tmp_path):
    """The weights that are copied, too; nothing says that it was FP8, and no scale is left."""
    entry = FULL | {"subset": {"groups": ["routed_experts"]}}
    plan = make_plan(recipe_of({"rounding": "none"}, entry), family)
    made = written(plan, family, tmp_path / "made")
    config = json.loads((made.directory / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config and config["torch_dtype"] == "bfloat16"
    index = json.loads((made.directory / "model.safetensors.index.json").read_text(encoding="utf-8"))
    held = [stored for file in made.shard_names for stored in made.shard(file).tensors.values()]
    assert index["metadata"]["total_size"] == sum(stored.size for stored in held)
    assert {stored.dtype for stored in held} == {"BF16", "F32"} and made.files.keys() == index["weight_map"].keys()
    assert not any(name.endswith("_scale_inv") for name in made.files)
    copied = "model.layers.1.self_attn.o_proj.weight"
    base = family["v3-0324"]
    scale = base.tensor(f"{copied}_scale_inv").repeat_interleave(128, 0).repeat_interleave(128, 1)
    value = base.tensor(copied).float() * scale[: base.stored(copied).shape[0], : base.stored(copied).shape[1]]
    assert torch.equal(made.tensor(copied), value.bfloat16())


def test_plans_say_how_to_combine_and_old_ones_need_not(family, tmp_path):
    plan = make_plan(recipe_of({"rounding": "stochastic", "seed": 3}), family)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert plan.method("a").key != plan.method("b").key
    make_plan(recipe_of({}), family).save(tmp_path / "usual.json")
    assert json.loads((tmp_path / "usual.json").read_text(encoding="utf-8")).keys() == {"base", "mixtures", "tensors"}


def test_what_copies_alone_is_the_same_by_any_method(family):
    copies = {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"groups": ["routed_experts"]}}
    # but by sums of differences, which give a parent's numbers not quite back
    ways = [{}, *(way for way in WAYS if way.get("arithmetic") != "deltas")]
    for entry in (copies, {"base": "v3-0324", "weights": {"v3-0324": 1}}):
        recipes = [recipe_of(way, entry) for way in ways]
        assert all(recipe.canonical() == recipes[0].canonical() for recipe in recipes)
    plan = make_plan(recipe_of({"rounding": "none"}, copies), family)
    assert not plan.unrounded and not plan.beside
    assert len({str(recipe_of(way).canonical()) for way in [{}, *WAYS]}) == len(WAYS) + 1


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"seed": 3}, "has a seed, but the rounding nearest draws no random numbers"),
        ({"arithmetic": "stored", "rounding": "none"}, "can be rounded nearest or stochastic"),
        ({"arithmetic": "stored", "rounding": "balanced"}, "can be rounded nearest or stochastic"),
    ],
)
def test_what_makes_no_sense_is_refused(way, said):
    with pytest.raises(AoeError, match=said):
        recipe_of(way)


def test_a_sweep_hands_its_method_to_its_recipes():
    variants, entries = {}, {}
    settings = {"base": "v3-0324", "other": "r1", "lambda2": [0.4, 0.5], "rounding": "balanced", "seed": 2}
    list(sweep_points("full", settings, MODELS, variants, entries))
    assert {recipe.rounding for recipe in variants.values()} == {"balanced"}
    assert entries["full-0.4"]["seed"] == 2
    assert variants["full-0.4"].describe()["weights"] == "0.6 v3-0324 + 0.4 r1; balanced rounding, seed 2"
