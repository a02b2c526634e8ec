"""Every text file is read and written with its encoding stated: a cluster's locale need not be UTF-8."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("scripts", "tests", "envs") for path in (ROOT / folder).rglob("*.py"))
TEXT = {"run", "Popen", "check_output"}
BINARY = {"rb", "wb", "ab", "r+b", "w+b"}


def without_encoding(source):
    """The lines of a program that open a file as text, or run a command for its text, and leave the encoding open."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        words = {word.arg for word in call.keywords}
        values = {node.value for node in ast.walk(call) if isinstance(node, ast.Constant)}
        method = getattr(call.func, "attr", None)
        reads = method == "read_text" and not call.args  # what has a name to read is no path
        opens = reads or method == "write_text" or getattr(call.func, "id", "") == "open"
        if ((opens and not values & BINARY) or (method in TEXT and "text" in words)) and not words & {"encoding", None}:
            found.append(call.lineno)
    return found


def test_what_leaves_the_encoding_open_is_found():
    source = "open('a')\nopen('a', 'rb')\np.read_text()\np.write_text(t, encoding='utf-8')\nsp.run(c, text=True)\n"
    assert without_encoding(source) == [1, 3, 5]


def test_every_text_file_has_its_encoding_stated():
    programs = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in FILES}
    assert {path: lines for path, text in programs.items() if (lines := without_encoding(text))} == {}
