"""Figures 7a and 7b: what is said of small tables."""

import math

import pandas as pd
from aoe.document.figures.figure7 import finding

TABLE = pd.DataFrame({"delta": [4, 0], "intelligence": [80.0, 85.5], "cost": [0.4, 0.5]})
TABLES = {"summary": pd.DataFrame([{"variant": "v3", "label": "V3", "intelligence": 70.0, "cost": 0.3}])}


def said(measure, table=TABLE):
    return finding(table, TABLES, {"measure": measure, "base": "v3"})


def test_the_finding_says_every_point_and_the_base_model():
    text = "Intelligence is 85.5 % at δ = 0 and 80.0 % at δ = 4; V3, where nothing is merged, has 70.0 %."
    assert said("intelligence") == text
    assert said("cost") == "Cost is 0.500 at δ = 0 and 0.400 at δ = 4; V3, where nothing is merged, has 0.300."


def test_variants_without_a_score_are_said():
    assert said("intelligence", TABLE.assign(intelligence=math.nan)) == "No variant has marks in every benchmark."
