"""Figure 8: what is said of small tables."""

import math

import pandas as pd
from aoe.document.figures.figure8 import finding


def test_the_finding_compares_the_assembled_model_with_its_parents():
    row = {"variant": ["v3", "r1t"], "label": ["V3", "R1T"], "aime2024_percent": [50.0, math.nan], "cost": [0.3, 0.7]}
    said = finding(pd.DataFrame(row), {}, {"assembled": "r1t"})
    assert said == "R1T: AIME-2024 – % (V3 50.0); cost 0.70 (V3 0.30)."
