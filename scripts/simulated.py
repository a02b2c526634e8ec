"""Simulate the realized λ of Gaussian parents in FP8, at several distances."""

from typing import TYPE_CHECKING

from aoe.files.tables import write_table
from aoe.merging.rounding.simulation import simulate
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    table = simulate(snakemake.params.differences)
    write_table(table.round(6), snakemake.output[0])
    print(table.to_string())
