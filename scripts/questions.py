"""Read every dataset as its benchmark and whoever grades it will, before anything is served."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalog import check_dataset
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    datasets, found = snakemake.params.datasets, {}
    for name, settings in snakemake.params.benchmarks.items():
        found[name] = check_dataset(name, settings, datasets[settings["dataset"]])
        print(f"{name}: {found[name]} questions")
        if found[name] < settings.get("questions", 0):
            print(f"Warning: the study wants {settings['questions']} questions of {name}, and its dataset has fewer.")
    Path(snakemake.output[0]).write_text(json.dumps(found) + "\n", encoding="utf-8")
