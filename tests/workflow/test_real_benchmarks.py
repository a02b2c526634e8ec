"""The paper's benchmarks on the mini family: scores near zero, but every question is asked, judged and scored."""

import json
import os
import subprocess
import time

import pandas as pd
import psutil
import pytest
from inspect_ai.log import read_eval_log
from aoe import AoeError
from benchmarks.sandbox import find_sandbox
from support.clones import SMALL, Clone
from support.scripted import Reply, Scripted

pytestmark = [pytest.mark.workflow, pytest.mark.server]
SHORT = {"seed": 1, "max_tokens": 64}
TASK = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": "def task_func(x):\n",
    "instruct_prompt": "double x",
    "code_prompt": "def task_func(x):",
    "canonical_solution": "    return 2 * x",
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
        "rules/data.jsonl": [
            {"key": n, "prompt": f"{n}+5=?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
            for n in range(2)
        ],
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
        (folder / file).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return {name: {"path": str(folder / name)} for name in ("aime", "gpqa", "rules", "code", "mt")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def datasets(clone):
    return write_datasets(clone.folder / "questions")


BENCHMARKS = {
    "aime2024": {"dataset": "aime", "answers": 3, **SHORT},
    "aime2025": {"dataset": "aime", **SHORT},
    "gpqa_diamond": {"dataset": "gpqa", **SHORT},
    "ifeval": {"dataset": "rules", "answers": 2, **SHORT},
    "mt_bench": {"dataset": "mt", **SHORT},
}
ANSWERS = {"aime2024": 12, "aime2025": 4, "gpqa_diamond": 1, "ifeval": 4, "mt_bench": 2, "bigcodebench": 1}
MODELS = {
    "v3-0324": {"label": "V3", "path": "resources/mini/v3-0324"},
    "r1": {"label": "R1", "path": "resources/mini/r1"},
}
HALF = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}}


def write(clone, name, benchmarks, datasets, **changes):
    """Write a study of two models and a merge of them, and lock it."""
    used = {entry.get("dataset") for entry in benchmarks.values()}
    study = {
        **SMALL,
        "lock": f"{name}.lock.json",
        "datasets": {dataset: entry for dataset, entry in datasets.items() if dataset in used},
        "benchmarks": benchmarks,
        "models": MODELS,
        "variants": {"half": HALF},
        "sweeps": {},
        "figures": {"base": "v3-0324", "other": "r1", "space": "codes", "assembled": "half"},
        "scores": {"intelligence": list(benchmarks), "reference": "r1", "resamples": 100, "seed": 1},
        **changes,
    }
    clone.study(name, **study)
    if not (clone.folder / f"{name}.lock.json").exists():
        clone.snakemake("--config", f"study={name}", "--", "lock")
        os.replace(clone.folder / f"results/{name}/lock.json", clone.folder / f"{name}.lock.json")


def run(clone, *targets, **settings):
    return clone.snakemake(
        "--config", "study=real", "--", *(f"results/real/{target}" for target in targets), **settings
    )


@pytest.fixture(scope="module")
def finished(clone, datasets):
    """All benchmarks that this machine can run, and their names: from questions to the report, judged by a model of
    the study that is far too small to give a verdict."""
    benchmarks = dict(BENCHMARKS)
    try:
        find_sandbox()
        benchmarks["bigcodebench"] = {"dataset": "code", **SHORT}
    except AoeError as error:
        print(f"without BigCodeBench, which needs bubblewrap and user namespaces: {error}")
    judge = {"model": "r1", "retries": 1, "max_tokens": 16}
    write(clone, "real", benchmarks, datasets, judge=judge, sandbox={"seconds": 20})
    run(clone, "summary.csv", "scores.parquet", "figures/figure4.png", "figures/figure8.png")
    clone.snakemake("--config", "study=real", "--report", "report.html", "--", "results/real/summary.csv")
    return benchmarks


def test_every_question_is_asked_and_scored(clone, finished):
    scores = pd.read_parquet(clone.folder / "results/real/scores.parquet")
    assert scores.columns[:6].tolist() == ["variant", "benchmark", "category", "question", "sample", "turn"]
    assert not scores.duplicated(["variant", "benchmark", "question", "sample", "turn"]).any()
    counted = scores.groupby(["variant", "benchmark"]).size()
    assert counted.to_dict() == {(v, b): ANSWERS[b] for v in ("v3-0324", "r1", "half") for b in finished}
    assert (scores.tokens > 0).all()
    assert ((scores.seconds_to_first > 0) & (scores.seconds_to_first <= scores.seconds)).all()
    assert scores[scores.benchmark != "mt_bench"].right.between(0, 1).all()
    summary = pd.read_csv(clone.folder / "results/real/summary.csv").set_index("variant")
    assert (
        summary.loc["r1"].aime2024_percent
        == 100
        * scores[(scores.variant == "r1") & (scores.benchmark == "aime2024")].groupby("question").right.mean().mean()
    )


def test_a_judge_that_gives_no_verdict_gives_no_score(clone, finished):
    scores = pd.read_parquet(clone.folder / "results/real/scores.parquet")
    assert scores[scores.benchmark == "mt_bench"].right.isna().all()
    judged = pd.read_csv(clone.folder / "results/real/judge.csv").set_index("variant")
    assert judged.loc["r1"].warning == "2 of 2 answers of r1 have no verdict, and do not count"
    table = pd.read_parquet(clone.folder / "results/real/judgements.parquet")
    assert (table.attempts == 2).all()
    report = (clone.folder / "report.html").read_text(encoding="utf-8")
    assert "Scores that different judges gave do not compare" in report


def test_another_judge_judges_the_same_answers_and_only_once(clone, finished, datasets, monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "the judge's key")
    with Scripted(lambda request: Reply("Rating: [[8]]")) as server:
        judge = {"model": "judge", "revision": "2", "endpoint": server.url}
        write(clone, "real", finished, datasets, judge=judge, sandbox={"seconds": 20})
        done = run(clone, "scores/r1.parquet", "judge.csv")
        assert "rule answer" not in done.stdout + done.stderr
        assert len(server.requests) == 6  # two turns of three variants
        scores = pd.read_parquet(clone.folder / "results/real/scores/r1.parquet")
        assert scores[scores.benchmark == "mt_bench"].right.tolist() == [0.8, 0.8]
        (clone.folder / "results/real/judgements.parquet").unlink()
        run(clone, "judgements.parquet")
        assert len(server.requests) == 6
    kept = [
        path.read_text(encoding="utf-8")
        for path in (clone.folder / "results/real").rglob("*")
        if path.suffix in (".json", ".log")
    ]
    assert not any("the judge's key" in text for text in kept)
    monkeypatch.delenv("JUDGE_API_KEY")
    (clone.folder / "results/real/judgements.parquet").unlink()
    for verdict in (clone.folder / "results/real/verdicts").iterdir():
        verdict.unlink()
    done = run(clone, "judgements.parquet", check=False)
    assert "The judge's key is missing: set the environment variable JUDGE_API_KEY." in done.stdout + done.stderr


def test_a_question_that_was_altered_after_it_was_locked_is_not_asked(clone, finished):
    questions = clone.folder / "questions/aime/test.jsonl"
    before = questions.read_text(encoding="utf-8")
    questions.write_text(before.replace("+7", "+8"), encoding="utf-8")
    done = run(clone, "scores/r1.parquet", check=False)
    questions.write_text(before, encoding="utf-8")
    assert done.returncode
    assert "questions/aime/test.jsonl has the SHA-256" in done.stdout + done.stderr


def test_a_server_that_dies_is_started_again_and_goes_on(clone, datasets):
    serving = {**clone.content()["serving"], "connections": 8}
    write(clone, "dying", {"arithmetic": {"questions": 256, "seed": 1}}, datasets, serving=serving)
    command = clone.command("--config", "study=dying", "--", "results/dying/answers/r1/arithmetic.eval")
    with open(clone.folder / "dying.log", "w", encoding="utf-8") as log:
        job = subprocess.Popen(command, cwd=clone.folder, stdout=log, stderr=log)
        answers = clone.folder / "results/dying/answers/r1"
        while job.poll() is None and not any(
            log.stat().st_size > 50_000 for log in answers.glob("unfinished/*/*.eval")
        ):
            time.sleep(0.05)
        (server,) = [p for p in psutil.Process(job.pid).children(recursive=True) if _is_server(p)]
        server.kill()
        assert job.wait() == 0, (clone.folder / "dying.log").read_text(encoding="utf-8")
    said = (clone.folder / "results/dying/logs/answer/r1.log").read_text(encoding="utf-8")
    assert "The server has died; the next one goes on with what is not answered." in said
    found = read_eval_log(str(answers / "arithmetic.eval"))
    assert len(found.samples) == 256
    assert not (answers / "unfinished").exists()


def _is_server(process):
    return "aoe.serving.vllm_server" in process.cmdline()
