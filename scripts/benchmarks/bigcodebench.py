"""BigCodeBench: programming tasks whose answers are run against tests, in a sandbox [paper, section 4.1]."""

import secrets
from concurrent.futures import ThreadPoolExecutor

from inspect_ai.dataset import Sample
from inspect_evals.bigcodebench.bigcodebench import INSTRUCTION_PROMPT
from inspect_evals.utils.code import extract_code_block
from benchmarks.datasets import read_records
from benchmarks.sandbox import run

PROMPTS = {"complete": "complete_prompt", "instruct": "instruct_prompt"}
FIELDS = ("task_id", *PROMPTS.values(), "code_prompt", "test", "entry_point")
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
            metadata={"head": record["code_prompt"], "test": record["test"]},
        )
        for record in read_records(folder, files, FIELDS)
    ]


def grade(shown, metadata, sandbox, limits, threads):
    """Whether each answer's program passes its task's tests; the programs run in the sandbox, several at a time.

    shown: what is visible of the answers; metadata: of their samples.
    """
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda answer, task: passes(answer, task, sandbox, limits), shown, metadata))


def passes(answer, task, sandbox, limits):
    """Whether an answer's program passes the official tests: ``task`` has the ``head`` and the ``test``."""
    token = secrets.token_hex(16)
    result = run(RUNNER, sandbox, limits, {ANSWER: program(answer, task["head"], task["test"])}, f"{token}\n")
    return result.passed and result.output.rstrip().endswith(f"\n{token}")


def program(answer, head, test):
    """The program that is run: the task's imports and head, the answer's code, the official tests.

    An answer that repeats the head replaces it.
    """
    code = extract_code_block(answer, "python")
    return f"{head}\n    pass\n\n{answer if code is None else code}\n\n{test}\n"
