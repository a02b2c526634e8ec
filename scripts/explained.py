"""Test whether the realized λ2 explains when answers close the reasoning, whatever the rounding."""

from typing import TYPE_CHECKING

from aoe.files.tables import read_table, write_table
from aoe.scores.explained import explain
from aoe.scores.realized import read_realized
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    scores, realized = read_table(snakemake.input.scores), read_realized(snakemake.input.realized)
    table = explain(scores, snakemake.params.families, realized, snakemake.params.scores)
    write_table(table, snakemake.output[0])
    print(table.to_string())
