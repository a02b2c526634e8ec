"""Score a variant's raw answers: one row a question and turn."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe.files.tables import read_table, write_table
from aoe.serving.servable import end_think_id
from benchmarks.catalog import scored_rows
from benchmarks.registry import Grades
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def marks_of(path: Path | str, variant: str, benchmark: str) -> Grades:
    """Return {(question, sample, turn): mark or None}, as a judge or the sandbox gave them."""
    table = read_table(path)
    for column, value in {"variant": variant, "benchmark": benchmark}.items():
        if column in table:  # tables of one benchmark do not name it
            table = table[table[column] == value]
    return {(row.question, row.sample, row.turn): None if pd.isna(row.mark) else row.mark for row in table.itertuples()}


with logged(snakemake.log[0]):
    variant, end_think = snakemake.wildcards.variant, end_think_id(snakemake.params.tokenizer)
    marks = {benchmark: marks_of(path, variant, benchmark) for benchmark, path in snakemake.params.marks.items()}
    rows = []
    for path in snakemake.input.answers:
        found = scored_rows(read_eval_log(path), end_think, marks.get(Path(path).stem))
        rows += [{"variant": variant, **row} for row in found]
    table = pd.DataFrame(rows)
    write_table(table, snakemake.output[0])
    print(table.groupby("benchmark")[["right", "tokens", "closing_tags"]].mean())
