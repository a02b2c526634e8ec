"""Where are the weights of one published shard from?"""

from typing import TYPE_CHECKING

from aoe.audit.attribution import Audit
from aoe.audit.comparison import Tolerance
from aoe.audit.table import to_frame
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.plan import Plan
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    settings, checkpoints = snakemake.params.settings, snakemake.params.checkpoints
    audit = Audit(
        Checkpoint(checkpoints[settings["model"]], settings["model"]),
        {parent: Checkpoint(checkpoints[parent], parent) for parent in settings["parents"]},
        Plan.load(snakemake.input.plan) if "claim" in settings else None,
        Tolerance(**settings["tolerance"]) if "tolerance" in settings else None,
    )
    rows = audit.rows(audit.published.weights_in(snakemake.wildcards.shard), snakemake.threads)
    frame = to_frame(rows)
    write_table(frame, snakemake.output[0])
    if rows:
        print(frame.groupby(["found", "grade"]).size().to_string())
