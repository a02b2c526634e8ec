"""The summary against values computed by hand from a few answers."""

import pandas as pd
import pytest
from aoe import AoeError
from aoe.document import paper
from aoe.scores.summary import Answers, categories, compare, fit_transitions, summarize, unreadable, with_realized

SETTINGS = {"intelligence": ["a", "b"], "reference": "r1", "resamples": 200, "seed": 1}


def answers(variant, benchmark, rows):
    """rows: (question, turn, right, tokens, closing tags, finish)."""
    names = ["question", "turn", "right", "tokens", "closing_tags", "finish"]
    return pd.DataFrame(rows, columns=names).assign(variant=variant, benchmark=benchmark, sample=1)


@pytest.fixture
def scores():
    return pd.concat(
        [
            answers("r1", "a", [(1, 1, True, 20, 1, "stop"), (2, 1, True, 40, 1, "stop")]),
            answers("r1", "b", [(1, 1, True, 20, 1, "stop"), (1, 2, False, 20, 1, "stop")]),
            answers("v3", "a", [(1, 1, True, 10, 0, "stop"), (2, 1, False, 10, 2, "max_tokens")]),
            answers("v3", "b", [(1, 1, False, 5, 0, "stop"), (1, 2, False, 5, 0, "stop")]),
        ]
    )


def test_values_by_hand(scores):
    table = summarize(scores, [{"variant": "v3"}, {"variant": "r1"}], SETTINGS).set_index("variant")
    assert list(table.index) == ["v3", "r1"]
    v3, r1 = table.loc["v3"], table.loc["r1"]
    assert (v3.a_percent, v3.b_percent, v3.intelligence) == (50, 0, 25)
    assert (r1.a_percent, r1.b_percent, r1.intelligence) == (100, 50, 75)
    assert (v3.cost, r1.cost) == (0.3, 1.0)  # 30 tokens against 100
    assert (v3.tokens_per_answer, r1.tokens_per_answer) == (7.5, 25)
    assert v3.closing == pytest.approx(1 / 3, abs=1e-4)  # two tags in one answer count once; one of three questions
    assert (v3.cut_off, r1.cut_off) == (0.25, 0)
    assert (r1.cost_low, r1.cost_high) == (1, 1)
    for measure in ("a_percent", "intelligence", "cost", "closing"):
        assert v3[f"{measure}_low"] <= v3[measure] <= v3[f"{measure}_high"]


def test_transitions_of_a_sharp_step():
    parts = []
    for lambda2 in (0, 0.4, 0.5, 0.6, 1):
        closed = int(lambda2 > 0.45)
        rows = [(question, 1, True, 10 + 30 * closed, closed, "stop") for question in range(8)]
        parts.append(answers(f"v{lambda2}", "a", rows))
    points = [{"lambda2": lambda2, "variant": f"v{lambda2}"} for lambda2 in (0, 0.4, 0.5, 0.6, 1)]
    fitted, curves = fit_transitions(
        pd.concat(parts), {"full": points}, SETTINGS | {"reference": "v1", "intelligence": ["a"]}
    )
    closing = fitted.set_index("measure").loc["closing"]
    assert 0.4 < closing.midpoint < 0.5
    assert closing.midpoint_low <= closing.midpoint <= closing.midpoint_high
    cost = fitted.set_index("measure").loc["cost"]
    assert (cost.bottom, cost.top) == pytest.approx((0.25, 1.0), abs=0.01)
    assert fitted.residual.max() < 0.01
    assert set(curves.measure) == {"closing", "cost", "intelligence"}


def test_without_sweeps_the_tables_are_empty(scores):
    fitted, curves = fit_transitions(scores, {}, SETTINGS)
    assert fitted.empty and curves.empty


def test_questions_that_are_asked_several_times_count_once():
    """The mean over the samples; question 10 comes after question 9, whatever their order in the table."""
    once = answers("a", "x", [("9", 1, True, 10, 1, "stop"), ("10", 1, False, 20, 0, "stop")])
    again = answers("a", "x", [("10", 1, True, 40, 1, "stop"), ("9", 1, True, 30, 1, "stop")]).assign(sample=2)
    (table,) = Answers(pd.concat([again, once])).of("a")
    assert table.tolist() == [[1, 20, 1], [0.5, 30, 0.5]]


def test_pairs_are_compared_question_by_question():
    """Nine of ten questions differ one way: of the 2¹⁰ choices of signs, 1 + 10 + 10 + 1 are as far from 0."""
    first = answers("a", "x", [(q, 1, q != 0, 30, 1, "stop") for q in range(10)])
    second = answers("b", "x", [(q, 1, q == 0, 20, 1, "stop") for q in range(10)])
    table = compare(pd.concat([first, second]), [("a", "b")], SETTINGS | {"intelligence": ["x"], "resamples": 5000})
    table = table.set_index("measure")
    assert table.loc["x"].difference == table.loc["intelligence"].difference == 80
    assert table.loc["tokens"].difference == 10
    assert table.loc["x"].p_value == pytest.approx(22 / 1024, abs=1e-4)
    assert table.loc["tokens"].p_value == pytest.approx(2 / 1024, abs=1e-4)
    assert table.loc["x"].difference_low < 80 < table.loc["x"].difference_high


def test_variants_that_were_asked_other_questions_are_not_compared():
    first = answers("a", "x", [("1", 1, True, 10, 1, "stop")])
    second = answers("b", "x", [("2", 1, True, 10, 1, "stop")])
    with pytest.raises(AoeError, match="a and b were not asked the same questions"):
        compare(pd.concat([first, second]), [("a", "b")], SETTINGS)
    assert compare(first, [], SETTINGS).empty


def test_few_graded_questions_still_have_an_interval():
    rows = [(str(q), 1, 1.0 if q < 2 else 0.0 if q < 4 else None, 10, 1, "stop") for q in range(60)]
    settings = SETTINGS | {"intelligence": ["x"], "reference": "a"}
    (row,) = summarize(answers("a", "x", rows), [{"variant": "a"}], settings).itertuples()
    assert (row.intelligence_low, row.intelligence, row.intelligence_high) == (0, 50, 100)


def test_equal_variants_do_not_differ_and_many_pairs_are_allowed_for(scores):
    table = compare(scores, [("v3", "r1"), ("r1", "v3"), ("r1", "r1")], SETTINGS)
    same = table[table.other == table.variant]
    assert (same.difference == 0).all() and (same.p_value == 1).all()
    assert (table.p_adjusted >= table.p_value).all()


def test_questions_that_nobody_could_grade_do_not_count():
    rows = [("1", 1, 1.0, 10, 1, "stop"), ("2", 1, None, 10, 1, "stop"), ("3", 1, 0.0, 10, 1, "max_tokens")]
    table = pd.concat([answers("a", "x", rows), answers("b", "x", rows[::-1])]).assign(category="math")
    a, *_ = categories(table).itertuples()
    assert (a.variant, a.category, a.turn, a.percent, a.answers, a.ungraded, a.cut_off) == ("a", "math", 1, 50, 3, 1, 1)
    summary = summarize(
        table, [{"variant": "a"}, {"variant": "b"}], SETTINGS | {"intelligence": ["x"], "reference": "b"}
    )
    assert summary.intelligence.tolist() == [50, 50]
    compared = compare(table, [("a", "b")], SETTINGS | {"intelligence": ["x"]}).set_index("measure")
    assert compared.loc["x"].questions == 2 and compared.loc["tokens"].questions == 3


def test_unreadable_answers_are_counted_for_every_variant_and_benchmark():
    places = [("half", "gpqa_diamond"), ("half", "gpqa_diamond"), ("half", "mt_bench"), ("r1", "gpqa_diamond")]
    table = pd.DataFrame(places, columns=["variant", "benchmark"])
    table = unreadable(
        table.assign(unreadable=[True, True, False, False], finish=["max_tokens", "stop", "stop", "stop"])
    )
    assert table.to_numpy().tolist() == [
        ["half", "gpqa_diamond", 2, 2, 1],
        ["half", "mt_bench", 1, 0, 0],
        ["r1", "gpqa_diamond", 1, 0, 0],
    ]


def test_the_page_lists_the_variants_with_unreadable_answers():
    columns = ["variant", "benchmark", "answers", "unreadable", "cut_off"]
    table = pd.DataFrame([["half", "mt_bench", 4, 1, 1], ["r1", "mt_bench", 4, 0, 0]], columns=columns)
    shown = paper.unreadable(table, {"half": "Half", "r1": "R1"})
    assert shown == {
        "answers": 8,
        "unreadable": 1,
        "cut_off": 1,
        "benchmarks": ["MT-Bench"],
        "rows": [["Half", "1 of 4", "1"]],
    }


def test_realized_lambdas_of_models_are_joined():
    """R1T copies only; the third parent is in no mixture of `half`, where its λ is 0."""
    rows = [("half", "model", "v3", 0.6, 0.4), ("half", "model", "r1", 0.4, 0.4), ("half", "group", "r1", 0.1, 0.9)]
    rows += [
        ("thirds", "model", "v3", 0.3, 0.2),
        ("thirds", "model", "r1", 0.31, 0.2),
        ("thirds", "model", "x", 0.39, 0.2),
    ]
    realized = pd.DataFrame(rows, columns=["variant", "level", "parent", "realized", "noise"])
    summary = pd.DataFrame({"variant": ["thirds", "r1t", "half"], "cost": [1, 2, 3]})
    table = with_realized(summary, realized, ["v3", "r1", "x"]).set_index("variant")
    assert list(table.columns) == ["cost", "realized_v3", "realized_r1", "realized_x", "rounding_noise"]
    assert table.loc["half"].tolist() == [3, 0.6, 0.4, 0, 0.4] and table.loc["thirds"].tolist() == [
        1,
        0.3,
        0.31,
        0.39,
        0.2,
    ]
    assert table.loc["r1t"].isna().tolist() == [False, True, True, True, True]


def test_the_pages_say_where_lambdas_are_not_as_asked(scores):
    table = summarize(scores, [{"variant": "v3", "label": "", "weights": "", "subset": "", "delta": 0}], SETTINGS)
    rows = [("v3", "attention", "a", 0.5, 0.9), ("v3", "attention", "b", 0.5, 0.1)]
    realized = pd.DataFrame(rows, columns=["variant", "group", "parent", "asked", "realized"])
    assert [row["realized"] for row in paper.variants(table, realized)] == ["0.10 in attention"]
    assert [row["realized"] for row in paper.variants(table)] == [""]


def test_the_pages_show_steps_by_group():
    columns = ["base", "other", "group", "elements", "steps_0", "steps_1", "steps_2", "steps_3", "steps_more"]
    rows = [
        ["v3", "r1", "routed_experts", 100, 40, 10, 10, 0, 40],
        ["v3", "r1", "routed_experts", 100, 0, 90, 10, 0, 0],
    ]
    rows += [["v3", "r1", "norms", 8, 8, 0, 0, 0, 0], ["v3", "x", "norms", 8, 0, 8, 0, 0, 0]]
    (shown,) = paper.steps(pd.DataFrame(rows, columns=columns), {"base": "v3", "other": "r1"})
    assert list(shown.values()) == ["routed experts", "20.0 %", "50.0 %", "10.0 %", "0.0 %", "20.0 %"]
    assert paper.steps(pd.DataFrame(columns=columns), {}) == []
