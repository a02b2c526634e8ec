"""Does an environment give what the scripts of its rules import?"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.nodes.readiness import trying
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def imported(script: Path | str) -> Iterator[str]:
    """Yield the names of the modules that a script imports, wherever in it, except for those that only types need."""
    nodes: list[ast.AST] = [ast.parse(Path(script).read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."  # which cannot be imported, like all that is relative to a script
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += ast.iter_child_nodes(node)


with (
    logged(snakemake.log[0]),
    trying(snakemake.params.title, snakemake.output[0], snakemake.log[0]) as check,
    check.phase("imports"),
):
    scripts = {script: list(dict.fromkeys(imported(script))) for script in snakemake.params.scripts}
    for module in dict.fromkeys(module for modules in scripts.values() for module in modules):
        try:
            importlib.import_module(module)
        except Exception as error:
            needs = ", ".join(Path(script).name for script, modules in scripts.items() if module in modules)
            check.problem(
                f"{needs} cannot import {module} ({type(error).__name__}: {error}); make the environment "
                f"{snakemake.params.file} anew."
            )
    check.fact(f"What {len(scripts)} scripts import is there.")
