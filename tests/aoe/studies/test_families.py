"""Families: sweeps that differ in rounding and arithmetic alone."""

import json

import pytest
import yaml
from aoe.studies.families import compares_roundings, families, roundings
from aoe.studies.study import read_study
from launcher.schemas import read_schema
from support.clones import ROOT

FULL = {"base": "v3-0324", "other": "r1", "lambda2": [0.2, 0.4, 0.6, 0.8]}


@pytest.fixture
def study(tmp_path):
    def read(**sweeps):
        content = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"))
        content["figures"].pop("threshold")
        (tmp_path / "odd.yaml").write_text(
            yaml.safe_dump(content | {"sweeps": sweeps}, sort_keys=False), encoding="utf-8"
        )
        return read_study("odd", tmp_path, read_schema("study"))

    return read


def test_sweeps_of_the_same_weights_are_a_family(study):
    experts = FULL | {"subset": {"groups": ["routed_experts"]}}
    found = families(
        study(
            **{
                "full-near": FULL,
                "experts": experts,
                "full-none": FULL | {"rounding": "none", "lambda2": [0, 0.1, 0.2, 1]},
            }
        )
    )
    assert [(family["name"], family["other"], list(family["sweeps"])) for family in found] == [
        ("full", "r1", ["full-near", "full-none"]),
        ("experts", "r1", ["experts"]),
    ]
    assert roundings(found) == ["nearest", "unrounded"] and compares_roundings(found)
    variants = [point["variant"] for point in found[0]["sweeps"]["full-none"]["points"]]
    assert variants == ["v3-0324", "full-none-0.1", "full-none-0.2", "r1"]
    assert json.loads(json.dumps(found)) == found


def test_seeds_are_told_apart_by_the_sweeps_names(study):
    first, second = (FULL | {"rounding": "stochastic", "seed": seed} for seed in (1, 2))
    (found,) = families(study(first=first, second=second))
    assert (found["name"], roundings([found])) == ("first", ["first", "second"])


def test_sweeps_over_few_lambdas_are_in_no_family(study):
    assert families(study(few=FULL | {"lambda2": [0, 0.5, 1]})) == []
    assert not compares_roundings(families(study(full=FULL)))


def test_the_arithmetic_is_named(study):
    (found,) = families(study(a=FULL, b=FULL | {"arithmetic": "stored"}))
    assert roundings([found]) == ["nearest", "nearest, stored"]
