"""The section on λ: every number is out of the tables, and its conclusion is that of the test."""

import pandas as pd
import pytest
from aoe.document.meaning import meaning
from aoe.scores.explained import COLUMNS
from support.rounded import family, realized_table

ROW = {"family": "full", "weights": "", "roundings": 3, "variants": 33, "questions": 200}
ROW |= {f"explained{end}": value for end, value in (("", 0.9), ("_low", 0.88), ("_high", 0.92))}
ROW |= {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.15, "residual": 0.02, "likelihood_ratio": 9.0, "p_value": 0.2}


def explained(**model):
    return pd.DataFrame([ROW | {"over": "asked", "p_value": 0.0005}, ROW | {"over": "model"} | model], columns=COLUMNS)


def test_the_table_says_where_each_rounding_is_farthest_off():
    found = meaning([family()], realized_table(), None)
    assert found["groups"] == ["routed experts", "attention"] and found["tests"] == []
    rows = {row[0][0]: row[1:] for row in found["rows"]}
    assert rows["nearest"] == [["−0.191", "at 0.4"], ["+0.475", "at 0.525"], ["0.440"]]
    assert rows["unrounded"] == [["0.000"], ["0.000"], ["0.000"]]


@pytest.mark.parametrize(
    ("model", "concluded"),
    [
        ({}, "Given the realized λ2, the test sees no difference between the roundings."),
        ({"p_value": 0.01}, "The realized λ2 explains more than the asked one, but the roundings still differ."),
        ({"p_value": 0.01, "gain_low": -0.1}, "The realized λ2 does not explain more than the asked one."),
    ],
)
def test_the_conclusion_is_that_of_the_test(model, concluded):
    (said,) = meaning([family()], realized_table(), explained(**model))["tests"]
    assert said.startswith(
        "Sweeps full (33 variants, 3 roundings): one curve that never falls explains 90.0 (88.0–92.0) %"
    )
    assert "a p-value of 0.00050 over the asked λ2 and " in said
    assert said.endswith(concluded)


def test_the_weights_of_groups_are_named():
    extra = pd.DataFrame([ROW | {"over": "groups", "weights": "0.4 (attention) + 0.6 (routed experts)"}])
    (said,) = meaning([family()], realized_table(), pd.concat([explained(), extra]))["tests"]
    assert "0.4 (attention) + 0.6 (routed experts)" in said and "over the weighted λ2" in said


def test_a_study_without_sweeps_has_no_section():
    assert meaning([], realized_table(), None) == {}
