"""What captions say, word by word, of small tables; and that it changes with them."""

import math

import pandas as pd
import pytest
from aoe.document import findings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4968, "0.497"),
        (0, "0"),
        (1.0, "1.00"),
        (53.7148, "53.7"),
        (91991, "91,991"),
        (-7.2266, "−7.23"),
        (1.576e-15, "1.6·10⁻¹⁵"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0051653, "0.00517"),
        (0.04661, "0.0466"),
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert findings.number(value) == text


def test_intervals_and_lists():
    assert findings.interval(0.4968, 0.4942, 0.4994) == "0.497 (0.494–0.499)"
    assert findings.interval(-7.2266, -10.1562, -4.6875) == "−7.23 (−10.2 to −4.69)"
    assert findings.interval(0.5, math.nan, math.nan) == "0.500"
    assert [findings.listed(parts) for parts in ([], ["a"], ["a", "b", "c"])] == ["none", "a", "a, b and c"]


def test_figure2_names_the_largest_and_the_gates():
    rows = [("routed_experts", 1, "up_proj", 9.0), ("routed_experts", 2, "up_proj", 11.0)]
    rows += [("shared_experts", 1, "gate_proj", 1.0), ("shared_experts", 2, "gate_proj", 4.0)]
    said = findings.figure2(pd.DataFrame(rows, columns=["group", "layer", "kind", "codes"]), "codes")
    assert "routed experts (10.0) and shared experts (2.50)" in said
    assert (
        "up_proj of the routed experts in layer 2 (11.0)" in said
        and "from 1.00 in their first layer to 4.00 in their last" in said
    )


def test_figure3_says_what_a_threshold_would_let_in():
    table = pd.DataFrame({"group": ["attention"] * 4, "codes": [1.0, 2.0, 3.0, 4.0]})
    said = findings.figure3(table, "codes", [1.5])
    assert said.endswith("A threshold δ of 1.5 would let 75 % of the attention into a merge.")


def summary(**cheap):
    rows = [
        {"variant": "v3", "label": "V3", "intelligence": 70.0, "cost": 0.3},
        {"variant": "r1", "label": "R1", "intelligence": 99.0, "cost": 1.0},
        {"variant": "half", "label": "Half", "intelligence": 97.0, "cost": 0.54} | cheap,
    ]
    return pd.DataFrame(rows)


def test_figure4_names_the_cheapest_that_is_level():
    said = findings.figure4(summary(), "r1")
    assert "1 of the 2 others cost less and have at most 3 points less; the cheapest is Half: 97.0 % for 0.54" in said
    assert "No variant that costs less" in findings.figure4(summary(intelligence=90.0), "r1")
    ungraded = summary().assign(intelligence=[70.0, math.nan, 97.0])
    assert findings.figure4(ungraded, "r1").startswith("R1 has no marks in some benchmark")
    assert "No variant has marks" in findings.figure4(summary().assign(intelligence=math.nan), "r1")


def test_figures_over_lambda():
    points = {"sweep": "full", "lambda2": [0, 0.5, 0.6, 1], "cost": [0.3, 0.4, 0.9, 1.0], "closing": [0, 0.2, 0.9, 1]}
    table = pd.DataFrame(points)
    assert "from 0.30 at λ2 = 0 to 1.00 at λ2 = 1, most steeply between 0.5 and 0.6" in findings.figure5(table)
    fit = {"sweep": "full", "measure": "closing", "midpoint": 0.53, "midpoint_low": 0.52, "midpoint_high": 0.54}
    said = findings.figure6(table, pd.DataFrame([fit | {"width": 0.1}]), [(0.504, "paper")])
    assert "0.530 (0.520–0.540), from 20.0 % at 0.5 to 90.0 % at 0.6" in said
    assert said.endswith("Published were 0.504 (the paper).")


def test_figures_over_delta_and_the_assembled_model():
    table = pd.DataFrame({"delta": [4, 0], "intelligence": [80.0, 85.5], "cost": [0.4, 0.5]})
    base = pd.Series({"label": "V3", "intelligence": 70.0, "cost": 0.3})
    said = findings.figure7(table, "intelligence", base)
    assert said == "Intelligence is 85.5 % at δ = 0 and 80.0 % at δ = 4; V3, where nothing is merged, has 70.0 %."
    assert findings.figure7(table, "cost", base).startswith("Cost is 0.500 at δ = 0")
    marks = pd.DataFrame(
        {"variant": ["v3", "r1t"], "label": ["V3", "R1T"], "aime2024_percent": [50.0, math.nan], "cost": [0.3, 0.7]}
    )
    assert findings.figure8(marks, "r1t") == "R1T: AIME-2024 – % (V3 50.0); cost 0.70 (V3 0.30)."


def test_a_step_that_is_not_there_is_not_told():
    table = pd.DataFrame({"sweep": "full", "lambda2": [0, 0.5, 1], "closing": [0, 0.0, 0.02]})
    for midpoint, width in ((2.0, 0.1), (0.5, 9.0)):
        fit = {"sweep": "full", "measure": "closing", "midpoint": midpoint, "midpoint_low": 1.9, "midpoint_high": 2.1}
        said = findings.figure6(table, pd.DataFrame([fit | {"width": width}]), [])
        assert said == "In the sweep full, there is no step: the tag is closed in 0.0 % at 0 and 2.0 % at 1."


def test_tables_with_nothing_in_them():
    empty = pd.DataFrame(columns=["group", "layer", "kind", "codes"])
    assert findings.figure2(empty, "codes") == "No weights of these groups were compared."
    assert findings.figure3(empty, "codes", [1.5]) == "No weights of these groups differ."
    flat = pd.DataFrame({"sweep": "full", "lambda2": [0, 1], "cost": [1.0, 1.0]})
    assert findings.figure5(flat) == "In the sweep full, cost goes from 1.00 at λ2 = 0 to 1.00 at λ2 = 1."
    assert findings.figure5(flat.assign(cost=math.nan)) == "No variant has a cost."
    assert [findings.counted(amount, "claim") for amount in (1, 2)] == ["1 claim", "2 claims"]


def test_figure9_tells_time_and_energy():
    table = pd.DataFrame({"variant": ["a", "a"], "at_once": [1, 8], "seconds_an_answer": [0.5, 2.0]})
    table["joules_an_answer"] = [math.nan, 5.25]
    table["tokens_an_answer"] = [50.0, 40.0]
    said = findings.figure9(table, {"a": "A"})
    assert said.startswith("With 1 question at a time, an answer takes A 0.500 s; a token 10.0 to 10.0 ms. ")
    assert said.endswith("With 8 questions at a time, an answer takes A 2.00 s and 5.25 J; a token 50.0 to 50.0 ms.")
