"""Score a variant's raw answers: one row a question and turn."""

import json
from pathlib import Path

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe import AoeError
from benchmarks.catalog import Means, scored_rows
from benchmarks.sandbox import Limits, find_sandbox
from joblog import logged


def end_think_id(tokenizer):
    """The token id of </think> in a tokenizer.json."""
    for token in json.loads(Path(tokenizer).read_text())["added_tokens"]:
        if token["content"] == "</think>":
            return token["id"]
    raise AoeError(f"{tokenizer} has no token </think>.")


def means_of(job):
    """The verdicts on the variant's answers, and a sandbox, as far as the study's benchmarks need them."""
    ratings, settings = {}, dict(job.params.sandbox)
    if job.input.judgements:
        table = pd.read_parquet(job.input.judgements)
        table = table[table.variant == job.wildcards.variant]
        ratings = {(row.question, row.sample, row.turn): row.rating for row in table.itertuples()}
        ratings = {place: None if pd.isna(rating) else rating for place, rating in ratings.items()}
    if not any(Path(path).stem == "bigcodebench" for path in job.input.answers):
        return Means(ratings)
    limits = {name: settings[name] for name in ("seconds", "memory_mb", "processes") if name in settings}
    return Means(ratings, find_sandbox(settings.get("image")), Limits(**limits), job.threads)


with logged(snakemake.log[0]):
    end_think = end_think_id(snakemake.params.tokenizer)
    rows, means = [], means_of(snakemake)
    for path in snakemake.input.answers:
        found = scored_rows(read_eval_log(path), end_think, means)
        rows += [{"variant": snakemake.wildcards.variant, **row} for row in found]
    table = pd.DataFrame(rows)
    table.to_parquet(snakemake.output[0], index=False)
    for benchmark, own in table.groupby("benchmark"):
        if missing := own.right.isna().sum():
            print(f"Warning: {missing} of {len(own)} answers to {benchmark} could not be graded, and do not count")
    print(table.groupby("benchmark")[["right", "tokens", "closing_tags"]].mean())
