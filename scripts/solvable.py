"""Find out which of BigCodeBench's tasks can be graded here: those whose own solution passes."""

import json
from pathlib import Path

from benchmarks import bigcodebench
from benchmarks.sandbox import from_settings
from job.code import record_code
from job.logging import logged

with logged(snakemake.log[0]):
    record_code(snakemake)
    sandbox, limits = from_settings(snakemake.params.sandbox)
    tasks = bigcodebench.samples(*snakemake.params.dataset, mode="complete")
    passed = bigcodebench.solvable([task.metadata for task in tasks], sandbox, limits, snakemake.threads)
    found = {task.id: solved for task, solved in zip(tasks, passed, strict=True)}
    Path(snakemake.output[0]).write_text(json.dumps(found, indent=0), encoding="utf-8")
    print(f"{sum(passed)} of {len(passed)} tasks can be graded here")
