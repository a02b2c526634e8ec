"""Every part of a subset selects a tensor, or the recipe is refused while it is planned."""

import json

import pytest
from aoe import AoeError
from aoe.acquiring.lock import read_lock
from aoe.checkpoints.architecture import Architecture
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.selection import check_selections, check_subset, places
from aoe.merging.subset import read_subset
from aoe.studies.study import read_study
from launcher.schemas import read_schema
from support.clones import ROOT

SCHEMA = read_schema("study")
STUDIES = ROOT / "config/studies"
EXPERTS = {"groups": ["routed_experts"]}
SENTENCES = [  # of layers 0 (dense), 1 to 3, and MTP's layer 4
    ({"subset": {"layers": [1, 90]}}, r"of which the layer 90 selects no tensor of v3-0324, .* the layers 0-4"),
    ({"subset": {"layers": ["0-3", "90-95"]}}, "of which the layers 90-95 selects no tensor"),
    ({"subset": {"layers": ["90-95"]}}, r"\(layers 90-95\) that selects no tensor of v3-0324"),
    ({"subset": {**EXPERTS, "layers": [0]}}, r"\(routed_experts; layers 0\) that selects no tensor"),
    ({"subset": {"groups": ["routed_experts", "embeddings"], "layers": [1]}}, "the group embeddings selects no tensor"),
    ({"subset": {**EXPERTS, "layers": [0, 1]}}, "the layer 0 selects no tensor of v3-0324 together with"),
    ({"subset": {"names": ["*.nothing.*"]}}, "that selects no tensor"),
    ({"subset": {"names": ["*.gate_proj.*", "*.experts.99.*"]}}, r"the name pattern '\*\.experts\.99\.\*' selects no"),
    ({"subset": {"names": ["*_scale_inv"]}}, "that selects no tensor"),
    ({"subset": {"names": ["*.Gate_proj.*"]}}, "that selects no tensor"),
    ({"subset": {**EXPERTS, "names": ["*.self_attn.*"]}}, "that selects no tensor"),
    ({"subset": {"experts": [3, 12]}}, r"the expert 12 selects no tensor of v3-0324, which has the experts 0-11"),
    ({"subset": {"experts": ["12-20"]}}, r"\(experts 12-20\) that selects no tensor of v3-0324, .* the experts 0-11"),
    (
        {"subset": {"layers": [0], "experts": [3]}},
        "no tensor of v3-0324, which has the layers 0-4 and the experts 0-11",
    ),
    ({"subset": {"groups": ["attention", "routed_experts"], "experts": [3]}}, "the group attention selects no tensor"),
    ({"overrides": [[{"experts": ["0-5"]}], [{"experts": [3]}]]}, "override 2 .* the overrides before it have every"),
    ({"overrides": [[{"layers": [5]}]]}, "the override 1 .* selects no tensor of v3-0324, which has the layers 0-4"),
    ({"subset": EXPERTS, "overrides": [[{"groups": ["attention"]}]]}, "override 1 .* of v3-0324 in its subset"),
    ({"overrides": [[{"layers": ["1-3"]}], [{"layers": [2]}]]}, "override 2 .* the overrides before it have every"),
    ({"overrides": [[{}], [EXPERTS]]}, "override 2 .* the overrides before it have every"),
]
FINE = [
    {"subset": {**EXPERTS, "layers": ["0-99"]}},
    {"subset": {"groups": ["routed_experts", "dense_mlp"], "layers": ["0-1"]}},
    {"subset": {"groups": ["mtp"], "layers": [4]}},
    {"subset": {"names": ["*"]}},
    {"subset": {"experts": [0, "6-20"]}},
    {"subset": {**EXPERTS, "layers": [2], "experts": ["0-5"]}},
    {"subset": {"groups": ["mtp"], "experts": [3]}},
    {"overrides": [[{"experts": ["0-5"]}], [{"experts": [3, 6]}]]},
    {"overrides": [[EXPERTS], [{"layers": [1]}], [{"names": ["*.o_proj.*"]}]]},
]


def written(entry):
    """A recipe of the mini family, with overrides as the study file has them."""
    overrides = [{"subset": subset, "weights": {"r1": 1}} for (subset,) in entry.get("overrides", [])]
    return {"base": "v3-0324", "weights": {"r1": 1}, **entry, "overrides": overrides}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans a study that extends the mini study, from its lock, as Snakemake does before the first job."""
    monkeypatch.chdir(ROOT)

    def plan(name="mini", **changes):
        content = (STUDIES / f"{name}.yaml").read_text(encoding="utf-8")
        (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        (tmp_path / "test.yaml").write_text(json.dumps({"extends": name, **changes}), encoding="utf-8")
        study = read_study("test", tmp_path, SCHEMA)
        locked = read_lock(study.content["lock"], {"models": study.models, "datasets": study.datasets})
        directories = {model: entry["path"] for model, entry in study.models.items()}
        check_selections(study, locked, directories)

    return plan


def with_recipe(entry):
    figures = {"base": "v3-0324", "other": "r1", "space": "codes"}
    return {"audits": {}, "sweeps": {}, "figures": figures, "variants": {"m": written(entry)}}


@pytest.mark.parametrize(("entry", "sentence"), SENTENCES)
def test_a_part_that_selects_nothing_is_told_while_planning(planned, entry, sentence):
    with pytest.raises(AoeError, match=f"^The variant m has .*{sentence}"):
        planned(**with_recipe(entry))


@pytest.mark.parametrize("entry", FINE)
def test_whatever_selects_something_is_planned(planned, entry):
    planned(**with_recipe(entry))


def test_the_points_of_a_sweep_and_checks_of_an_audit_are_looked_at(planned):
    planned()
    sweep = {"base": "v3-0324", "other": "r1", "lambda2": [0.3], "subset": {"layers": [7]}}
    with pytest.raises(AoeError, match=r"The variant s-0\.3 has a subset"):
        planned(sweeps={"s": sweep}, figures={"base": "v3-0324", "other": "r1", "space": "codes"})
    audit = {"model": "r1", "parents": ["v3-0324"], "checks": {"c": {"from": "v3-0324", "layers": [1, 7]}}}
    with pytest.raises(AoeError, match=r"audits\.a\.checks\.c is of weights .* of which the layer 7 selects no"):
        planned(audits={"a": audit})


def test_the_shards_show_groups_and_layers_where_names_are_not_known(planned, monkeypatch):
    monkeypatch.setattr("aoe.merging.selection._named", lambda model, directory: [])
    for entry, sentence in SENTENCES:
        if not any(key in json.dumps(entry) for key in ("names", '"experts"')):
            with pytest.raises(AoeError, match=sentence):
                planned(**with_recipe(entry))
    for entry in FINE:
        planned(**with_recipe(entry))
    for subset in ({"names": ["*.nothing.*"]}, {"experts": [12]}):  # what the headers show, once they are there
        planned(**with_recipe({"subset": subset}))
    for subset in ({"layers": [0], "experts": [3]}, {"groups": ["attention"], "experts": [3]}):
        with pytest.raises(AoeError, match="selects no tensor"):
            planned(**with_recipe({"subset": subset}))


@pytest.mark.parametrize(
    ("subset", "fine"),
    [
        ({"names": ["*.experts.1.*"]}, True),
        ({"names": ["*.experts.2.*"]}, False),
        ({"experts": [1]}, True),
        ({"experts": [2]}, False),
        ({"layers": [3]}, False),
    ],
)
def test_a_plan_selects_something_with_every_part(family, subset, fine):
    recipe = read_recipe("m", {"base": "v3", "weights": {"r1": 1}, "subset": subset}, family)
    if fine:
        assert len(make_plan(recipe, family).mixtures) == 2
    else:
        with pytest.raises(AoeError, match=r"The recipe has a subset .* that selects no tensor of v3"):
            make_plan(recipe, family)


def test_experts_in_one_piece_cannot_be_selected():
    names = ["model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.self_attn.q_proj.weight"]
    there = places(Architecture({"model_type": "gpt_oss", "num_hidden_layers": 1}), names)
    with pytest.raises(AoeError, match="selects no tensor of oss, which has the experts of a layer in one piece"):
        check_subset("The variant m has a subset", read_subset("m", {"experts": [0]}), there, "oss")
