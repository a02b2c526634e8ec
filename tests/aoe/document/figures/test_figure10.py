"""Figures 10a and 10b: every point is drawn and said, over both λ2."""

import pandas as pd
import pytest
from aoe.document import drawing
from aoe.document.figures.figure10 import draw, finding
from aoe.scores.summary import summarize
from support.rounded import ASKED, family, realized_lambdas, realized_table, scores_table, step

SETTINGS = {"resamples": 100, "seed": 1, "intelligence": ["a"], "reference": "r1"}


@pytest.fixture(scope="module")
def tables():
    scores = scores_table(lambda rounded, asked: step(realized_lambdas(rounded, asked)["model"], 12))
    summary = summarize(scores, [{"variant": variant} for variant in scores.variant.unique()], SETTINGS)
    return {"summary": summary, "realized": realized_table()}


@pytest.mark.parametrize("measure", ["closing", "cost"])
def test_every_rounding_is_drawn_over_both_lambdas(tables, measure, tmp_path):
    settings = {"measure": measure, "families": [family(), family(name="experts")], "explained": False}
    figure, table = draw(tables, settings)
    assert len(table) == 2 * 3 * (len(ASKED) + 2)
    panels = figure.axes
    assert len(panels) == 4
    assert [panel.get_title() for panel in panels[:2]] == ["asked λ$_2$", "realized λ$_2$"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nearest", "stochastic", "unrounded"]
    for panel, over in zip(panels[:2], ("asked", "model"), strict=True):
        drawn = panel.containers[0].lines[0].get_xdata()
        assert sorted(drawn) == sorted(table[(table.family == "full") & (table.rounded == "nearest")][over])
        left, right = panel.get_xlim()
        assert left < 0.3 and right > 0.7
    drawing.save(figure, table, [tmp_path / "figure.png"])


def test_the_finding_says_how_far_the_roundings_are_apart(tables):
    settings = {"measure": "closing", "families": [family()], "explained": False}
    _, table = draw(tables, settings)
    said = finding(table, tables, settings)
    assert said.startswith("In the sweeps full, the roundings are farthest apart at the asked λ2 = 0.")
    over = [float(part.split(" points")[0].split()[-1]) for part in said.split(" over the ")[:2]]
    assert over[0] > 3 * over[1]  # one curve, over the realized λ2


def test_groups_are_weighted_where_that_explains_more(tables, tmp_path):
    """The third panel of the first family, as explained.csv has it; the other one has none."""
    words = "0.8 (routed experts) + 0.2 (attention)"
    explained = pd.DataFrame({"family": ["full", "full"], "over": ["asked", "groups"], "weights": [None, words]})
    settings = {"measure": "closing", "families": [family(), family(name="experts")], "explained": True}
    figure, table = draw({**tables, "explained": explained}, settings)
    assert [bool(panel.lines) for panel in figure.axes] == [True] * 5 + [False]
    assert [panel.axison for panel in figure.axes] == [True] * 5 + [False]
    assert figure.axes[2].get_title() == "realized λ$_2$\n(weighted)"
    own = table[(table.family == "full") & (table.rounded == "nearest") & (table.asked == 0.49)].iloc[0]
    found = realized_lambdas("nearest", 0.49)
    assert own.groups == pytest.approx(0.8 * found["routed_experts"] + 0.2 * found["attention"])
    assert table[table.family == "experts"].groups.isna().all()
    assert " over the realized λ2 (weighted)." in finding(table, tables, settings)
    drawing.save(figure, table, [tmp_path / "figure.png"])


def test_a_single_rounding_is_compared_with_what_was_asked():
    table = pd.DataFrame({"family": "full", "rounded": "nearest", "asked": [0.4, 0.49], "model": [0.3, 0.1]})
    said = finding(table.assign(closing=0.5, variant=["a", "b"]), {}, {"measure": "closing"})
    assert said == "In the sweep full, realized and asked λ2 differ most at 0.49, where the model has 0.100."
