"""The tables that pages can show, by the names in their marks.

A table is a function without arguments that returns its head and its rows, every cell a text.  ``keys config serving``
is the table of the keys of a part of a schema: here of ``serving`` in config/schemas/study.schema.json.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from aoe import AoeError
from aoe.checkpoints.architectures import definitions
from aoe.checkpoints.formats import FORMATS
from aoe.checkpoints.parts import MEANINGS
from aoe.document.figures import FIGURES
from aoe.norms import NORMS
from benchmarks import registry
from documentation.keys import HEAD, keys

Rows = Iterator[list[str]]


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


TABLES: dict[str, Callable[[], Rows]] = {
    "benchmarks": _benchmarks,
    "figures": _figures,
    "norms": _norms,
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
