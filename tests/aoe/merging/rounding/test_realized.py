"""What is said of realized λ: in tables for people, and as a warning."""

import pytest
from aoe.merging.rounding.realized import Projection, Totals, groups_in_words, read_row, row_of_weight, warning


def rows(variant="x", differing=10_000, **groups):
    """Rows of the level ``group``: group=(asked, realized) of r1, beside v3."""
    found = []
    for group, (asked, realized) in groups.items():
        for parent, one, other in (("v3", 1 - asked, 1 - realized), ("r1", asked, realized)):
            place = {"variant": variant, "level": "group", "group": group, "parent": parent}
            found.append(place | {"asked": one, "realized": other, "noise": 0.4, "differing": differing})
    return found


def test_groups_in_words():
    assert groups_in_words([]) == ""
    assert groups_in_words(rows(attention=(0.4, 0.405), norms=(0.4, 0.395))) == "as asked"
    assert groups_in_words(rows(attention=(0.4, 0.4), norms=(0.4, 0.1))) == "0.10 in norms"
    table = rows(norms=(0.4, 0.1), attention=(0.4, 0.021), shared_experts=(0.4, 0.018), routed_experts=(0.4, -0.01))
    assert groups_in_words(table) == "0.02 in attention and shared experts, −0.01 in routed experts"
    assert groups_in_words(rows(attention=(0.4, 0.43)), within=0.05) == "as asked"


def test_of_three_parents_all_are_named():
    places = [("v3", 0.2, 0.085), ("r1", 0.3, 0.282), ("r1-0528", 0.5, 0.632)]
    table = [{"group": "attention", "parent": p, "asked": a, "realized": r} for p, a, r in places]
    assert groups_in_words(table) == "0.09 + 0.28 + 0.63 in attention"


def test_a_warning_names_the_variant_that_is_farthest_off():
    near = rows("near", attention=(0.4, 0.43), routed_experts=(0.4, 0.36))
    assert warning(near) is None and warning([]) is None
    some = rows("some", attention=(0.475, 0.02), routed_experts=(0.475, 0.4), lm_head=(0.475, 1))
    said = warning([*near, *some])
    assert said.startswith("some asks for 0.475 r1 and will have 0.02 in attention, 0.40 in routed experts: where")
    assert "`rounding: balanced`" in said
    others = [*near, *some, *rows("other", norms=(0.5, 0.6))]
    assert ", and the λ of 1 other variant are off as well: " in warning(others)
    weights = [row | {"level": "weight"} for row in some]
    assert warning(weights) is None


def test_what_may_be_chance_is_no_reason_to_warn():
    """Of 100 numbers with a noise of 0.4, three standard errors are 0.12."""
    assert warning(rows(differing=100, norms=(0.4, 0.51))) is None
    assert "0.53 in norms" in warning(rows(differing=100, norms=(0.4, 0.53)))
    some = [*rows(differing=100, norms=(0.4, 0.51)), *rows(lm_head=(0.4, 0.51))]
    assert warning(some).startswith("x asks for 0.4 r1 and will have 0.51 in lm head: ")


def test_a_row_is_the_projection_that_was_written():
    found = Projection.of(["v3", "r1", "r2"], [0.5, 0.3, 0.2], [[2, 1], [1, 3]], [0.8, 0.9], 0.1, [1, 2, 3], 9, 7)
    row = row_of_weight("x", "a.weight", "norms", None, found)
    again = read_row(row)
    assert again.realized_lambdas() == found.realized_lambdas() and again.asked_lambdas() == found.asked_lambdas()
    assert list(found.asked_lambdas().values()) == [0.5, 0.3, 0.2]
    assert found.size == 2.5
    with pytest.raises(ValueError, match="the parents"):
        found + Projection.of(["v3", "r1"], [0.5, 0.5], [1], [0.5], 0, [0, 1], 1, 1)


def test_different_lambdas_of_one_group_are_averaged_by_their_differences():
    totals = Totals()
    parts = [
        Projection.of(["v3", "r1"], [1 - x, x], [size], [x * size], 0, [0, 0], 4, 2) for x, size in ((0.2, 1), (0.8, 3))
    ]
    table = [*totals.add(row_of_weight("x", f"{i}", "norms", i, part) for i, part in enumerate(parts)), *totals.rows()]
    group = {row["parent"]: row for row in table if row["level"] == "group"}
    for key in ("asked", "realized"):
        assert group["r1"][key] == pytest.approx(0.65) and group["v3"][key] == pytest.approx(0.35)
    assert [row["asked"] for row in table if row["level"] == "layer" and row["parent"] == "r1"] == [0.2, 0.8]
