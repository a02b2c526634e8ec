"""BigCodeBench: programming tasks whose answers are run against tests, in a sandbox [paper, section 4.1]."""

import ast
import re
import secrets
import textwrap
from concurrent.futures import ThreadPoolExecutor

from inspect_ai.dataset import Sample
from inspect_evals.bigcodebench.bigcodebench import INSTRUCTION_PROMPT
from inspect_evals.utils.code import defines
from benchmarks.datasets import read_records
from benchmarks.plaintext import fences_of
from benchmarks.sandbox import OUT_OF_TIME, run

PROMPTS = {"complete": "complete_prompt", "instruct": "instruct_prompt"}
FIELDS = ("task_id", *PROMPTS.values(), "code_prompt", "canonical_solution", "test", "entry_point")
BEGINS = re.compile(r"[ \t]*(?:import|from|def|class|async|@)\b|[ \t]*@|[A-Za-z_]\w*[ \t]*=")
SEARCHED_STARTS, LONGEST_SEARCH = 20, 2000
ENTRY_POINT = "task_func"  # every task's, and that of answers asked before their samples said so
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
                "entry_point": record["entry_point"],
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
    programs = [code_of(answer, entry_point_of(task)) for answer, task in zip(shown, tasks, strict=True)]
    return _pass(programs, tasks, sandbox, limits, threads)


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


def entry_point_of(task):
    """Return the name of the function that a task (a sample's metadata) asks for."""
    return task.get("entry_point", ENTRY_POINT)


def code_of(answer, entry_point=ENTRY_POINT):
    """Return the program in an answer: the last block of code that defines the entry point, after the imports and
    definitions of the others; where no block does, the longest run of lines that does; else whatever code there is.
    """
    found = program_in(answer, entry_point)
    if found is not None:
        return found
    blocks, _ = fences_of(answer)
    return blocks[-1] if blocks else answer


def program_in(answer, entry_point=ENTRY_POINT):
    """Return the program in an answer, or None if nothing in it defines the entry point."""
    if entry_point not in answer:
        return None
    answer = "\n".join(answer.splitlines())
    is_program = defines(entry_point)
    # Markdown first; then with fences that are indented, or share a line with words or code
    for text in (
        answer,
        re.sub(r"(?m)^[ \t]+(?=```|~~~)", "", answer),
        re.sub(r"(?m)(?<=\S)[ \t]*(?=```)", "\n", answer),
    ):
        blocks, prose = fences_of(text)
        programs = [block for block in blocks if is_program(block)] or [part for part in prose if is_program(part)]
        if programs:
            others = [block for block in blocks if block is not programs[-1] and not is_program(block)]
            return "\n".join([*(block for block in others if _only_defines(block)), programs[-1]])
    return _longest_program(answer.splitlines(), is_program)


def _only_defines(code):
    """Whether a program imports and defines, and does nothing else: it may precede another one."""
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return bool(statements) and all(isinstance(statement, kinds) or _is_constant(statement) for statement in statements)


def _is_constant(statement):
    return isinstance(statement, ast.Assign) and not any(
        isinstance(node, ast.Call) for node in ast.walk(statement.value)
    )


def _longest_program(lines, is_program):
    """The longest run of lines that defines the entry point, or None.

    It begins where a statement can; LONGEST_SEARCH runs are tried, so that long prose does not take minutes.
    """
    starts = [n for n, line in enumerate(lines) if BEGINS.match(line)]
    ends = [n for n in range(len(lines), 0, -1) if lines[n - 1].strip()]
    runs = [(stop - start, start, stop) for start in starts[:SEARCHED_STARTS] for stop in ends if stop > start]
    for _, start, stop in sorted(runs, reverse=True)[:LONGEST_SEARCH]:
        code = textwrap.dedent("\n".join(lines[start:stop]))
        if is_program(code):
            return code
    return None
