"""Programs as answers: only those that pass the official tests count, whatever else they do."""

import json

from inspect_ai.log import read_eval_log
from benchmarks.catalog import scored_rows, task_of, turns_of
from benchmarks.runner import ask
from benchmarks.sandbox import Limits
from benchmarks.suite.bigcodebench import grade, samples, solvable
from support.scripted import END_THINK, Reply, Scripted

TASK = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": 'import math\ndef task_func(x):\n    """The double of x."""\n',
    "instruct_prompt": "Write a function that doubles. It starts with: def task_func(x):",
    "code_prompt": "import math\ndef task_func(x):",
    "canonical_solution": "    return 2 * x",
    "test": (
        "import unittest\nclass TestCases(unittest.TestCase):\n"
        "    def test_one(self):\n        self.assertEqual(task_func(2), 4)\n"
        "    def test_two(self):\n        self.assertEqual(task_func(-1), -2)\n"
    ),
    "entry_point": "task_func",
}
CODE = "```python\ndef task_func(x):\n    return {}\n```"
METADATA = {
    "head": TASK["code_prompt"],
    "solution": TASK["code_prompt"] + "\n" + TASK["canonical_solution"],
    "test": TASK["test"],
}
ANSWERS = {
    "```python\nimport math\ndef task_func(x):\n    return 2 * x\n```": True,
    "Here:\n```python\ndef task_func(x):\n    return x + x\n```\nIt doubles.": True,
    "def task_func(x):\n    return 2 * x": True,
    "```\ndef task_func(x):\n    return 2 * x\n```": True,
    "```python\ndef task_func(x):\n    return 4\n```": False,
    "```python\ndef task_func(x): return 2 *\n```": False,
    "I cannot do that.": False,
    "": False,
    "```python\nimport sys\nsys.exit(0)\n```": False,
    "```python\nimport os\nos._exit(0)\n```": False,
    "```python\nimport unittest\nunittest.main = lambda *a, **k: None\ndef task_func(x): return 1\n```": False,
    "```python\ndef task_func(x): return 1\nclass TestCases: pass\n```": False,
    "```python\nprint('OK')\nraise SystemExit\n```": False,
    "```python\nwhile True: pass\n```": False,
    # right, whatever they do beside
    "```python\nfrom __future__ import annotations\ndef task_func(x): return 2 * x\n```": True,
    "```python\nimport atexit\natexit.register(print, 'bye')\ndef task_func(x): return 2 * x\n```": True,
    "```python\nimport io, sys\nsys.stdout = io.StringIO()\ndef task_func(x): return 2 * x\n```": True,
    "```python\nimport threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    "def task_func(x): return 2 * x\n```": True,
    "```python\nimport unittest\nclass Mine(unittest.TestCase):\n    def test(self): self.fail()\n"
    "def task_func(x): return 2 * x\n```": True,
    "1. So:\n   ```python\n   def task_func(x):\n       return 2 * x\n   ```": True,
    # tests that were not run, or not as they are
    "```python\ndef load_tests(*_): return __import__('unittest').TestSuite()\ndef task_func(x): return 1\n```": False,
    "```python\nimport unittest\ndef task_func(x): raise unittest.SkipTest('x')\n```": False,
    "```python\nimport unittest\nunittest.TestResult.wasSuccessful = lambda self: True\n"
    "def task_func(x): return 1\n```": False,
    "```python\nimport sys, os\nframe = sys._getframe()\nwhile frame:\n    print(frame.f_locals.get('token'))\n"
    "    frame = frame.f_back\nos._exit(0)\n```": False,
}


def test_answers_are_scored_by_their_tests(sandbox):
    found = grade(list(ANSWERS), [METADATA] * len(ANSWERS), sandbox, Limits(seconds=10), threads=2)
    assert dict(zip(ANSWERS, found, strict=True)) == ANSWERS


def test_a_task_whose_own_solution_fails_cannot_be_graded(sandbox):
    """It needs a library that is not there, as most of the official tasks do outside of their image."""
    impossible = {**METADATA, "solution": "import missing_library\n" + METADATA["solution"]}
    assert solvable([METADATA, impossible], sandbox, Limits(seconds=10), threads=2) == [True, False]


def test_a_slow_program_is_not_failed_by_a_greedy_neighbour(sandbox):
    slow = CODE.format("2 * x + sum(0 for _ in range(10**7)) * 0")
    greedy = "```python\nimport os\nfor _ in range(40):\n    os.fork() or os.setsid()\nwhile True: pass\n```"
    task = [METADATA] * 3
    assert grade([slow, greedy, slow], task, sandbox, Limits(seconds=4), threads=3) == [True, False, True]


WITH_REASONING = {  # what an endpoint answers after a forced <think>, whether that passes, and its closing tags
    "wrong while thinking": (CODE.format("4") + "</think>" + CODE.format("2 * x"), True, 1),
    "right only while thinking": (CODE.format("2 * x") + "</think>" + CODE.format("4"), False, 1),
    "no tag": ("Let me see. " + CODE.format("2 * x"), True, 0),
    "two tags": ("a</think>" + CODE.format("4") + "</think>" + CODE.format("2 * x"), True, 2),
    "a tag in the middle of the code": ("</think>" + CODE.format("2 * x  # </think>"), False, 2),
    "only a refusal": ("</think>I will not.", False, 1),
}


def test_what_is_before_the_last_closing_tag_is_not_run(sandbox, tmp_path):
    records = [{**TASK, "task_id": name, "instruct_prompt": f"<{name}>"} for name in WITH_REASONING]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    task = task_of("bigcodebench", {"seed": 1}, (tmp_path, ["data.jsonl"]))
    with Scripted(lambda request: Reply(WITH_REASONING[request["messages"][0]["content"].strip("<>")][0])) as server:
        logs = ask([task], "scripted", server.url, "key", 4, tmp_path / "logs")
    log = read_eval_log(logs["bigcodebench"])
    turns = [turn for turn, _ in turns_of(log)]
    passed = grade([turn.shown for turn in turns], [turn.metadata for turn in turns], sandbox, Limits(seconds=10), 2)
    marks = {(turn.question, 1, 1): float(mark) for turn, mark in zip(turns, passed, strict=True)}
    rows = {row["question"]: row for row in scored_rows(log, END_THINK, marks)}
    assert {name: (row["right"], row["closing_tags"]) for name, row in rows.items()} == {
        name: (float(right), tags) for name, (_, right, tags) in WITH_REASONING.items()
    }


def test_both_kinds_of_prompts_are_read(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps(TASK), encoding="utf-8")
    (complete,) = samples(tmp_path, ["data.jsonl"], "complete")
    (instruct,) = samples(tmp_path, ["data.jsonl"], "instruct")
    assert complete.input.endswith(TASK["complete_prompt"])
    assert len(complete.input) > len(TASK["complete_prompt"])
    assert instruct.input == TASK["instruct_prompt"]
    assert complete.metadata == METADATA
