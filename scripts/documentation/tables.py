"""The tables that pages can show, by the names in their marks.

A table is a function without arguments that returns its head and its rows, every cell a text.  ``keys config serving``
is the table of the keys of a part of a schema: here of ``serving`` in config/schemas/study.schema.json.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.checkpoints.architectures import definitions
from aoe.checkpoints.formats import FORMATS
from aoe.checkpoints.parts import MEANINGS
from aoe.document.figures import FIGURES
from aoe.norms import NORMS
from benchmarks import registry
from documentation.keys import HEAD, keys

Rows = Iterator[list[str]]
FAMILIES = Path(__file__).parents[2] / "docs/families.json"
LEFT_OUT, ANSWERS = "left out", "answers as transformers does"
EVERYWHERE = ("embeddings", "norms", "lm_head")


def _norms() -> Rows:
    yield ["norm", "definition", "unit"]
    for norm in NORMS:
        yield [f"`{norm.name}`", norm.text, norm.unit]


def _architectures() -> Rows:
    yield ["`model_type`", "architecture", "patterns of its own", "planned before it is locked (`expected`)"]
    for name, definition in definitions().items():
        yield [
            f"`{name}`",
            definition.title,
            *("yes" if part else "no" for part in (definition.patterns, definition.layer)),
        ]


def _groups() -> Rows:
    yield ["group", "tensors"]
    for group, meaning in MEANINGS.items():
        yield [f"`{group}`", meaning]


def _formats() -> Rows:
    yield ["format", "bytes a number", "combined", "with scales of blocks"]
    for one in FORMATS.values():
        yield [f"`{one.name}`", str(one.bytes), "yes" if one.combines else "copied", "yes" if one.fp8 else "no"]


def _benchmarks() -> Rows:
    yield HEAD
    for benchmark in registry.table().values():
        yield [f"`{benchmark.name}`", "settings", "not asked", benchmark.summary]


def _figures() -> Rows:
    yield ["figure", "title", "result tables", "a study lacks it if"]
    for figure in FIGURES.values():
        yield [figure.number, figure.title, ", ".join(f"`{table}`" for table in figure.needs), figure.missing]


def _families() -> Rows:
    yield ["`model_type`", "class in transformers", "groups beside embeddings and norms", "merged, audited", "vLLM"]
    for name, family in _recorded():
        if family["outcome"] != LEFT_OUT:
            groups = ", ".join(f"`{group}`" for group in family.get("groups", ()) if group not in EVERYWHERE)
            said = family["outcome"] + (f": {_cell(family['why'])}" if "why" in family else "")
            yield [f"`{name}`", f"`{family['class']}`", groups, said, _cell(family.get("served", ""))]


def _outcomes() -> Rows:
    yield ["outcome", "families", "answer in vLLM as in transformers"]
    counts = Counter(family["outcome"] for _, family in _recorded())
    served = Counter(family["outcome"] for _, family in _recorded() if family.get("served") == ANSWERS)
    for outcome, number in counts.most_common():
        yield [outcome, str(number), str(served[outcome])]


def _left_out() -> Rows:
    yield ["why", "`model_type`"]
    reasons: dict[str, list[str]] = {}
    for name, family in _recorded():
        if family["outcome"] == LEFT_OUT:
            reasons.setdefault(family["why"], []).append(f"`{name}`")
    for why in sorted(reasons):
        yield [_cell(why), ", ".join(reasons[why])]


def _recorded() -> list[tuple[str, dict[str, Any]]]:
    """Return what came of each family, as `make families` has written it, by name."""
    content = json.loads(FAMILIES.read_text(encoding="utf-8"))
    return sorted(content["families"].items())


def _cell(text: str) -> str:
    """Return a program's sentence as the text of a cell."""
    return text.replace("|", r"\|").replace("<", "&lt;")


TABLES: dict[str, Callable[[], Rows]] = {
    "benchmarks": _benchmarks,
    "families": _families,
    "families left out": _left_out,
    "figures": _figures,
    "norms": _norms,
    "outcomes": _outcomes,
    "groups": _groups,
    "architectures": _architectures,
    "storage formats": _formats,
}


def table(name: str, page: Path) -> list[str]:
    """Return the lines of a table in Markdown.  page: whose mark names it, for the error.

    Raises AoeError for a table that there is not.
    """
    kind, _, rest = name.partition(" ")
    if kind == "keys":
        lines: list[list[str]] = [HEAD, *keys(*rest.split())]
    elif name in TABLES:
        lines = [list(line) for line in TABLES[name]()]
    else:
        raise AoeError(f"{page} names the table {name!r}; there are {', '.join(TABLES)}, and `keys SCHEMA PART`.")
    head, *rows = lines
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
