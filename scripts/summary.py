"""Summarize all variants, compare them on the same questions, and fit the transitions over λ2."""

import pandas as pd
from aoe.summary import categories, compare, fit_transitions, summarize, unreadable
from joblog import logged

with logged(snakemake.log[0]):
    scores = pd.read_parquet(snakemake.input[0])
    summary = summarize(scores, snakemake.params.variants, snakemake.params.scores)
    summary.to_csv(snakemake.output.summary, index=False)
    compare(scores, snakemake.params.pairs, snakemake.params.scores).to_csv(snakemake.output.comparisons, index=False)
    categories(scores).to_csv(snakemake.output.categories, index=False)
    unreadable(scores).to_csv(snakemake.output.unreadable, index=False)
    transitions, curves = fit_transitions(scores, snakemake.params.sweeps, snakemake.params.scores)
    transitions.to_csv(snakemake.output.transitions, index=False)
    curves.to_csv(snakemake.output.curves, index=False)
    print(summary.to_string())
    print(transitions.to_string())
