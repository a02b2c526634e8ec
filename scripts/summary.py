"""Summarize all variants, compare them on the same questions, and fit the transitions over λ2."""

from typing import TYPE_CHECKING

from aoe.files.tables import read_levels, read_table, write_table
from aoe.scores.summary import categories, compare, fit_transitions, summarize, unreadable, with_realized
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    scores = read_table(snakemake.input[0])
    summary = summarize(scores, snakemake.params.variants, snakemake.params.scores)
    if snakemake.input.realized:
        summary = with_realized(summary, read_levels(snakemake.input.realized, ["model"]), snakemake.params.models)
    write_table(summary, snakemake.output.summary)
    write_table(compare(scores, snakemake.params.pairs, snakemake.params.scores), snakemake.output.comparisons)
    write_table(categories(scores), snakemake.output.categories)
    write_table(unreadable(scores), snakemake.output.unreadable)
    transitions, curves = fit_transitions(scores, snakemake.params.sweeps, snakemake.params.scores)
    write_table(transitions, snakemake.output.transitions)
    write_table(curves, snakemake.output.curves)
    print(summary.to_string())
    print(transitions.to_string())
