"""What a prediction says in sentences, of curves that jump and of curves that do not."""

import numpy as np
import pandas as pd
import pytest
from aoe.document import predicted
from aoe.merging.rounding.prediction import REALIZED_SUMS
from aoe.scores.predicted import codes_table, realized_table, steps_table, threshold_table

ASKED = [0.3, 0.49, 0.499, 0.5, 0.501, 0.51, 0.7]
CODES = {"compared": 2, "left_out": 0, "identical": 0, "elements": 100, "squared_codes": 400}
CODES |= {"steps_0": 60, "steps_1": 30, "steps_2": 5, "steps_3": 3, "steps_more": 2}
CODES |= {"one_step": 30, "one_step_base": 18, "one_step_other": 12}


def tables(steepness, even=15):
    """The tables of a prediction: attention makes a step at 0.5, routed experts one as steep as ``steepness``."""
    rows = []
    for group, slope in (("attention", 5000), ("routed_experts", steepness)):
        for rounded in ("nearest", "balanced"):
            for asked in ASKED:
                found = asked if rounded == "balanced" else (1 + np.tanh(slope * (asked - 0.5) / 2)) / 2
                place = {"sweep": "full", "delta": 0.0, "rounded": rounded, "group": group, "layer": 1}
                size = 1.0 if group == "attention" else 9.0
                sums = dict.fromkeys(REALIZED_SUMS, 10.0) | {"size": size, "product": found * size}
                rows.append(place | {"lambda2": asked} | sums)
    realized = realized_table(pd.DataFrame(rows).astype({"layer": "Int64"}))
    place = {"layer": 1, "dtype": "F8_E4M3"}
    codes = codes_table(
        pd.DataFrame([{"group": group, **place, **CODES, "one_step_even": even} for group in ("attention", "norms")])
    )
    threshold = threshold_table(realized, codes)
    return {"realized": realized, "steps": steps_table(realized), "codes": codes, "threshold": threshold}


def said(found):
    return " ".join(sentence for part in predicted.sentences(found).values() for sentence in part)


def test_a_jump_is_said_to_lie_at_a_half():
    text = said(tables(5000))
    assert "must jump at exactly 0.5, between 0.499 and 0.501: the realized λ2 is 0.007 at 0.499" in text
    assert "makes no jump" not in text
    assert "stays within 0.010 of the asked one" in text


def test_a_gradual_change_is_no_jump_but_a_group_may_make_one():
    text = said(tables(5))
    assert "Rounding alone (nearest) makes no jump of all merged weights that is narrower than 0.02" in text
    assert "If behaviour depends on attention, `</think>` must jump at exactly 0.5, between 0.499 and 0.501." in text


@pytest.mark.parametrize(("even", "words"), [(15, "ties to even do not decide: the new"), (28, "ties to even decide.")])
def test_what_decides_ties(even, words):
    text = said(tables(5, even))
    assert words in text and "60.0 % are the base's, 40.0 % the other parent's and 0.0 % neither" in text


def test_it_is_drawn_and_written():
    found = tables(5)
    figure, data = predicted.draw(found)
    assert len(figure.axes) >= 3 and set(data.rounded) == {"nearest", "balanced"}
    assert ["full", "nearest", "attention"] in [row[:3] for row in predicted.steps(found["steps"])]
    assert len(predicted.codes(found["codes"])) == 2 and predicted.threshold(found["threshold"]) == []
