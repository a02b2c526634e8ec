"""An audit for people: one HTML file with everything in it."""

import json
from pathlib import Path

import jinja2
import pandas as pd
from joblog import logged

MOST = 500  # deviations that are listed; the CSV beside the page has all

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
        lambdas=pd.read_csv(snakemake.input.lambdas, dtype={"layer": "Int64"}).to_dict("records"),
        deviations=pd.read_csv(
            snakemake.input.deviations, dtype={"layer": "Int64"}, keep_default_na=False, na_values={"layer": [""]}
        ).to_dict("records"),
        most=MOST,
        **json.loads(Path(snakemake.input.audit).read_text(encoding="utf-8")),
    )
    Path(snakemake.output[0]).write_text(page, encoding="utf-8")
