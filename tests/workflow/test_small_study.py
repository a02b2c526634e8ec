"""The study of a few answers: what it lacks; and how fast its models are, measured by real servers."""

import json
import re

import pandas as pd
import pytest
import yaml
from aoe.document.findings import number
from aoe.serving.sampling import NEUTRAL
from support.pages import words

pytestmark = [pytest.mark.workflow, pytest.mark.server]


def test_what_a_study_lacks_is_visible(small_job):
    folder = small_job.folder / "results/small"
    page, printed = (folder / "paper.html").read_text(encoding="utf-8"), words(folder / "paper.pdf")
    for text in (page, printed):
        assert "Not among the study's benchmarks: AIME-2024, AIME-2025, GPQA-Diamond, BigCodeBench and MT-Bench" in (
            text.replace("’", "'")
        )
        for figure in (5, 6, 8):
            assert f"Figure {figure} is missing: the study" in text
    claims = pd.read_csv(folder / "claims.csv").set_index("claim")
    assert claims.verdict["think-full"] == "not run" and "no sweep full" in claims.note["think-full"]


def test_what_was_sampled_with_and_asked_is_kept(small_job):
    for variant in ("r1", "r1t"):
        found = json.loads(
            (small_job.folder / f"results/small/answers/{variant}/machine.json").read_text(encoding="utf-8")
        )
        assert found["sampling"]["arithmetic"] == {"temperature": 0.6, "top_p": 1.0, "max_tokens": 256, **NEUTRAL}
        assert [len(found["prompts"][name]["turns"]) for name in ("arithmetic", "dialogue")] == [1, 2]
        assert all(turn["text"].endswith("<think>\n") for turn in found["prompts"]["dialogue"]["turns"])


def test_two_models_are_put_the_same_queues(small_job, tmp_path):
    """The finished study of a few answers, to which the section `latency` is added."""
    clone = small_job.copy(tmp_path / "copy")
    path = clone.folder / "config/studies/small.yaml"
    queues = [{"at_once": 1, "questions": 3}, {"at_once": 8, "questions": 12}]
    speed = {"variants": ["r1", "v3-0324"], "benchmark": "arithmetic", "queues": queues, "repeats": 2}
    speed["options"] = {"seed": 7}
    added = {"latency": speed, "claims": {"r1t2": "v3-0324"}}
    path.write_text(
        yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | added, sort_keys=False), encoding="utf-8"
    )
    results = clone.folder / "results/small"
    targets = [f"results/small/{file}" for file in ("claims.csv", "paper.html", "figures/figure9.svg")]
    done = clone.snakemake("--quiet", "host", "--config", "study=small", "--", *targets)
    said = done.stdout + done.stderr
    assert re.search(r"^latency +2$", said, re.MULTILINE)
    assert not re.search(r"^answer +\d+$", said, re.MULTILINE), "nothing is asked for the study's own sake again"
    logs = [(results / f"logs/{rule}/r1.server.log").read_text(encoding="utf-8") for rule in ("latency", "answer")]
    assert [bool(re.search(r"\bseed=7,", log)) for log in logs] == [True, False], "options of its own"

    table = pd.read_csv(results / "latency.csv").set_index(["variant", "at_once"])
    assert len(table) == 4 and (table.repeats == 2).all() and table.machine.str.contains("cores of").all()
    assert list(table.answers) == [3, 12, 3, 12]
    for measure in ("seconds_to_first", "seconds_an_answer", "answers_per_second", "tokens_per_second"):
        assert (table[f"{measure}_low"] > 0).all() and (table[f"{measure}_low"] <= table[measure]).all()
        assert (table[measure] <= table[f"{measure}_high"]).all()
    alone = table.xs(1, level="at_once")
    # a median and a mean: of many questions at once, on a busy machine, either can be the longer
    assert (alone.seconds_to_first < alone.seconds_an_answer).all()
    assert (alone.tokens_an_answer_low == alone.tokens_an_answer_high).all(), "the same seeds, the same answers"
    assert (alone.tokens_per_second_low <= alone.tokens_per_second_of_an_answer_high).all(), "nothing else is under way"

    claims = pd.read_csv(results / "claims.csv").set_index("claim")
    ratio = alone.seconds_an_answer["r1"] / alone.seconds_an_answer["v3-0324"]
    assert claims.value["three-parents-speed-r1"] == pytest.approx(ratio, rel=1e-4)
    assert "does not measure the speed of r1t" in claims.note["r1t-time"]
    facts = json.loads((results / "paper.json").read_text(encoding="utf-8"))
    assert len(facts["latencies"]) == 4
    (figure,) = [figure for figure in facts["figures"] if figure["name"] == "figure9"]
    assert "With 1 question at a time, an answer takes R1 " in figure["caption"]
    slowest, fastest = sorted((alone.tokens_an_answer - 1) / (alone.seconds_an_answer - alone.seconds_to_first))
    page = " ".join((results / "paper.html").read_text(encoding="utf-8").split())
    assert "tokens/s of one" in page and f"generated {number(slowest)} to {number(fastest)} tokens per second" in page
