"""Draw a figure of the document in every format, and write its data beside it."""

from typing import TYPE_CHECKING

from aoe.document import drawing
from aoe.document.figures import FIGURES, ResultTables
from benchmarks import registry  # noqa: F401 -- registers the benchmarks
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    figure, settings = FIGURES[snakemake.params.figure], snakemake.params.settings
    drawing.save(*figure.draw(ResultTables(snakemake.input), settings), snakemake.output)
