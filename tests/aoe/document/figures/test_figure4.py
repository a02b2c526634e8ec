"""Figure 4: what is said of small tables."""

import math

import pandas as pd
from aoe.document.figures.figure4 import finding


def summary(**cheap):
    rows = [
        {"variant": "v3", "label": "V3", "intelligence": 70.0, "cost": 0.3},
        {"variant": "r1", "label": "R1", "intelligence": 99.0, "cost": 1.0},
        {"variant": "half", "label": "Half", "intelligence": 97.0, "cost": 0.54} | cheap,
    ]
    return pd.DataFrame(rows)


def said(table):
    return finding(table, {}, {"reference": "r1"})


def test_the_finding_names_the_cheapest_that_is_level():
    text = said(summary())
    assert "1 of the 2 others cost less and have at most 3 points less; the cheapest is Half: 97.0 % for 0.54" in text
    assert "No variant that costs less" in said(summary(intelligence=90.0))


def test_variants_without_a_score_are_said():
    ungraded = summary().assign(intelligence=[70.0, math.nan, 97.0])
    assert said(ungraded).startswith("R1 has no marks in some benchmark")
    assert "No variant has marks" in said(summary().assign(intelligence=math.nan))
