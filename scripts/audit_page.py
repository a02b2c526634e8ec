"""An audit for people: one HTML file with everything in it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

LISTED_DEVIATIONS = 500  # at most; the CSV beside the page has all

with logged(snakemake.log[0]):
    folder = Path(snakemake.input.template).parent
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    drawn = Path(snakemake.input.map).read_text(encoding="utf-8")
    page = pages.get_template(Path(snakemake.input.template).name).render(
        study=snakemake.wildcards.study,
        labels=snakemake.params.labels,
        map=drawn[drawn.index("<svg") :],
        recipe=Path(snakemake.input.recipe).read_text(encoding="utf-8"),
        lambdas=read_table(snakemake.input.lambdas, numbers=["weights"]).to_dict("records"),
        deviations=read_table(snakemake.input.deviations).to_dict("records"),
        most=LISTED_DEVIATIONS,
        **json.loads(Path(snakemake.input.audit).read_text(encoding="utf-8")),
    )
    Path(snakemake.output[0]).write_text(page, encoding="utf-8")
