"""What is noted of the code that made results, and what is said when it has changed."""

import json
from types import SimpleNamespace

import pytest
from aoe import AoeWarning
from job.code import record_code
from launcher.code.records import (
    FOLLOWING,
    Record,
    changed_definitions,
    outdated,
    read_records,
    record_path,
    repeated,
    sentence,
)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A rule's job, and its code, whose digest can be changed."""
    monkeypatch.chdir(tmp_path)
    output = "results/mini/answers/r1/machine.json"
    code = {"digest": "a", "rules": ["answer"], "record": str(record_path(output))}
    wildcards = {"study": "mini", "variant": "r1"}
    return SimpleNamespace(
        rule="answer", output=[output], wildcards=wildcards, params=SimpleNamespace(code=code), folder=tmp_path
    )


def test_what_a_job_notes_is_read_while_its_results_are_there(job):
    record_code(job)
    results = job.folder / "results/mini"
    assert read_records(results) == []
    (job.folder / job.output[0]).parent.mkdir(parents=True)
    (job.folder / job.output[0]).write_text("{}", encoding="utf-8")
    (record,) = read_records(results)
    assert (record.rule, record.code, record.wildcards["variant"]) == ("answer", "a", "r1")
    assert outdated([record], lambda rules: "a") == {}
    assert outdated([record], lambda rules: "b") == {"answer": [record]}
    accepted = Record(**{**vars(record), "accepted": "b"})
    accepted.write()
    assert read_records(results) == [accepted] and outdated([accepted], lambda rules: "b") == {}
    record.path.write_text("[", encoding="utf-8")
    assert read_records(results) == []


def test_who_goes_on_with_what_other_code_began_says_so(job, recwarn):
    record_code(job)
    record_code(job, resumed=True)
    assert not recwarn.list
    job.params.code["digest"] = "b"
    with pytest.warns(AoeWarning, match="answer: goes on with what an interrupted job left"):
        record_code(job, resumed=True)
    assert json.loads((job.folder / job.params.code["record"]).read_text(encoding="utf-8"))["code"] == "b"


def test_definitions_that_only_have_another_name_are_not_named():
    before = {"plan.make": "1", "plan.read": "2", "plan.gone": "3", "plan.same": "4"}
    now = {"plan.create": "1", "plan.read": "5", "plan.new": "6", "plan.same": "4"}
    assert changed_definitions(before, now) == ["plan.read", "plan.new", "plan.gone"]
    assert changed_definitions({"a": "1"}, {"b": "1"}) == []


def made(rule, variant=None, shard=None):
    wildcards = {key: value for key, value in (("variant", variant), ("shard", shard)) if value}
    path = record_path("/".join(filter(None, ["results/mini", rule, variant, shard, "file"])))
    return Record(path, rule, wildcards, (), (rule,), "a")


def test_what_would_be_repeated():
    records = [made(rule, variant) for rule in ("plan", "answer", "latency") for variant in ("r1t", "r2t")]
    records += [made("answer", "r1"), made("judge"), made("programs", "r1")]
    records += [made("merge", "r1t", "1"), made("merge", "r1t", "2"), made("complete", "r1t"), made("solvable")]
    of = {(record.rule, record.wildcards.get("variant")): record for record in records}
    written = {"plan": 1, "merge": 2, "complete": 1, "answer": 1, "latency": 1, "judge": 1}
    assert repeated([of["plan", "r1t"]], records) == written
    assert repeated([of["plan", "r2t"]], records) == {"plan": 1, "answer": 1, "latency": 1, "judge": 1}
    assert repeated([of["latency", "r1t"]], records) == {"latency": 1}
    assert repeated([of["solvable", None]], records) == {"solvable": 1, "programs": 1}
    assert all(set(after) <= FOLLOWING.keys() for after in FOLLOWING.values())


def test_the_sentence():
    names = ["merge.a", "merge.b", "merge.c", "merge.d", "merge.e"]
    said = sentence("answer", names, {"answer": 12, "judge": 1}, 12, None)
    assert said.startswith(
        "answer: the code has changed since 12 results of it were made (merge.a, merge.b, merge.c and 2"
    )
    assert "kept" in said and said.endswith("`accept_code_changes=redo`: 12 answer, 1 judge.")
    assert "(the order of its parts)" in sentence("judge", [], {"judge": 1}, 1, None)
    assert "accepted" in sentence("judge", [], {"judge": 1}, 1, "keep")
    assert "made again" in sentence("judge", [], {"judge": 1}, 1, "redo")
