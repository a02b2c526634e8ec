"""The entry page of a study: one HTML file that shows the figures and leads to everything else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    template = Path(snakemake.input.template)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = pages.get_template(template.name).render(json.loads(Path(snakemake.input.facts).read_text(encoding="utf-8")))
    Path(snakemake.output[0]).write_text(page, encoding="utf-8")
