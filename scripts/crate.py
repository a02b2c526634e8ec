"""Pack a finished study: workflow, configuration, results, raw answers and logs in one RO-Crate."""

from typing import TYPE_CHECKING

from aoe.document.crate import write_crate
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    packed = write_crate(
        snakemake.output[0],
        study=snakemake.params.study,
        snakemake=snakemake.params.snakemake,
        agent=snakemake.params.agent,
        without=[snakemake.log[0]],
    )
    print("\n".join(packed))
