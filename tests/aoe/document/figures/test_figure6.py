"""Figure 6: what is said of small tables."""

import pandas as pd
import pytest
from aoe.document.figures.figure6 import finding


def said(table, paper_values=(), **fit):
    row = {"sweep": "full", "measure": "closing", "midpoint_low": 0.52, "midpoint_high": 0.54}
    return finding(table, {"transitions": pd.DataFrame([row | fit])}, {"paper_values": paper_values})


def test_the_finding_says_where_the_tag_appears():
    table = pd.DataFrame({"sweep": "full", "lambda2": [0, 0.5, 0.6, 1], "closing": [0, 0.2, 0.9, 1]})
    text = said(table, [(0.504, "paper")], midpoint=0.53, width=0.1)
    assert "0.530 (0.520–0.540), from 20.0 % at 0.5 to 90.0 % at 0.6; the step is 0.100 wide" in text
    assert text.endswith("Published were 0.504 (the paper).")


@pytest.mark.parametrize(("midpoint", "width"), [(2.0, 0.1), (0.5, 9.0)])
def test_a_step_that_is_not_there_is_not_told(midpoint, width):
    table = pd.DataFrame({"sweep": "full", "lambda2": [0, 0.5, 1], "closing": [0, 0.0, 0.02]})
    text = said(table, midpoint=midpoint, width=width)
    assert text == "In the sweep full, there is no step: the tag is closed in 0.0 % at 0 and 2.0 % at 1."
