"""Can a job without GPUs do what such jobs do: see what the launcher wrote, write, and merge?"""

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.nodes.probing import free_mib
from aoe.nodes.readiness import Check, trying
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SLOW_CLOCK = 5  # seconds between the clocks of the node and the file system, by which Snakemake takes files for old
LEAST = 100  # MiB that a job can write


def look_at_clock(check: Check, folder: Path) -> None:
    """Files get their times from the file system's server, and Snakemake compares them."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        apart = os.stat(file.name).st_mtime - time.time()
    if abs(apart) > SLOW_CLOCK:
        check.warn(
            f"The clocks of the node and of the file system are {abs(apart):.0f} s apart, so that files are taken for "
            "older or newer than they are; ask the administrators to set them."
        )


with logged(snakemake.log[0]), trying(snakemake.params.title, snakemake.output[0], snakemake.log[0]) as check:
    with check.phase("files"):
        plan = Path(snakemake.params.plan)
        if not plan.is_file():
            check.problem(
                f"{plan}, which the launcher wrote, is not seen on the node; clone into a folder that all share."
            )
        for what, folder in {**snakemake.params.folders, "TMPDIR": tempfile.gettempdir()}.items():
            free = free_mib(folder)
            if free is None or free < LEAST:
                has = "cannot be written to" if free is None else f"has {free} MiB left"
                check.problem(f"{folder} ({what}) {has} on the node {check.host}; name another folder, or make room.")
            else:
                check.fact(f"{folder} ({what}) has {free / 1024:,.0f} GiB left.")
        look_at_clock(check, plan.parent)
    with check.phase("merge"), tempfile.TemporaryDirectory() as folder:
        checkpoints = {name: Checkpoint(path, name) for name, path in snakemake.params.checkpoints.items()}
        base, other = checkpoints
        recipe = read_recipe("trial", {"base": base, "weights": {base: 0.5, other: 0.5}}, checkpoints)
        merge = Merge(make_plan(recipe, checkpoints), checkpoints, threads=snakemake.threads)
        shard = merge.base.shard_names[0]
        write_shard(merge, shard, Path(folder) / shard)
        check.fact(f"A shard of {base} and {other} was merged on {snakemake.threads} cores.")
