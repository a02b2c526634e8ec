"""The list of norms: what each computes from a tensor's sums, and that everything which names norms follows it."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from aoe import AoeError, norms
from aoe.claims.norms import shares_above
from aoe.merging.recipe import read_recipe
from aoe.numerics.kernels import Sums
from launcher.schemas import read_schema

SUMS = Sums(size=400.0, change=36.0, code_change=144.0)
SIXTH = replace(norms.NORMS[0], name="sixth", of_sums=lambda sums, elements: sums.change / elements, audit_order=0)


def test_norms_of_sums():
    found = norms.measured(SUMS, 4)
    assert found.items() >= {"normalized": 3.0, "frobenius": 6.0, "codes": 6.0, "relative": 0.3}.items()
    assert list(found) == norms.names()


def test_norms_without_numbers_or_size():
    assert set(norms.measured(Sums(0.0, 0.0, 0.0), 0).values()) == {0.0}
    assert norms.measured(Sums(0.0, 4.0, 4.0), 1)["relative"] == math.inf


def test_names_and_places_in_the_audits_order_are_used_once():
    assert len(set(norms.names())) == len({norm.audit_order for norm in norms.NORMS}) == len(norms.NORMS)
    assert [norm.name for norm in norms.in_audit_order()][:4] == ["codes", "normalized", "frobenius", "relative"]


def test_an_unknown_norm_is_refused():
    with pytest.raises(AoeError, match="norm 'l1' is unknown; known ones are normalized, frobenius, codes"):
        norms.norm("l1")


def test_one_more_norm_is_one_more_entry(monkeypatch):
    monkeypatch.setattr(norms, "NORMS", (*norms.NORMS, SIXTH))
    assert norms.measured(SUMS, 4)["sixth"] == 9.0
    assert norms.in_audit_order()[0] == norms.norm("sixth")
    assert read_schema("study")["$defs"]["space"]["enum"] == norms.names()
    entry = {"base": "a", "weights": {"b": 1}, "threshold": {"delta": 2, "space": "sixth"}}
    assert read_recipe("test", entry, ["a", "b"]).threshold.space == "sixth"
    table = pd.DataFrame({"group": ["norms"], **{key: [3.0] for key in norms.names()}})
    assert "sixth" in set(shares_above(table, [1.0]).space)
