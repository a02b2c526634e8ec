"""Join the differences of all shards, in the order of the input."""

from typing import TYPE_CHECKING

from aoe.files.tables import join_tables
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    print(join_tables(snakemake.input, snakemake.output[0]))
