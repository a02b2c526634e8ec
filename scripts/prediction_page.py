"""A prediction for people: its figure, and one HTML page that says what the paper's figures must look like."""

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from aoe.document import predicted
from aoe.document.drawing import save
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    tables = {name: read_table(snakemake.input[name]) for name in ("realized", "steps", "codes", "threshold")}
    *figure, path = [path for path in snakemake.output if path != snakemake.output.page], snakemake.output.page
    save(*predicted.draw(tables), figure[0])
    drawn = Path(figure[0][0]).read_text(encoding="utf-8")
    template = Path(snakemake.input.template)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = pages.get_template(template.name).render(
        study=snakemake.wildcards.study,
        labels=list(snakemake.params.labels.values()),
        revisions=snakemake.params.revisions,
        shards=list(snakemake.params.files.values()),
        total=snakemake.params.total,
        figure=drawn[drawn.index("<svg") :],
        sentences=predicted.sentences(tables),
        steps=predicted.steps(tables["steps"]),
        codes=predicted.codes(tables["codes"]),
        threshold=predicted.threshold(tables["threshold"]),
    )
    Path(path).write_text(page, encoding="utf-8")
    print(*(sentence for part in predicted.sentences(tables).values() for sentence in part), sep="\n")
