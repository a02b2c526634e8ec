"""Figure 9: what is said of small tables, and which variant the others are compared with."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
from aoe.document.figures.figure9 import finding, settings_of_study


def test_the_finding_tells_time_and_energy():
    table = pd.DataFrame({"variant": ["a", "a"], "at_once": [1, 8], "seconds_an_answer": [0.5, 2.0]})
    table["joules_an_answer"] = [math.nan, 5.25]
    table["tokens_an_answer"] = [50.0, 40.0]
    said = finding(table, {}, {"labels": {"a": "A"}})
    assert said.startswith("With 1 question at a time, an answer takes A 0.500 s; a token 10.0 to 10.0 ms. ")
    assert said.endswith("With 8 questions at a time, an answer takes A 2.00 s and 5.25 J; a token 50.0 to 50.0 ms.")


@pytest.mark.parametrize(("timed", "reference"), [(["v3", "r1"], "r1"), (["v3", "half"], "v3")])
def test_the_reference_is_the_studys_if_its_speed_is_measured(timed, reference):
    study = SimpleNamespace(content={"latency": {"variants": timed}}, reference="r1", label=str.upper)
    assert settings_of_study(study) == {"labels": {name: name.upper() for name in timed}, "reference": reference}
