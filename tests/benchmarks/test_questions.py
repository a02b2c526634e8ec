"""Whatever a benchmark, or who grades it, will miss in a dataset is named before anything is served."""

import json

import pytest
from aoe import AoeError
from benchmarks.catalog import check_dataset

AIME = {"id": "1", "problem": "1+1?", "answer": "2"}
GPQA = {"Record ID": "rec1", "Question": "?", "Correct Answer": "a"} | {
    f"Incorrect Answer {n}": str(n) for n in (1, 2, 3)
}
CODE = dict.fromkeys(
    ("complete_prompt", "instruct_prompt", "code_prompt", "canonical_solution", "test", "entry_point"), "x"
) | {"task_id": "BigCodeBench/0"}
QUESTION = {"question_id": 81, "category": "math", "turns": ["1+1?", "And 2+2?"]}
REFERENCE = {"question_id": 81, "choices": [{"turns": ["2", "4"]}]}
PROMPTS = {
    "single-v1": "{question} {answer}",
    "single-math-v1": "{question} {answer} {ref_answer_1}",
    "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2}",
    "single-math-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2} {ref_answer_1} {ref_answer_2}",
}
FILES = {"question.jsonl": [QUESTION], "reference_answer/gpt-4.jsonl": [REFERENCE]}
FILES["judge_prompts.jsonl"] = [
    {"name": n, "system_prompt": "Judge.", "prompt_template": t} for n, t in PROMPTS.items()
]


def check(folder, name, files):
    for file, records in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return check_dataset(name, {"dataset": "theirs", "seed": 1}, [str(folder), list(files)])


RULES = {"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
RECORDS = {"aime2024": AIME, "aime2025": AIME, "gpqa_diamond": GPQA, "bigcodebench": CODE, "ifeval": RULES}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, record in RECORDS.items() for field in record])
def test_a_missing_field_is_named_with_benchmark_dataset_and_file(tmp_path, name, field):
    record = RECORDS[name]
    assert check(tmp_path, name, {"test.jsonl": [record]}) == 1
    lacking = {key: value for key, value in record.items() if key != field}
    sentence = rf"{name} cannot be asked with the dataset theirs: .*/test\.jsonl: record 1 has no field '{field}'"
    with pytest.raises(AoeError, match=sentence):
        check(tmp_path, name, {"test.jsonl": [lacking]})


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("records", [[], [3], [[]], ["text"], [None], [{}]])
def test_records_that_are_none_are_told(tmp_path, name, records):
    with pytest.raises(AoeError, match=f"{name} cannot be asked with the dataset theirs: "):
        check(tmp_path, name, {"test.jsonl": records})


def test_odd_values_are_told_too(tmp_path):
    with pytest.raises(AoeError, match=r"gpqa_diamond cannot be asked with the dataset theirs: .*AttributeError"):
        check(tmp_path, "gpqa_diamond", {"test.jsonl": [{**GPQA, "Question": 7}]})


@pytest.mark.parametrize("gone", FILES)
def test_every_file_of_mt_bench_is_needed(tmp_path, gone):
    assert check(tmp_path, "mt_bench", FILES) == 1
    with pytest.raises(AoeError, match="mt_bench cannot be asked with the dataset theirs: "):
        check(tmp_path, "mt_bench", {file: records for file, records in FILES.items() if file != gone})


@pytest.mark.parametrize(
    ("file", "record", "sentence"),
    [
        ("reference_answer/gpt-4.jsonl", {"question_id": 81, "choices": []}, "reference answer 81 has no turns"),
        ("reference_answer/gpt-4.jsonl", {"question_id": 81, "choices": [{"turns": ["2"]}]}, "to every turn"),
        ("reference_answer/gpt-4.jsonl", {"question_id": 80, "choices": [{"turns": ["2", "4"]}]}, "to every turn"),
        ("reference_answer/gpt-4.jsonl", {"question_id": 81}, "has no field 'choices'"),
        ("judge_prompts.jsonl", {"name": "single-v1", "system_prompt": "J"}, "has no field 'prompt_template'"),
    ],
)
def test_what_the_judge_will_miss_is_named(tmp_path, file, record, sentence):
    with pytest.raises(AoeError, match=f"mt_bench cannot be asked with the dataset theirs: .*{sentence}"):
        check(tmp_path, "mt_bench", {**FILES, file: [record]})


def test_a_prompt_that_asks_for_something_else_is_named(tmp_path):
    prompts = [{**prompt, "prompt_template": "{essay}"} for prompt in FILES["judge_prompts.jsonl"]]
    with pytest.raises(AoeError, match=r"judge prompt single-math-v1 cannot be filled in for question 81 .*essay"):
        check(tmp_path, "mt_bench", {**FILES, "judge_prompts.jsonl": prompts})
