"""Figure 5: what is said of small tables."""

import math

import pandas as pd
from aoe.document.figures.figure5 import finding


def said(table):
    return finding(table, {}, {})


def test_the_finding_names_the_ends_and_the_steepest_part():
    table = pd.DataFrame({"sweep": "full", "lambda2": [0, 0.5, 0.6, 1], "cost": [0.3, 0.4, 0.9, 1.0]})
    assert "from 0.30 at λ2 = 0 to 1.00 at λ2 = 1, most steeply between 0.5 and 0.6" in said(table)


def test_a_cost_that_does_not_change_has_no_steepest_part():
    flat = pd.DataFrame({"sweep": "full", "lambda2": [0, 1], "cost": [1.0, 1.0]})
    assert said(flat) == "In the sweep full, cost goes from 1.00 at λ2 = 0 to 1.00 at λ2 = 1."
    assert said(flat.assign(cost=math.nan)) == "No variant has a cost."


def test_the_finding_says_where_a_published_curve_is_left():
    table = pd.DataFrame({"sweep": "full", "lambda2": [0, 0.5, 1], "cost": [0.3, 0.4, 1.0]})
    table["published"] = [math.nan, 0.9, 1.1]
    settings = {"measure": "cost", "paper_curves": [{"sweep": "full", "points": [[0.5, 0.9], [1, 1.1]], "whose": "Wu"}]}
    text = finding(table, {}, settings)
    assert text.endswith(
        "From the curve that Wu published, the sweep full differs most at λ2 = 0.5: 0.40 here, 0.90 there."
    )
    settings["paper_curves"][0]["sweep"] = "experts"
    assert "published" not in finding(table, {}, settings)
