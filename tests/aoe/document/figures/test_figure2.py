"""Figure 2: what is said of small tables."""

import pandas as pd
from aoe.document.figures.figure2 import finding

COLUMNS = ["group", "layer", "kind", "codes"]
SETTINGS = {"space": "codes"}


def test_the_finding_names_the_largest_and_the_gates():
    rows = [("routed_experts", 1, "up_proj", 9.0), ("routed_experts", 2, "up_proj", 11.0)]
    rows += [("shared_experts", 1, "gate_proj", 1.0), ("shared_experts", 2, "gate_proj", 4.0)]
    said = finding(pd.DataFrame(rows, columns=COLUMNS), {}, SETTINGS)
    assert "routed experts (10.0) and shared experts (2.50)" in said
    assert "up_proj of the routed experts in layer 2 (11.0)" in said
    assert "from 1.00 in their first layer to 4.00 in their last" in said


def test_nothing_compared_is_said():
    assert finding(pd.DataFrame(columns=COLUMNS), {}, SETTINGS) == "No weights of these groups were compared."
