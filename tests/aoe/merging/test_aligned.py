"""A merge with embeddings that are aligned by token gives the bytes that parents with the same tokens give."""

import json
from dataclasses import replace

import pytest
import torch
from aoe import AoeError
from aoe.audit.attribution import Audit
from aoe.audit.recovery import recover
from aoe.audit.verdict import judge
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan, make_plan
from aoe.merging.publishing import complete_checkpoint
from aoe.merging.recipe import read_recipe
from aoe.merging.rounding.measuring import shard_projections
from aoe.merging.shard_writer import write_shard
from support.served import MINI_FOLDERS
from support.vocabularies import renumber

HALF = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}}
RECIPES = {
    "halves": HALF,
    "a copy of the other": {"base": "v3-0324", "weights": {"r1": 1}},
    "embeddings of the other": {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"groups": ["embeddings", "mtp"]}},
    "stochastic": HALF | {"rounding": "stochastic", "seed": 3},
    "not rounded": HALF | {"rounding": "none"},
    "the base's experts": HALF | {"subset": {"groups": ["embeddings", "lm_head"]}},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The mini family's models, and the other one once more with its tokens in another order."""
    folder = tmp_path_factory.mktemp("renumbered") / "r1"
    renumber(MINI_FOLDERS["r1"], folder, rows=None)
    same = {name: Checkpoint(path, name) for name, path in MINI_FOLDERS.items()}
    return same, same | {"r1": Checkpoint(folder, "r1")}


def plan_of(entry, checkpoints, **said):
    return make_plan(read_recipe("half", entry | said, checkpoints), checkpoints)


@pytest.mark.parametrize("name", RECIPES)
def test_the_bytes_are_those_of_parents_with_the_same_tokens(name, models, tmp_path):
    same, moved = models
    expected = Merge(plan_of(RECIPES[name], same), same, "cpu", 2)
    plan = plan_of(RECIPES[name], moved, align_embeddings=True)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    merge = Merge(Plan.load(tmp_path / "plan.json"), moved, "cpu", 2)
    for file in merge.base.shard_names:
        for one, folder in ((expected, "same"), (merge, "moved")):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_shard(one, file, tmp_path / folder / file)
        assert (tmp_path / "same" / file).read_bytes() == (tmp_path / "moved" / file).read_bytes()
    weights = [weight for weight in merge.base.weights if ".experts." not in weight]
    for ours, theirs in zip(expected.outputs(weights), merge.outputs(weights), strict=True):
        assert ours[0] == theirs[0] and torch.equal(ours[1].view(torch.uint8), theirs[1].view(torch.uint8))
    for ours, theirs in zip(expected.values(weights), merge.values(weights), strict=True):
        assert torch.equal(ours[1], theirs[1])


def test_a_parent_may_have_other_numbers_of_rows(models, tmp_path):
    same, moved = models
    renumber(MINI_FOLDERS["r1"], tmp_path / "r1", rows=160)
    moved = moved | {"r1": Checkpoint(tmp_path / "r1", "r1")}
    with pytest.raises(AoeError, match=r"embed_tokens\.weight is BF16 \[128, 256\] in v3-0324, but BF16 \[160, 256\]"):
        plan_of(HALF, moved)
    one = Merge(plan_of(HALF, same), same, "cpu")
    other = Merge(plan_of(HALF, moved, align_embeddings=True, config_from="r1"), moved, "cpu")
    assert "config" not in other.plan.beside
    weights = ["model.embed_tokens.weight", "lm_head.weight"]
    for ours, theirs in zip(one.values(weights), other.values(weights), strict=True):
        assert torch.equal(ours[1], theirs[1])


def test_without_being_asked_rows_are_mixed_as_they_lie(models):
    same, moved = models
    one, other = (Merge(plan_of(HALF, checkpoints), checkpoints, "cpu") for checkpoints in (same, moved))
    found = [next(iter(merge.values(["lm_head.weight"])))[1] for merge in (one, other)]
    assert not torch.equal(*found)


def test_parents_with_the_same_tokens_need_no_alignment(models):
    same, _ = models
    plan = plan_of(HALF, same, align_embeddings=True)
    assert plan == plan_of(HALF, same)
    assert plan.alignment is None


def test_what_the_result_has_beside_its_weights_is_the_bases(models, tmp_path):
    same, moved = models
    plan = plan_of(HALF, moved, align_embeddings=True, config_from="r1")
    config = dict(plan.beside.get("config", same["v3-0324"].config))
    for key in ("bos_token_id", "eos_token_id", "vocab_size"):
        assert config[key] == same["v3-0324"].config[key]
    assert plan.describe()[-1] == "embeddings of r1, aligned by token: 121 rows are moved, 0 are the base's"
    recipe = HALF | {"align_embeddings": True}
    provenance = {"variant": "half", "recipe": recipe, "parents": {}, "plan": plan.describe()}
    complete_checkpoint(moved["v3-0324"], tmp_path, provenance, plan.beside, {n: m.directory for n, m in moved.items()})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "align_embeddings: True" in card and "aligned by token: 121 rows are moved" in card


def test_an_audit_with_the_claim_finds_every_weight(models, tmp_path):
    same, moved = models
    merge = Merge(plan_of(HALF, same), same, "cpu", 2)
    for file in merge.base.shard_names:
        write_shard(merge, file, tmp_path / file)
    for file in ("config.json", "model.safetensors.index.json"):
        (tmp_path / file).write_bytes((MINI_FOLDERS["v3-0324"] / file).read_bytes())
    plan = plan_of(HALF, moved, align_embeddings=True)
    parents = {name: moved[name] for name in ("v3-0324", "r1")}
    weights = ["lm_head.weight", "model.embed_tokens.weight", "model.layers.1.self_attn.o_proj.weight"]
    for claim, verdicts in ((plan, {"verified"}), (replace(plan, alignment=None), {"verified", "deviates"})):
        audit = Audit(Checkpoint(tmp_path, "half"), parents, claim)
        rows = audit.rows(weights)
        judged = judge(rows, recover(rows, list(parents), audit.reproduces), True)
        assert {row["status"] for row in judged} == verdicts


def test_realized_weights_of_aligned_and_other_variants_are_told_apart(models):
    same, moved = models
    file = same["v3-0324"].files["lm_head.weight"]
    aligned, plain = plan_of(HALF, moved, align_embeddings=True), plan_of(HALF, moved)
    rows = shard_projections({"a": Merge(aligned, moved, "cpu"), "b": Merge(plain, moved, "cpu")}, file)
    alone = shard_projections({"a": Merge(plan_of(HALF, same), same, "cpu")}, file)
    of_head = {row["variant"]: row for row in rows if row["tensor"] == "lm_head.weight"}
    (expected,) = [row for row in alone if row["tensor"] == "lm_head.weight"]
    assert of_head["a"] == expected
    assert of_head["b"]["gram"] != expected["gram"]


def test_recipes_that_contradict_themselves_are_refused(models):
    for said, sentence in (
        ({"tokenizer_from": "r1"}, "`tokenizer_from: r1`; leave one of them out"),
        ({"threshold": {"delta": 1, "space": "codes"}}, "a threshold δ, but differences are measured"),
    ):
        with pytest.raises(AoeError, match=sentence):
            read_recipe("half", HALF | {"align_embeddings": True} | said, models[0])
    assert read_recipe("half", HALF | {"align_embeddings": True, "tokenizer_from": "v3-0324"}, models[0])


def test_an_aligned_recipe_is_another_variant_unless_it_is_a_copy_of_the_base(models):
    def canonical(entry, **said):
        return read_recipe("x", entry | said, models[0]).canonical()

    assert canonical(HALF) != canonical(HALF, align_embeddings=True)
    copy = {"base": "v3-0324", "weights": {"r1": 1}}
    assert canonical(copy) == "r1" != canonical(copy, align_embeddings=True)
    assert canonical({"base": "r1", "weights": {"r1": 1, "v3-0324": 0}}, align_embeddings=True) == "r1"


def test_a_plan_with_an_alignment_is_read_as_it_was_written(models, tmp_path):
    plan = plan_of(HALF, models[1], align_embeddings=True)
    plan.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    del content["alignment"]["rows"]
    (tmp_path / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AoeError, match="is no plan"):
        Plan.load(tmp_path / "plan.json")
