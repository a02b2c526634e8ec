"""BigCodeBench: programming tasks whose answers are run against tests, in a sandbox [paper, section 4.1]."""

import re
import secrets
import textwrap
from concurrent.futures import ThreadPoolExecutor

from inspect_ai.dataset import Sample
from inspect_evals.bigcodebench.bigcodebench import INSTRUCTION_PROMPT
from inspect_evals.utils.code import extract_code_block
from benchmarks.datasets import read_records
from benchmarks.sandbox import OUT_OF_TIME, run

PROMPTS = {"complete": "complete_prompt", "instruct": "instruct_prompt"}
FIELDS = ("task_id", *PROMPTS.values(), "code_prompt", "canonical_solution", "test", "entry_point")
HEAD, ANSWER, TEST = "head.py", "answer.py", "test.py"
# The answer and the tests run in a child; the token is read only when the child has reported that every official test
# was run and passed.  So a program that ends early, prints much, or brings tests of its own passes nothing by it.  One
# that sets out to cheat can: it shares a process with its tests, here as in the benchmark's own harness.
RUNNER = f"""
import ast, os, sys, types, unittest

def of(name):
    return open("/program/" + name).read()

def child(report):
    # as they are before the answer can change them
    Result, TestCase, load = unittest.TestResult, unittest.TestCase, unittest.TestLoader().loadTestsFromTestCase
    passed = Result.wasSuccessful
    names = [node.name for node in ast.parse(of("{TEST}")).body if isinstance(node, ast.ClassDef)]
    module = types.ModuleType("__test__")
    sys.modules["__test__"] = module
    lines = of("{ANSWER}").split("\\n")
    future = [line for line in lines if line.startswith("from __future__ import")]
    answer = [line for line in lines if line not in future]
    program = [*future, of("{HEAD}"), "    pass", *answer, of("{TEST}")]
    exec(compile("\\n".join(program), "{ANSWER}", "exec"), module.__dict__)
    cases = [load(getattr(module, name)) for name in names if issubclass(getattr(module, name), TestCase)]
    result, wanted = Result(), sum(case.countTestCases() for case in cases)
    for case in cases:
        case.run(result)
    for _, trace in result.failures + result.errors:
        print(trace, file=sys.stderr)
    if passed(result) and wanted and result.testsRun == wanted and not result.skipped:
        os.write(report, b"passed")

receive, report = os.pipe()
if os.fork() == 0:
    os.close(receive)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    try:
        child(report)
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr)
    os._exit(0)
os.close(report)
os.wait()
if os.read(receive, 10) == b"passed":
    print("\\n" + sys.stdin.readline().strip(), flush=True)
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
                "solution": f"{record['code_prompt']}\n{record['canonical_solution']}",
                "test": record["test"],
            },
        )
        for record in read_records(folder, files, FIELDS)
    ]


def solvable(tasks, sandbox, limits, threads):
    """Of each task (a sample's metadata), whether its own solution passes here: the sandbox may lack a library, and the
    tests may want a network.  Where it does not, nobody can tell whether an answer is right."""
    return _pass([task["solution"] for task in tasks], tasks, sandbox, limits, threads)


def grade(shown, tasks, sandbox, limits, threads):
    """Whether each answer's program passes its task's tests; the programs run in the sandbox, several at a time.

    shown: what is visible of the answers; tasks: the metadata of their samples.
    """
    return _pass([code_of(answer) for answer in shown], tasks, sandbox, limits, threads)


def _pass(programs, tasks, sandbox, limits, threads):
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda code, task: _passes(code, task, sandbox, limits), programs, tasks))
    # another program may have taken the time: what was too slow gets its time for itself
    return [
        _passes(code, task, sandbox, limits)[0] if slow and threads > 1 else passed
        for (passed, slow), code, task in zip(found, programs, tasks, strict=True)
    ]


def _passes(code, task, sandbox, limits):
    """(whether a program passes the official tests, whether it ran out of time).

    task: has the ``head``, which the code may repeat, and the ``test``.
    """
    token = secrets.token_hex(16)
    files = {HEAD: task["head"], ANSWER: code, TEST: task["test"]}
    result = run(RUNNER, sandbox, limits, files, f"{token}\n")
    return result.passed and token in result.output.splitlines(), result.reason == OUT_OF_TIME


def code_of(answer):
    """The program in an answer: its block of code, or, where it has none, all of it."""
    code = extract_code_block(re.sub(r"(?m)^[ \t]+```", "```", answer), "python")
    return answer if code is None else textwrap.dedent(code)
