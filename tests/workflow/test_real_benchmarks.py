"""The paper's benchmarks on the mini family: scores near zero, but every question is asked, judged and scored."""

import json
import os

import pandas as pd
import pytest
from aoe import AoeError
from benchmarks.sandbox import find_sandbox
from clones import SMALL
from scripted import Reply, Scripted

pytestmark = [pytest.mark.workflow, pytest.mark.server]
SHORT = {"seed": 1, "max_tokens": 64}
TASK = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": "def task_func(x):\n",
    "instruct_prompt": "double x",
    "code_prompt": "def task_func(x):",
    "test": (
        "import unittest\nclass TestCases(unittest.TestCase):\n    def test(self): self.assertEqual(task_func(1), 2)"
    ),
    "entry_point": "task_func",
}


def write_datasets(folder):
    """A few questions of every benchmark, in its published fields: dataset -> folder."""
    prompts = ["single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"]
    wrong = {f"Incorrect Answer {number}": str(number) for number in (1, 2, 3)}
    content = {
        "aime/test.jsonl": [{"id": str(n), "problem": f"{n}*3+7=?", "answer": str(n)} for n in range(4)],
        "gpqa/gpqa.jsonl": [{"Record ID": "rec1", "Question": "4*8=?", "Correct Answer": "32", **wrong}],
        "code/data.jsonl": [TASK],
        "mt/question.jsonl": [{"question_id": 81, "category": "writing", "turns": ["1+2=?", "now +3=?"]}],
        "mt/judge_prompts.jsonl": [
            {
                "name": name,
                "system_prompt": "judge",
                "prompt_template": "{question_2}={answer_2}" if "turn" in name else "{question}={answer}",
            }
            for name in prompts
        ],
    }
    for file, records in content.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("".join(json.dumps(record) + "\n" for record in records))
    return {name: {"path": str(folder / name)} for name in ("aime", "gpqa", "code", "mt")}


@pytest.fixture
def real(clone):
    """Writes the study ``real`` and locks it."""
    datasets = write_datasets(clone.folder / "questions")

    def write(benchmarks, **changes):
        used = {entry["dataset"] for entry in benchmarks.values()}
        clone.study(
            "real",
            **{
                **SMALL,
                "lock": "real.lock.json",
                "datasets": {name: entry for name, entry in datasets.items() if name in used},
                "benchmarks": benchmarks,
                "models": {name: SMALL_MODELS[name] for name in ("v3-0324", "r1")},
                "variants": {},
                "scores": {"intelligence": list(benchmarks)[:1], "reference": "r1", "resamples": 100, "seed": 1},
                **changes,
            },
        )
        clone.snakemake("--config", "study=real", "--", "lock")
        os.replace(clone.folder / "results/real/lock.json", clone.folder / "real.lock.json")

    return write


SMALL_MODELS = {
    "v3-0324": {"label": "V3", "path": "resources/mini/v3-0324"},
    "r1": {"label": "R1", "path": "resources/mini/r1"},
}


def scores_of(clone, variant="r1"):
    clone.snakemake("--config", "study=real", "--", f"results/real/scores/{variant}.parquet")
    return pd.read_parquet(clone.folder / f"results/real/scores/{variant}.parquet")


def test_datasets_are_locked_asked_and_scored(clone, real):
    real({"aime2025": {"dataset": "aime", "answers": 3, **SHORT}, "gpqa_diamond": {"dataset": "gpqa", **SHORT}})
    scores = scores_of(clone)
    assert scores.groupby("benchmark").size().to_dict() == {"aime2025": 12, "gpqa_diamond": 1}
    assert sorted(scores["sample"].unique()) == [1, 2, 3]
    assert (scores.tokens > 0).all()
    # a question that is altered after it was locked is not asked
    questions = clone.folder / "questions/aime/test.jsonl"
    questions.write_text(questions.read_text().replace("+7", "+8"))
    done = clone.snakemake("--config", "study=real", "--", "results/real/scores/r1.parquet", check=False)
    assert done.returncode
    assert "questions/aime/test.jsonl has the SHA-256" in done.stdout + done.stderr


def test_answers_are_judged_elsewhere_and_only_once(clone, real, monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "key")
    with Scripted(lambda request: Reply("Rating: [[8]]")) as server:
        judge = {"model": "judge", "revision": "1", "endpoint": server.url}
        real({"mt_bench": {"dataset": "mt", **SHORT}}, judge=judge)
        scores = scores_of(clone)
        assert scores.right.tolist() == [0.8, 0.8]
        assert len(server.requests) == 8  # two turns of four variants
        (clone.folder / "results/real/judgements.parquet").unlink()
        assert scores_of(clone).right.tolist() == [0.8, 0.8]
        assert len(server.requests) == 8
    monkeypatch.delenv("JUDGE_API_KEY")


def test_a_judge_of_the_study_that_gives_no_verdict_gives_no_score(clone, real):
    real(
        {"mt_bench": {"dataset": "mt", **SHORT}}, judge={"model": "r1", "revision": "1", "retries": 1, "max_tokens": 16}
    )
    scores = scores_of(clone)
    assert scores.right.isna().all()
    table = pd.read_parquet(clone.folder / "results/real/judgements.parquet")
    assert table.rating.isna().all()
    assert (table.attempts == 2).all()


def test_programs_are_run_in_the_sandbox(clone, real):
    try:
        find_sandbox()
    except AoeError as error:
        pytest.skip(f"needs bubblewrap, and user namespaces that it may use: {error}")
    real({"bigcodebench": {"dataset": "code", **SHORT}}, sandbox={"seconds": 10, "threads": 1})
    assert scores_of(clone).right.tolist() == [0.0]
