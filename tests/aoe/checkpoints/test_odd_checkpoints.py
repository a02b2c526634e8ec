"""Checkpoints that are legal, or nearly, and unlike DeepSeek's: what is made of them is right, or they are refused."""

import json
import threading

import pytest
import torch
from safetensors.torch import save_file
from aoe import AoeError
from aoe.acquiring.verification import check_structure
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.shard import Shard
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan, copy_plan, make_plan
from aoe.merging.publishing import complete_checkpoint
from aoe.merging.recipe import Recipe, read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.numerics import fp8
from support.checkpoints import CONFIG

WEIGHT = "model.layers.0.mlp.up_proj.weight"
SCALE = f"{WEIGHT}_scale_inv"
HALF = Recipe("a", {"a": 0.5, "b": 0.5})


def checkpoint(folder, *shards):
    """A checkpoint of some shards, dicts of tensors."""
    folder.mkdir()
    index = {}
    for number, tensors in enumerate(shards):
        save_file(tensors, folder / f"{number}.safetensors")
        index |= dict.fromkeys(tensors, f"{number}.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return Checkpoint(folder)


def pair(tmp_path, *parents):
    return {name: checkpoint(tmp_path / name, *shards) for name, shards in zip("abc", parents, strict=False)}


def merged(tmp_path, recipe, parents):
    """The tensors of the written merge, which must be those that are merged while loading."""
    merge = Merge(make_plan(recipe, parents), parents, "cpu", threads=3)
    out = tmp_path / "out"
    out.mkdir()
    for file in merge.base.shard_names:
        write_shard(merge, file, out / file)
    for file in ("config.json", INDEX):
        (out / file).write_bytes((merge.base.directory / file).read_bytes())
    written = Checkpoint(out)
    for weight, tensor, scale in merge.outputs(merge.base.weights):
        assert tensor.shape == written.stored(weight).shape
        assert bytes(tensor.flatten().view(torch.uint8).numpy()) == written.bytes(weight)
        assert scale is None or torch.equal(scale, written.tensor(written.scale(weight)))
    return written


def test_what_is_called_a_scale_beside_a_bf16_weight_is_a_tensor_of_its_own(tmp_path):
    parents = pair(
        tmp_path, *([{WEIGHT: torch.ones(4, 4).bfloat16(), SCALE: torch.full((1, 1), value)}] for value in (2.0, 4.0))
    )
    assert merged(tmp_path, HALF, parents).tensor(SCALE).item() == 3


def test_weights_that_cannot_be_combined_are_compared_with_the_base_and_with_their_scales(tmp_path):
    counts = pair(tmp_path, *([{WEIGHT: torch.full((2, 2), value)}] for value in (1, 7, 7)))
    with pytest.raises(AoeError, match="cannot be combined, and differs between a and b"):
        make_plan(Recipe("a", {"b": 0.5, "c": 0.5}), counts)
    assert merged(tmp_path, Recipe("a", {"b": 1}), counts).tensor(WEIGHT).tolist() == [[7, 7], [7, 7]]
    assert make_plan(Recipe("b", {"b": 0.5, "c": 0.5}), counts).weights(WEIGHT) == {"b": 1}
    (tmp_path / "e5m2").mkdir()
    codes = torch.ones(4, 4).to(torch.float8_e5m2)
    parents = pair(tmp_path / "e5m2", *([{WEIGHT: codes, SCALE: torch.full((1, 1), s)}] for s in (2.0, 4.0)))
    with pytest.raises(AoeError, match="has the dtype F8_E5M2, which cannot be combined, and differs"):
        make_plan(HALF, parents)
    with pytest.raises(AoeError, match="F8_E5M2, which cannot be dequantized"):
        list(Merge(copy_plan(parents["a"]), {"a": parents["a"]}, "cpu").values([WEIGHT]))


@pytest.mark.parametrize("scale", [torch.ones(4, 4), torch.ones(2, 2).double()])
def test_scales_that_do_not_fit_are_refused_while_loading_too(tmp_path, scale):
    parent = checkpoint(tmp_path / "a", {WEIGHT: torch.ones(256, 256).to(torch.float8_e4m3fn), SCALE: scale})
    with pytest.raises(AoeError, match=r"the scale .* needs F32 \[2, 2\]"):
        list(Merge(copy_plan(parent), {"a": parent}, "cpu").values(parent.weights))


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    twice = checkpoint(
        tmp_path / "a", {WEIGHT: torch.ones(8), "lm_head.weight": torch.ones(1)}, {WEIGHT: torch.ones(2)}
    )
    with pytest.raises(AoeError, match=rf"both 0\.safetensors and 1\.safetensors hold the tensor {WEIGHT}"):
        check_structure(twice)


def test_tensors_without_dimensions_or_elements(tmp_path):
    shard = {WEIGHT: torch.tensor(2.0), "lm_head.weight": torch.zeros(0, 4), "model.norm.weight": torch.ones(3)}
    parents = pair(tmp_path, [shard], [shard | {WEIGHT: torch.tensor(3.0)}])
    assert merged(tmp_path, HALF, parents).tensor(WEIGHT).item() == 2.5
    rows = {row["tensor"]: row for row in shard_differences(parents["a"], parents["b"], "0.safetensors", device="cpu")}
    assert (rows[WEIGHT]["frobenius"], rows[WEIGHT]["rows"]) == (1, 1)
    assert (rows["lm_head.weight"]["frobenius"], rows["lm_head.weight"]["relative"]) == (0, 0)


def test_a_shard_of_scales_alone(tmp_path):
    weights = [torch.randn(130, 200) for _ in range(2)]
    stored = [fp8.quantize(weight) for weight in weights]
    parents = pair(tmp_path, *([{WEIGHT: codes}, {SCALE: scale}] for codes, scale in stored))
    out = merged(tmp_path, HALF, parents)
    codes, scale = fp8.quantize(fp8.dequantize(*stored[0]) * 0.5 + fp8.dequantize(*stored[1]) * 0.5)
    assert torch.equal(out.tensor(SCALE), scale)
    assert torch.equal(out.tensor(WEIGHT).view(torch.uint8), codes.view(torch.uint8))
    assert shard_differences(parents["a"], parents["b"], "1.safetensors", device="cpu") == []


def test_recipes_without_any_share_and_plans_that_are_none(tmp_path):
    with pytest.raises(AoeError, match="has no weight λ but 0"):
        read_recipe("nothing", {"base": "a", "weights": {"a": 0}, "convex": False}, ["a"])
    for text in ["", "[]", "{}", '{"base": "a", "mixtures": [{"a": 1}], "tensors": {"x": 1}}', '{"base": "a", "mix']:
        (tmp_path / "plan.json").write_text(text, encoding="utf-8")
        with pytest.raises(AoeError, match=r"plan\.json is no plan"):
            Plan.load(tmp_path / "plan.json")
    with pytest.raises(AoeError, match="reads the parent 'b', whose checkpoint was not given"):
        Merge(Plan("a", ({"b": 1.0},), {}), {"a": None})


def test_a_delta_over_the_base_alone_copies_it(tmp_path):
    parents = pair(tmp_path, [{WEIGHT: torch.ones(2)}])
    entry = {"base": "a", "weights": {"a": 1}, "threshold": {"delta": 1, "space": "codes"}}
    assert make_plan(read_recipe("same", entry, parents), parents, {}).source(WEIGHT) == "a"


def test_a_chimera_of_a_chimera_is_complete_only_when_it_is(family, tmp_path, monkeypatch):
    base = family["v3"]
    (base.directory / "recipe.json").write_text("the base's own", encoding="utf-8")
    (base.directory / "x.safetensors.partial").write_text("half", encoding="utf-8")
    facts = {"variant": "x", "recipe": {"base": "v3", "weights": {}}, "parents": {}, "plan": []}
    with monkeypatch.context() as patched:
        patched.setattr("aoe.merging.publishing.model_card", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            complete_checkpoint(base, tmp_path, facts)
    assert not (tmp_path / "recipe.json").exists()
    complete_checkpoint(base, tmp_path, facts)
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))["variant"] == "x"
    assert not list(tmp_path.glob("*.partial"))


def test_many_threads_open_a_shard_once(family, monkeypatch):
    """A file that a second thread opened anew would close the first's while it is being read."""
    path = family["v3"].directory / family["v3"].shard_names[0]
    for _ in range(50):
        shard, files, start = Shard(path), [], threading.Barrier(8)

        def ask(shard=shard, files=files, start=start):
            start.wait()
            files.append(shard.file)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(file) for file in files}) == 1
