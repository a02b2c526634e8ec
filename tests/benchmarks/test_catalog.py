"""The paper's benchmarks, asked of a scripted endpoint with known answers: the scores are those worked out by hand."""

import asyncio
import csv
import json

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target
from inspect_ai.solver import TaskState
from inspect_evals.utils.aime_common import aime_scorer
from aoe import AoeError
from benchmarks.catalog import scored_rows, task_of
from benchmarks.runner import ask as ask_endpoint
from benchmarks.suite import aime, gpqa
from support.scripted import END_THINK, Reply, Scripted

# what an endpoint answers after the forced <think>, whether that is right where 73 is, and its closing tags
ANSWERS = {
    "boxed": (Reply("so\n</think>\nIt is \\boxed{73}."), True, 1),
    "leading zero": (Reply("</think>\\boxed{073}"), True, 1),
    "wide digits": (Reply("</think>\\boxed{７３}"), True, 1),
    "in words": (Reply("</think>$\\boxed{\\text{73}}$ is what I find."), True, 1),
    "an equation": (Reply("</think>\\boxed{x = 73}"), True, 1),
    "a fraction": (Reply("</think>\\boxed{\\frac{146}{2}}"), True, 1),
    "the last box": (Reply("</think>not \\boxed{1}, but \\boxed{73}; done"), True, 1),
    "a last line": (Reply("</think>Thus\n**ANSWER: 73**"), True, 1),
    "an empty box at the end": (Reply("</think>\\boxed{73}. Check: \\boxed{}"), True, 1),
    "no braces": (Reply("</think>so \\boxed 73."), True, 1),
    "a box in a box": (Reply("</think>\\boxed{\\boxed{73}}"), True, 1),
    "a word of thanks": (Reply("</think>ANSWER: 73\nThank you"), True, 1),
    "many open boxes": (Reply("</think>" + "\\boxed{73 " * 8000), False, 1),
    "no tag": (Reply("I see: \\boxed{73}"), True, 0),
    "two tags": (Reply("\\boxed{1}</think>\\boxed{2}</think>\\boxed{73}"), True, 2),
    "only while thinking": (Reply("\\boxed{73}</think>I do not know."), False, 1),
    "wrong": (Reply("</think>\\boxed{74}"), False, 1),
    "two numbers": (Reply("</think>\\boxed{73, 74}"), False, 1),
    "an open box": (Reply("</think>\\boxed{73"), False, 1),
    "no box": (Reply("</think>73 it is, or 12"), False, 1),
    "a tower of powers": (Reply("</think>\\boxed{9^{9^{9^{9}}}}"), False, 1),
    "empty": (Reply(""), False, 0),
    "refusal": (Reply("</think>I cannot help with that."), False, 1),
    "cut off": (Reply("let us see, 1 + 1 =", finish="length"), False, 0),
}


def ask(tmp_path, script, *tasks):
    """{task: rows} of the scored answers of a scripted endpoint, and the requests that it got."""
    with Scripted(script) as server:
        logs = ask_endpoint(tasks, "scripted", server.url, "key", connections=8, folder=tmp_path / "logs")
    rows = {name: list(scored_rows(read_eval_log(log), END_THINK)) for name, log in logs.items()}
    return rows, server.requests


def question_of(request):
    return request["messages"][0]["content"]


@pytest.fixture
def problems(tmp_path):
    """A dataset with one problem for each kind of answer, in the fields of AIME-2025's."""
    records = [{"id": str(number), "problem": f"<{name}>", "answer": "73"} for number, name in enumerate(ANSWERS)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return tmp_path, ["test.jsonl", "README.md"]


def test_every_kind_of_answer_is_scored_as_by_hand(problems, tmp_path):
    def script(request):
        return next(reply for name, (reply, *_) in ANSWERS.items() if f"<{name}>" in question_of(request))

    rows, requests = ask(tmp_path, script, task_of("aime2025", {"seed": 1}, problems))
    found = {list(ANSWERS)[int(row["question"])]: row for row in rows["aime2025"]}
    assert {name: row["right"] for name, row in found.items()} == {
        name: right for name, (_, right, _) in ANSWERS.items()
    }
    assert {name: row["closing_tags"] for name, row in found.items()} == {name: n for name, (*_, n) in ANSWERS.items()}
    assert {name for name, row in found.items() if row["finish"] == "max_tokens"} == {"cut off"}
    unreadable = {name for name, row in found.items() if row["unreadable"]}
    assert unreadable == {
        "a tower of powers",
        "two numbers",
        "many open boxes",
        "only while thinking",
        "an open box",
        "no box",
        "empty",
        "refusal",
        "cut off",
    }
    for request in requests:
        assert request["messages"][-1] == {"role": "assistant", "content": "<think>\n"}
        assert request["continue_final_message"] and not request["add_generation_prompt"]
        assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.6, 0.95, 32768)


def test_questions_are_asked_several_times_with_seeds_of_their_own(problems, tmp_path):
    def script(request):
        return Reply(f"</think>\\boxed{{{73 + request['seed'] % 2}}}")

    settings = {"seed": 5, "questions": 4, "answers": 3, "temperature": 1.0, "force_think": False}
    rows, requests = ask(tmp_path, script, task_of("aime2025", settings, problems))
    seeds = [request["seed"] for request in requests]
    assert len(set(seeds)) == len(seeds) == 12
    assert {(row["question"], row["sample"]) for row in rows["aime2025"]} == {(q, s) for q in "0123" for s in (1, 2, 3)}
    assert sum(row["right"] for row in rows["aime2025"]) == sum(seed % 2 == 0 for seed in seeds)
    assert requests[0]["messages"][-1]["role"] == "user"
    _, again = ask(tmp_path / "again", script, task_of("aime2025", settings, problems))
    assert sorted(request["seed"] for request in again) == sorted(seeds)


def test_a_hiccup_of_the_server_is_survived(problems, tmp_path):
    hiccups = [Reply(status=500), Reply(status=503)]
    rows, _ = ask(
        tmp_path,
        lambda request: hiccups.pop() if hiccups else Reply("</think>\\boxed{73}"),
        task_of("aime2025", {"seed": 1, "questions": 3}, problems),
    )
    assert [row["right"] for row in rows["aime2025"]] == [True] * 3


@pytest.fixture
def choices(tmp_path):
    """A dataset in the fields of GPQA's, whose right choices are ``right 0``, ``right 1``, …"""
    wrong = {f"Incorrect Answer {number}": f"wrong {number}" for number in (1, 2, 3)}
    records = [
        {"Record ID": f"rec{number}", "Question": f"Question {number}?", "Correct Answer": f"right {number}", **wrong}
        for number in range(40)
    ]
    with open(tmp_path / "gpqa_diamond.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)
    return tmp_path, ["gpqa_diamond.csv"]


def test_choices_are_shuffled_for_good_and_letters_are_scored(choices, tmp_path):
    def script(request):
        lines = question_of(request).splitlines()
        number = int(next(line for line in lines if line.startswith("Question ")).split()[1].rstrip("?"))
        right = next(line[0] for line in lines if line[1:].startswith(") right"))
        wrong = next(line[0] for line in lines if line[1:].startswith(") wrong"))
        replies = [f"**ANSWER: {right}**", f"ANSWER: {wrong}\nANSWER: {right}", f"ANSWER: {wrong}", "It is clear."]
        return Reply(f"</think>{replies[number % 4]}")

    rows, _ = ask(tmp_path, script, task_of("gpqa_diamond", {"seed": 1}, choices))
    by_number = sorted(rows["gpqa_diamond"], key=lambda row: int(row["question"].removeprefix("rec")))
    assert [row["right"] for row in by_number] == [True, True, False, False] * 10
    targets = [sample.target for sample in gpqa.samples(*choices, seed=1)]
    assert all(letter in targets for letter in "ABCD")
    assert targets == [sample.target for sample in gpqa.samples(*choices, seed=1)]
    assert targets != [sample.target for sample in gpqa.samples(*choices, seed=2)]


@pytest.mark.parametrize(
    "shown",
    [
        "\\boxed{73}",
        "So\n\\boxed{73}",
        "ANSWER: 73",
        "**ANSWER: 73**",
        "$$\n\\boxed{73}\n$$",
        "\\boxed{74}",
        "ANSWER: 1",
    ],
)
def test_where_inspect_evals_can_tell_we_agree_with_it(shown):
    state = TaskState(ModelName("none/none"), "", 1, "", [])
    state.output = ModelOutput.from_content("", shown)
    theirs = asyncio.run(aime_scorer()(state, Target("73")))
    assert aime.is_right(shown, "73") == (theirs.value == "C")


def test_both_years_of_aime_are_read_whatever_their_fields(tmp_path):
    import pandas as pd

    record = {"ID": "2024-I-4", "Problem": "p", "Solution": "s", "Answer": 33}
    pd.DataFrame([record]).to_parquet(tmp_path / "train.parquet")
    (sample,) = aime.samples(tmp_path, ["train.parquet"])
    assert (sample.id, sample.target) == ("2024-I-4", "33")


@pytest.mark.parametrize(
    "shown", ["**ANSWER:** C", "ANSWER: \\boxed{C}", "ANSWER: $\\boxed{\\text{C}}$", "`ANSWER: C`", "answer: c"]
)
def test_letters_are_read_in_whatever_dress(shown):
    assert gpqa.final_answer(shown) == "C"


def test_marks_of_encoding_and_odd_line_ends_do_no_harm(tmp_path):
    record = {"id": "1", "problem": "a\u2028b\u0085c", "answer": "073"}
    (tmp_path / "a.jsonl").write_text("\ufeff" + json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    (sample,) = aime.samples(tmp_path, ["a.jsonl"])
    assert "a\u2028b\u0085c" in sample.input and sample.target == "73"


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("a.jsonl", '{"id": 1, "problem": "p"}', "record 1 has no field 'answer'"),
        ("a.jsonl", '{"id": 1, "problem": "p", "answer": 33.7}', "which is no whole number from 0 to 999"),
        ("a.jsonl", "{", "cannot be read as a dataset"),
        ("a.jsonl", "[1]", "has no field"),
        ("a.parquet", "no", "cannot be read as a dataset"),
        ("a.txt", "no", "has no file with records"),
        ("a.jsonl", "", "has no file with records"),
    ],
)
def test_files_that_are_no_dataset_are_named(tmp_path, file, content, sentence):
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(AoeError, match=sentence):
        aime.samples(tmp_path, [file])
