"""BigCodeBench: programming tasks whose answers are run against tests, in a sandbox [paper, section 4.1]."""

from __future__ import annotations

import ast
import re
import secrets
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.datasets import read_records
from benchmarks.registry import Benchmark, Question, Sandboxed

if TYPE_CHECKING:
    from benchmarks.sandbox import Limits, Sandbox

Task = Mapping[str, Any]  # a question's metadata
PROMPTS = {"complete": "complete_prompt", "instruct": "instruct_prompt"}
FIELDS = ("task_id", *PROMPTS.values(), "code_prompt", "canonical_solution", "test", "entry_point")
FENCE = re.compile(r"(?:(?:\s|>|[-*+]\s|\d+[.)]\s)*|[^`~\n]*[:.]\s*)(?P<fence>`{3,}|~{3,})(?P<label>[^`\n]*)")
BEGINS_CODE = re.compile(r"(?:import|from|def|class|async|@|#|\w+ *=)")
MOST_ENDS, MOST_STARTS, MOST_LINES = 20, 8, 400  # that are tried
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


def samples(folder: Path | str, files: Iterable[str], mode: str) -> list[Question]:
    """Return one Question a task.

    mode: "complete" (the function's head and documentation are given) or "instruct" (a description in words).  Raises
    AoeError if the files are not BigCodeBench's.
    """
    from inspect_evals.bigcodebench.bigcodebench import INSTRUCTION_PROMPT

    return [
        Question(
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


def solvable(tasks: Sequence[Task], sandbox: Sandbox, limits: Limits | None, threads: int) -> list[bool]:
    """Return, of each task (a question's metadata), whether its own solution passes here.

    The sandbox may lack a library, and the tests may want a network.  Where the solution fails, nobody can tell whether
    an answer is right.
    """
    return _pass([task["solution"] for task in tasks], tasks, sandbox, limits, threads)


def grade(
    shown: Sequence[str], tasks: Sequence[Task], sandbox: Sandbox, limits: Limits | None, threads: int
) -> list[bool]:
    """Return whether each answer's program passes its task's tests.

    The programs run in the sandbox, several at a time.  shown: what is visible of the answers; tasks: the metadata of
    their questions.
    """
    return _pass(
        [code_of(a, entry_point_of(t)) for a, t in zip(shown, tasks, strict=True)], tasks, sandbox, limits, threads
    )


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
    from benchmarks.sandbox import OUT_OF_TIME, run

    token = secrets.token_hex(16)
    files = {HEAD: task["head"], ANSWER: code, TEST: task["test"]}
    result = run(RUNNER, sandbox, limits, files, f"{token}\n")
    return result.passed and token in result.output.splitlines(), result.reason == OUT_OF_TIME


def code_of(answer: str, entry_point: str = "task_func") -> str:
    """Return the program in an answer.

    It is the last block that parses and defines ``entry_point``, with what it needs of others.  Where no
    block does, it is the longest run of lines that does, else the first block, or, without blocks, the answer.
    """
    answer = answer.replace("\r\n", "\n")
    parts = list(_blocks(answer))
    parsed = [(code, tree) for code, _ in parts if (tree := _tree(code))]
    solutions = [place for place, (_, tree) in enumerate(parsed) if _defines(tree, entry_point)]
    if solutions:
        code, tree = parsed.pop(solutions[-1])
        # a name is what the block nearest before the solution makes it
        others = [other for _, other in parsed[solutions[-1] :] + parsed[: solutions[-1]]]
        return _with_needed(code, tree, others)
    if (code := _unfenced(answer, entry_point)) is not None:
        return code
    fenced = [code for code, is_fenced in parts if is_fenced]
    return fenced[0] if fenced else answer


def has_program(answer: str, task: Task) -> bool:
    """Return whether an answer has a program that parses and defines the function of its task."""
    tree = _tree(code_of(answer, entry_point_of(task)))
    return tree is not None and _defines(tree, entry_point_of(task))


def entry_point_of(task: Task) -> str:
    """Return the function that a task asks for: the last one that its head begins."""
    return ["task_func", *re.findall(r"(?m)^(?:async +)?def +(\w+)", task["head"])][-1]


def _blocks(answer):
    """(code, whether it is fenced) of every part of an answer, in order; what is between the blocks are parts, too.

    A fence that is never closed ends with the answer.  Where a block holds fences in its strings, it ends at the first
    one with which it parses.
    """
    lines, start, place = answer.split("\n"), 0, 0
    while place < len(lines):
        opening = FENCE.fullmatch(lines[place])
        if not opening:
            place += 1
            continue
        yield _code(lines[start:place]), False
        fence = opening["fence"]
        ends = [end for end in range(place + 1, len(lines)) if _closes(lines[end], fence)]
        tried = ((end, _code(lines[place + 1 : end])) for end in ends[:MOST_ENDS])
        fallback = ends[0] if ends else len(lines)
        end = next((end for end, code in tried if code.strip() and _tree(code)), fallback)
        code = _code(lines[place + 1 : end])
        glued = re.sub(r"(?<=\S)(```+|~~~+)\s*\Z", "", code)
        if code.strip():
            yield glued, True
        # a labelled fence opens a block, even where the one before was not closed
        start = place = end if end < len(lines) and _labelled(lines[end]) else end + 1
    yield _code(lines[start:]), False


def _closes(line, fence):
    """Whether a line ends a block: a bare fence at least as long as the opening one, or the next labelled one."""
    found = FENCE.fullmatch(line)
    return found is not None and found["fence"][0] == fence[0] and len(found["fence"]) >= len(fence)


def _labelled(line):
    found = FENCE.fullmatch(line)
    return bool(found and found["label"].strip())


def _code(lines):
    """Lines as code: without the marks of quotations and the indentation of lists."""
    if lines and all(line.startswith(">") for line in lines if line.strip()):
        lines = [line.removeprefix(">") for line in lines]
    return textwrap.dedent("\n".join(lines)).strip("\n")


def _tree(code):
    """The syntax tree of a program, or None if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defines(tree, name):
    """Whether a program's top level makes a name itself, rather than importing it."""
    made = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return any(name in _bound(node) for node in made)


def _defined(tree):
    """The names that a program's top level binds."""
    return {name for node in tree.body for name in _bound(node)}


def _bound(node):
    """The names that a statement binds at its own level."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(name.asname or name.name).split(".")[0] for name in node.names}
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    if isinstance(node, (ast.If, ast.Try, ast.With)):
        return {name for part in ast.iter_child_nodes(node) for name in _bound(part)}
    if isinstance(node, ast.ExceptHandler):
        return {name for part in node.body for name in _bound(part)}
    return set()


def _with_needed(code, tree, others):
    """A program, behind the statements of other blocks that bind names which it uses and does not bind."""
    bound, wanted, needed = _defined(tree), _used(tree), []
    statements = [node for other in others for node in other.body]
    while found := [node for node in reversed(statements) if _bound(node) & (wanted - bound)]:
        bound |= _bound(found[0])
        wanted |= _used(found[0])
        needed.append(found[0])
    needed.sort(key=statements.index)
    return "\n".join([*map(ast.unparse, needed), code])


def _used(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _unfenced(answer, entry_point):
    """The longest run of lines from one that begins code which parses and defines ``entry_point``, or None."""
    lines = answer.split("\n")[:MOST_LINES]
    ends = [end for end in range(len(lines), 0, -1) if lines[end - 1].strip()]
    starts = [place for place, line in enumerate(lines) if BEGINS_CODE.match(line)]
    for start in starts[:MOST_STARTS]:
        for end in ends:
            if end <= start:
                break
            tree = _tree("\n".join(lines[start:end]))
            if tree and _defines(tree, entry_point):
                return "\n".join(lines[start:end])
    return None


BIGCODEBENCH = Benchmark(
    name="bigcodebench",
    title="BigCodeBench",
    summary="programming tasks; the answers are run against the official tests in a [sandbox](#sandbox)",
    questions=lambda settings, dataset: samples(dataset[0], dataset[1], settings.get("mode", "instruct")),
    grading=Sandboxed(solvable, grade, has_program),
    short_title="BigCode-\nBench",
)
