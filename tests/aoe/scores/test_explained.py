"""The test of what realized λ2 explain, with answers whose cause is known."""

import numpy as np
import pandas as pd
import pytest
from aoe import AoeError
from aoe.scores.explained import deviance, explain, rising
from aoe.scores.realized import by_group, points, read_realized
from support.rounded import ASKED, family, realized_lambdas, realized_table, scores_table, step

SETTINGS = {"resamples": 100, "seed": 1}


def explained(share, **options):
    scores = scores_table(share, **options)
    return explain(scores, [family()], realized_table(), SETTINGS).set_index("over")


def test_the_curve_never_falls_and_pools_what_stands_at_one_place():
    fitted = rising(np.array([0.5, 0.1, 0.3, 0.5]), np.array([0.2, 0.1, 0.6, 0.8]))
    assert fitted == pytest.approx([1.6 / 3, 0.1, 1.6 / 3, 1.6 / 3])  # 0.6 lies above the mean 0.5 of the last place


def test_the_deviance_is_that_of_the_binomial_likelihood():
    def likelihood(share):
        return 3 * np.log(share) + 7 * np.log(1 - share)

    found = deviance(np.array([0.3]), np.array([0.5]), 10)
    assert found == pytest.approx(2 * (likelihood(0.3) - likelihood(0.5)))
    assert deviance(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 10) == 0


def test_realized_lambdas_are_found_where_they_are_the_cause():
    table = explained(lambda rounded, asked: step(realized_lambdas(rounded, asked)["model"], 12))
    assert table.p_value["model"] > 0.05 > table.p_value["asked"]
    assert table.gain["model"] > 0.1 and table.gain_low["model"] > 0
    assert table.explained["model"] > 0.97 > 0.9 > table.explained["asked"]
    assert table.p_value["attention"] < 0.05  # whose realized λ2 are others
    assert list(table.index) == ["asked", "model", "routed_experts", "attention", "groups"]
    assert (table.roundings["asked"], table.variants["asked"], table.questions["asked"]) == (3, 3 * len(ASKED), 200)


def test_realized_lambdas_are_refused_where_the_asked_ones_are_the_cause():
    table = explained(lambda rounded, asked: step(asked, 30))
    assert table.p_value["asked"] > 0.05
    assert (table.p_value.drop("asked") < 0.05).all()
    assert (table.gain_high.drop("asked") < 0).all()


def test_the_weights_of_groups_are_found():
    def share(rounded, asked):
        found = realized_lambdas(rounded, asked)
        return step(0.3 * found["attention"] + 0.7 * found["routed_experts"], 10)

    table = explained(share, questions=2000)
    assert table.p_value["groups"] > 0.05 > table.p_value["model"]
    weight = float(table.weights["groups"].split(" (routed experts)")[0])
    assert weight == pytest.approx(0.7, abs=0.15)


def test_another_cause_than_any_lambda_is_not_explained():
    table = explained(lambda rounded, asked: step(asked + 0.1 * (rounded == "stochastic"), 20))
    assert (table.p_value < 0.05).all()


def test_p_values_are_small_as_often_as_they_say():
    """Of tables in which the hypothesis holds, one in ten has p ≤ 0.1; 30 such tables have more than 8 once in 500."""
    share = {
        (rounded, asked): step(realized_lambdas(rounded, asked)["model"], 12)
        for rounded in ("nearest", "stochastic")
        for asked in ASKED
    }
    pair = family(("nearest", "stochastic"))
    realized = realized_table()
    realized = realized[realized.level == "model"]
    found = []
    for seed in range(30):
        scores = scores_table(lambda *place: share[place], seed, 100, ("nearest", "stochastic"))
        table = explain(scores, [pair], realized, {"resamples": 100, "seed": seed}).set_index("over")
        found.append(table.p_value["model"])
    assert sum(value <= 0.1 for value in found) <= 8
    assert np.mean(found) > 0.3


def test_one_rounding_alone_is_not_tested():
    assert explain(scores_table(lambda *_: 0.5), [family(["nearest"])], realized_table(), SETTINGS).empty


def test_other_questions_are_refused():
    scores = scores_table(lambda *_: 0.5)
    scores = scores[(scores.variant != "nearest-0.4") | (scores.question != 7)]
    with pytest.raises(AoeError, match="were not asked the same questions"):
        explain(scores, [family()], realized_table(), SETTINGS)


def test_points_have_the_lambdas_of_their_variants():
    table = points(family(), realized_table())
    ends = table[table.variant.isin(["v3", "r1"])]
    assert (ends.asked == ends.model).all() and (ends.attention == ends.asked).all() and (ends.noise == 0).all()
    row = table[table.variant == "nearest-0.4"].iloc[0]
    assert (row.rounded, row.asked, row.noise) == ("nearest", 0.4, 0.44)
    assert row.attention == pytest.approx(step(0.4, 400))
    long = by_group(family(), realized_table())
    assert len(long) == 2 * len(table) and set(long.group) == {"attention", "routed_experts"}


def test_a_variant_without_realized_lambdas_is_left_out():
    realized = realized_table()
    table = points(family(), realized[realized.variant != "nearest-0.4"])
    assert "nearest-0.4" not in set(table.variant) and len(table) == len(points(family(), realized)) - 1
    assert table.notna().all(axis=None)


def test_rows_of_weights_are_not_read(tmp_path):
    table = realized_table()
    weights = table[table.level == "group"].assign(level="weight", tensor="a.weight")
    pd.concat([table, weights]).to_parquet(tmp_path / "realized.parquet")
    found = read_realized(tmp_path / "realized.parquet")
    assert set(found.level) == {"group", "model"} and len(found) == len(table)
