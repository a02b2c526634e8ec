"""Figure 3: what is said of small tables."""

import pandas as pd
from aoe.document.figures.figure3 import finding

SETTINGS = {"space": "codes", "paper_values": [(1.5, "paper")]}


def test_the_finding_says_what_a_threshold_would_let_in():
    table = pd.DataFrame({"group": ["attention"] * 4, "codes": [1.0, 2.0, 3.0, 4.0]})
    said = finding(table, {}, SETTINGS)
    assert said == "Medians: attention 2.50. A threshold δ of 1.5 would let 75 % of the attention into a merge."


def test_no_differences_are_said():
    assert finding(pd.DataFrame(columns=["group", "codes"]), {}, SETTINGS) == "No weights of these groups differ."
