"""Run a variant's answers that are programs against their tests, in the sandbox: one row an answer."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe.files.tables import write_table
from benchmarks.catalog import turns_of
from benchmarks.registry import sandboxed
from benchmarks.sandbox import from_settings
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def grades_of(path: Path, solvable: dict[str, bool]) -> pd.DataFrame:
    """Return one row an answer to a benchmark: its mark, 1 or 0, or None where the task's own solution fails, too.

    path: of the answers' log; solvable: the id of each task -> whether its own solution passes.
    """
    turns = [turn for turn, _ in turns_of(read_eval_log(path))]
    shown, tasks = [turn.shown for turn in turns], [turn.metadata for turn in turns]
    passed = sandboxed(path.stem).grade(shown, tasks, sandbox, limits, snakemake.threads)
    places = [{"question": turn.question, "sample": turn.sample, "turn": turn.number} for turn in turns]
    return pd.DataFrame(places).assign(
        mark=[float(p) if solvable[turn.question] else None for p, turn in zip(passed, turns, strict=True)]
    )


with logged(snakemake.log[0]):
    record_code(snakemake)
    sandbox, limits = from_settings(snakemake.params.sandbox)
    solvable = json.loads(Path(snakemake.input.solvable).read_text(encoding="utf-8"))
    paths = [Path(path) for path in snakemake.input.answers]
    if len(paths) == 1:
        table = grades_of(paths[0], solvable)
    else:
        tables = {path.stem: grades_of(path, solvable[path.stem]) for path in paths}
        table = pd.concat([table.assign(benchmark=name) for name, table in tables.items()], ignore_index=True)
    write_table(table.astype({"mark": float}), snakemake.output[0])
    if missing := table.mark.isna().sum():
        print(f"Warning: {missing} of {len(table)} answers do not count: their tasks' own solutions fail here, too.")
