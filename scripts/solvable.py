"""Find out which tasks can be graded here: those whose own solution passes in the sandbox."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.registry import benchmark, sandboxed
from benchmarks.sandbox import from_settings
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def solvable_of(name: str, settings: dict[str, Any]) -> dict[str, bool]:
    """Return {the id of each of a benchmark's tasks: whether its own solution passes here}."""
    tasks = benchmark(name).questions(settings, snakemake.params.datasets.get(settings.get("dataset")))
    passed = sandboxed(name).solvable([task.metadata for task in tasks], sandbox, limits, snakemake.threads)
    return {str(task.id): solved for task, solved in zip(tasks, passed, strict=True)}


with logged(snakemake.log[0]):
    record_code(snakemake)
    sandbox, limits = from_settings(snakemake.params.sandbox)
    found = {name: solvable_of(name, settings) for name, settings in snakemake.params.benchmarks.items()}
    passed = [solved for tasks in found.values() for solved in tasks.values()]
    content = found if len(found) > 1 else next(iter(found.values()))
    Path(snakemake.output[0]).write_text(json.dumps(content, indent=0), encoding="utf-8")
    print(f"{sum(passed)} of {len(passed)} tasks can be graded here")
