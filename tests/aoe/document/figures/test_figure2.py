"""Figure 2: what is said of small tables."""

import pandas as pd
from aoe.document.figures.figure2 import draw, finding

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


def drawn(rows):
    table = pd.DataFrame(rows, columns=COLUMNS).assign(base="a", other="b")
    figure, means = draw({"differences": table}, SETTINGS | {"base": "a", "other": "b"})
    panels = [axis for axis in figure.axes if axis.get_title()]
    labels = [[label.get_text() for label in axis.get_xticklabels()] for axis in panels]
    return dict(zip([axis.get_title().replace("\n", " ") for axis in panels], labels, strict=True)), means


def test_every_group_of_matrices_has_a_panel():
    rows = [("linear_attention", 0, kind, 1.0) for kind in ("out_proj", "in_proj_qkvz", "A_log")]
    rows += [("routed_experts", 0, "down_proj", 1.0), ("indexer", 1, "wk", 1.0), ("dense_mlp", 0, "up_proj", 1.0)]
    panels, _ = drawn(rows)
    assert panels == {
        "routed experts": ["down"],
        "linear attention": ["in_proj_qkvz", "out"],
        "indexer": ["wk"],
    }


def test_a_dense_model_shows_its_mlps():
    panels, means = drawn([("dense_mlp", 0, "up_proj", 1.0), ("attention", 0, "Wqkv", 1.0), ("norms", 0, "norm", 1.0)])
    assert panels == {"dense mlp": ["up"], "attention": ["Wqkv"]}
    assert set(means.group) == {"dense_mlp", "attention"}
