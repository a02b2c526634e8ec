"""BigCodeBench: programming tasks whose answers are run against tests, in a sandbox [paper, section 4.1]."""

import secrets
from concurrent.futures import ThreadPoolExecutor

from inspect_ai.dataset import Sample
from inspect_evals.bigcodebench.bigcodebench import INSTRUCTION_PROMPT
from inspect_evals.utils.code import extract_code_block
from benchmarks.datasets import read_records
from benchmarks.sandbox import run

PROMPTS = {"complete": "complete_prompt", "instruct": "instruct_prompt"}
FIELDS = ("task_id", *PROMPTS.values(), "code_prompt", "canonical_solution", "test", "entry_point")
ANSWER = "answer.py"
# Reads a token before anything of the answer's is run, and says it after the tests have passed: a program that ends
# itself early, with whatever status, has not passed them.
RUNNER = f"""
import sys, types, unittest

def main():
    token = sys.stdin.readline().strip()
    sys.stdin = open("/dev/null")
    module = types.ModuleType("__test__")
    sys.modules["__test__"] = module
    exec(compile(open("/program/{ANSWER}").read(), "{ANSWER}", "exec"), module.__dict__)
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(module))
    if result.testsRun and result.wasSuccessful():
        sys.stderr.flush()
        print("\\n" + token, flush=True)

main()
"""


def samples(folder, files, mode):
    """One Sample a task.

    mode: "complete" (the function's head and documentation are given) or "instruct" (a description in words).  Raises
    AoeError if the files are not BigCodeBench's.
    """
    return [
        Sample(
            id=record["task_id"],
            input=(INSTRUCTION_PROMPT if mode == "complete" else "") + record[PROMPTS[mode]],
            target="",
            metadata={
                "head": record["code_prompt"],
                "solution": record["canonical_solution"],
                "test": record["test"],
            },
        )
        for record in read_records(folder, files, FIELDS)
    ]


def grade(shown, metadata, sandbox, limits, threads):
    """Whether each answer's program passes its task's tests; the programs run in the sandbox, several at a time.

    shown: what is visible of the answers; metadata: of their samples.  None where not even the task's own solution
    passes, because the sandbox lacks a library or the tests want a network: then nobody can tell.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda answer, task: passes(code_of(answer), task, sandbox, limits), shown, metadata))
        failed = {task["test"]: task for task, passed in zip(metadata, found, strict=True) if not passed}
        own = {test: f"{task['head']}\n{task['solution']}" for test, task in failed.items()}
        solved = pool.map(lambda test: passes(own[test], failed[test], sandbox, limits), failed)
        possible = dict(zip(failed, solved, strict=True))
    return [passed if possible.get(task["test"], True) else None for passed, task in zip(found, metadata, strict=True)]


def passes(code, task, sandbox, limits):
    """Whether a program passes the official tests: ``task`` has the ``head``, which the code may repeat, and the
    ``test``."""
    token = secrets.token_hex(16)
    program = f"{task['head']}\n    pass\n\n{code}\n\n{task['test']}\n"
    result = run(RUNNER, sandbox, limits, {ANSWER: program}, f"{token}\n")
    return result.passed and result.output.rstrip().endswith(f"\n{token}")


def code_of(answer):
    """The program in an answer: its block of code, or, where it has none, all of it."""
    code = extract_code_block(answer, "python")
    return answer if code is None else code
