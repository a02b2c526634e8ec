"""Audits of models in other layouts than FP8 of 128 x 128 with scales in F32, and of parents stored otherwise."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from aoe.audit.attribution import Audit
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from support.checkpoints import CONFIG
from support.layouts import KINDS, Plain, is_projection, model, packed_of
from support.layouts import write as written

SHARD = "model.safetensors"
HALVES = {"a": 0.3, "b": 0.7}
EVERY = [kind for kind in KINDS if kind != "f32" and not isinstance(KINDS[kind], Plain)]


def parents_of(tmp_path, kinds):
    return {name: model(tmp_path / name, kind, seed, name)[0] for seed, (name, kind) in enumerate(kinds.items())}


def published(tmp_path, parents, **entry):
    """The model of a recipe, as it is written."""
    recipe = read_recipe("x", {"base": "a", "weights": HALVES} | entry, parents)
    plan, folder = make_plan(recipe, parents), tmp_path / "published"
    folder.mkdir()
    write_shard(Merge(plan, parents, "cpu"), SHARD, folder / SHARD)
    shutil.copy(parents["a"].directory / "config.json", folder)
    return Checkpoint(folder, "published"), plan


def rows_of(model, parents, plan=None):
    audit = Audit(model, parents, plan)
    assert audit.published.missing == audit.published.additional == []
    return {row["tensor"]: row for row in audit.rows(audit.published.parts)}


@pytest.mark.parametrize("kind", EVERY)
def test_copies_in_every_layout(tmp_path, kind):
    parents = parents_of(tmp_path, {"a": kind, "b": kind})
    model, _ = published(tmp_path, parents, weights={"b": 1})
    for row in rows_of(model, parents).values():
        assert (row["found"], row["grade"], row["sources"]) == ("copied", "bytes", ["b"]), row["tensor"]


@pytest.mark.parametrize("kind", EVERY)
def test_a_mixture_is_found_and_a_claimed_one_confirmed(tmp_path, kind):
    parents = parents_of(tmp_path, {"a": kind, "b": kind})
    model, plan = published(tmp_path, parents)
    for row in rows_of(model, parents).values():
        if is_projection(row["tensor"]):
            assert row["found"] == "mixed", row
            assert (row["lambda_a"], row["lambda_b"]) == (0.3, 0.7)
            assert row["differing"] == 0
    for row in rows_of(model, parents, plan).values():
        if is_projection(row["tensor"]):
            assert (row["found"], row["claim"]) == ("claimed", "0.3 a + 0.7 b"), row
            assert row["grade"] == row["claim_grade"] != ""


@pytest.mark.parametrize("kinds", [("powers", "f32"), ("f32", "plain bf16"), ("plain bf16", "f32"), ("rows", "bf16")])
def test_parents_that_are_stored_differently(tmp_path, kinds):
    parents = parents_of(tmp_path, dict(zip("ab", kinds, strict=True)))
    model, plan = published(tmp_path, parents, overrides=[{"subset": {"layers": [0]}, "weights": {"b": 1}}])
    for row in rows_of(model, parents, plan).values():
        if is_projection(row["tensor"]) and row["layer"] == 0:
            assert (row["found"], row["sources"]) == ("equal", ["b"]), row
        elif is_projection(row["tensor"]):
            assert (row["found"], row["claim_grade"] != "") == ("claimed", True), row


def packed(folder, name, seed):
    """Kimi-K2-Thinking's experts by their dtypes and shapes; the numbers mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    expert = "model.layers.1.mlp.experts.0.up_proj.weight"
    tensors = {
        f"{expert}_packed": torch.randint(-(2**31), 2**31 - 1, (64, 16), generator=generator).to(torch.int32),
        f"{expert}_scale": torch.rand(64, 4, generator=generator).bfloat16(),
        f"{expert}_shape": torch.tensor([64, 128], dtype=torch.int32),
        "model.layers.1.mlp.experts.0.down_proj.unknown": torch.randint(0, 9, (4, 4), generator=generator),
        "lm_head.weight": torch.rand(8, 8, generator=generator).bfloat16(),
    }
    folder.mkdir()
    save_file(tensors, folder / SHARD)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return Checkpoint(folder, name)


def test_an_identical_copy_of_anything_is_copied(tmp_path):
    parents = {name: packed(tmp_path / name, name, seed) for seed, name in enumerate("ab")}
    shutil.copytree(parents["b"].directory, tmp_path / "published")
    rows = rows_of(Checkpoint(tmp_path / "published", "published"), parents)
    assert len(rows) == 3
    for row in rows.values():
        assert (row["found"], row["grade"], row["sources"]) == ("copied", "bytes", ["b"])


@pytest.mark.parametrize("kind", ["int4", "mxfp4 of DeepSeek-V4", "nvfp4"])
def test_a_claimed_mixture_of_packed_weights(tmp_path, kind):
    parents = {name: written(tmp_path / name, packed_of(seed)[kind], name) for seed, name in enumerate("ab")}
    model, plan = published(tmp_path, parents)
    (row,) = rows_of(model, parents, plan).values()
    assert (row["found"], row["claim"], row["claim_grade"] != "") == ("claimed", "0.3 a + 0.7 b", True)
    (row,) = rows_of(parents["b"], parents, plan).values()
    assert (row["found"], row["sources"], row["claim_grade"]) == ("copied", ["b"], "")


def test_what_is_no_copy_and_has_no_values_is_unreadable(tmp_path):
    parents = {name: packed(tmp_path / name, name, seed) for seed, name in enumerate("ab")}
    rows = rows_of(packed(tmp_path / "published", "published", 7), parents)
    unknown = rows["model.layers.1.mlp.experts.0.down_proj.unknown"]
    assert (unknown["found"], unknown["note"].endswith("is stored as I64")) == ("unreadable", True)


def swapped(parent, folder, **names):
    """A parent's tensors, with those of two weights exchanged, by ends of their names."""
    folder.mkdir()
    tensors = {name: parent.tensor(name) for name in parent.files}
    one, other = names["one"], names["other"]
    exchanged = {name: name.replace(one, other) if one in name else name.replace(other, one) for name in tensors}
    save_file({exchanged[name]: tensor for name, tensor in tensors.items()}, folder / SHARD)
    shutil.copy(parent.directory / "config.json", folder)
    return Checkpoint(folder, "published")


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_experts_are_found_where_they_are_in_every_layout(tmp_path, kind):
    parents = parents_of(tmp_path, {"a": kind, "b": kind})
    one, other = (f"layers.1.mlp.experts.{number}.up_proj" for number in (0, 1))
    rows = rows_of(swapped(parents["b"], tmp_path / "published", one=one, other=other), parents)
    moved = {row["tensor"]: row["note"] for row in rows.values() if row["found"] == "moved"}
    assert moved == {
        f"model.{one}.weight": f"b's model.{other}.weight",
        f"model.{other}.weight": f"b's model.{one}.weight",
    }


@pytest.mark.parametrize("kind", ["int4", "awq", "mxfp4 of DeepSeek-V4"])
@pytest.mark.parametrize("known", [True, False])
def test_swapped_packed_experts_are_found_where_they_are(tmp_path, kind, known):
    """Their bytes tell, even where their values are not known."""
    parents = {}
    for seed, name in enumerate("ab"):
        tensors = {}
        for number in (0, 1):
            expert = f"model.layers.1.mlp.experts.{number}.up_proj"
            for key, tensor in packed_of(2 * seed + number)[kind].items():
                cut = tensor if known or tensor.dim() < 2 or "scale" not in key else tensor[:-1]
                tensors[key.replace("model.layers.0.mlp.up_proj", expert)] = cut
        parents[name] = written(tmp_path / name, tensors, name)
    one, other = (f"experts.{number}.up_proj" for number in (0, 1))
    rows = rows_of(swapped(parents["a"], tmp_path / "published", one=one, other=other), parents)
    assert {row["found"] for row in rows.values()} == {"moved"} and len(rows) == 2
    assert {row["note"].split(".experts.")[0] for row in rows.values()} == {"a's model.layers.1.mlp"}
