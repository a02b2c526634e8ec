"""Figure 11: a panel a group, and one of simulated parents."""

import pandas as pd
from aoe.document import drawing
from aoe.document.figures.figure11 import SIMULATED, draw, finding
from support.rounded import ASKED, family, realized_table

SETTINGS = {"families": [family(), family(name="experts")]}
CURVE = pd.DataFrame({"difference": 1.5, "lambda2": [0.4, 0.6], "realized": [0.0, 1.0], "noise": 0.4, "same": 0.5})
TABLES = {"realized": realized_table(), "simulated": CURVE}


def test_every_group_has_a_panel_with_a_line_a_rounding(tmp_path):
    figure, table = draw(TABLES, SETTINGS)
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == ["routed experts", "attention", "simulated, nearest"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nearest", "stochastic", "unrounded"]
    lines = {line.get_label(): line for line in shown[1].get_lines()}
    assert lines["nearest"].get_ydata()[1] < 0.01 and lines["nearest"].get_ydata()[-2] > 0.99
    assert list(lines["unrounded"].get_ydata()) == list(lines["unrounded"].get_xdata())
    assert (table.group == SIMULATED).sum() == len(CURVE)
    # weights of two families that are the same are shown once
    assert len(table) == 2 * 3 * (len(ASKED) + 2) + len(CURVE)
    drawing.save(figure, table, [tmp_path / "figure.png"])


def test_the_finding_names_where_each_group_is_farthest_off():
    _, table = draw(TABLES, SETTINGS)
    said = finding(table, TABLES, SETTINGS)
    assert said.startswith("By rounding: nearest: farthest from the asked λ2 are attention 1.000 at 0.525 and routed ")
    assert "; unrounded: within 0.01 of the asked λ2 in every group." in said


def test_nothing_merged_is_said():
    table = pd.DataFrame(columns=["rounded", "group", "asked", "realized"])
    assert finding(table, TABLES, SETTINGS) == "No weights of these groups were merged."
