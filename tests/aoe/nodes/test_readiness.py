"""Checks, and what they mean for stages."""

import pytest
from aoe import AoeError
from aoe.nodes.readiness import PROBLEM, READY, UNUSED, WARNING, Check, as_text, is_ready, judge, trying


def test_a_check_is_what_was_saved(tmp_path):
    with trying("Something", tmp_path / "it.json", tmp_path / "it.log") as check:
        with check.phase("first"):
            pass
        check.fact("It is there.")
        check.warn("It is small.")
    found = Check.load(tmp_path / "it.json")
    assert (found.title, found.facts, found.status) == ("Something", ["It is there."], WARNING)
    assert list(found.seconds) == ["first"] and found.host
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AoeError("It is not there; make it."), "It is not there; make it."),
        (KeyError("x"), "KeyError: 'x'; the log has"),
    ],
)
def test_what_fails_is_what_was_found(tmp_path, capsys, error, said):
    with trying("Something", tmp_path / "it.json", "it.log"):
        raise error
    found = Check.load(tmp_path / "it.json")
    ((sentence, fatal),) = found.findings
    assert sentence.startswith(said) and fatal and found.status == PROBLEM
    assert said in capsys.readouterr().out


def test_a_problem_is_said_once():
    check = Check("Something")
    for _ in range(2):
        check.problem("It is not there.")
    assert len(check.findings) == 1


def test_a_stage_is_as_ready_as_what_it_depends_on():
    good, warned, bad = Check("Good"), Check("Warned", [["Small.", False]]), Check("Bad", [["Absent.", True]])
    checks = {"good": good, "warned": warned, "bad": bad}
    stages = {"a": ["good"], "b": ["good", "warned"], "c": ["warned", "bad"], "d": None}
    judged = judge(stages, checks)
    assert [row["status"] for row in judged] == [READY, WARNING, PROBLEM, UNUSED]
    assert judged[2]["findings"] == [("Absent.", True), ("Small.", False)], "problems come first"
    assert not is_ready(judged) and is_ready(judged[:2])
    text = list(as_text(judged))
    assert text[0] == "✓ a  ready" and text[3:] == [
        "✗ c  not ready",
        "     Absent.",
        "     Warning: Small.",
        f"– d  {UNUSED}",
    ]
