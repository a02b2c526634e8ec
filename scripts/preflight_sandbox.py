"""Is there a sandbox for answers that are programs?"""

from typing import TYPE_CHECKING

from aoe.nodes.readiness import trying
from benchmarks.sandbox import from_settings, run
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    logged(snakemake.log[0]),
    trying(snakemake.params.title, snakemake.output[0], snakemake.log[0]) as check,
    check.phase("program"),
):
    sandbox, limits = from_settings(snakemake.params.sandbox)
    result = run("print(1 + 1)", sandbox, limits)
    if result.passed and result.output.strip() == "2":
        check.fact("A program ran in the sandbox.")
    else:
        check.problem(f"A program does not run in the sandbox ({result.reason or result.output.strip()}).")
