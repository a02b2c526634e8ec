"""Run a variant's answers to BigCodeBench against the official tests, in the sandbox: one row an answer."""

import pandas as pd
from inspect_ai.log import read_eval_log
from benchmarks import bigcodebench
from benchmarks.catalog import turns_of
from benchmarks.sandbox import Limits, find_sandbox
from joblog import logged

with logged(snakemake.log[0]):
    settings = dict(snakemake.params.sandbox)
    sandbox = find_sandbox(settings.get("image"))
    limits = Limits(**{name: settings[name] for name in ("seconds", "memory_mb", "processes") if name in settings})
    turns = [turn for turn, _ in turns_of(read_eval_log(snakemake.input[0]))]
    shown, tasks = [turn.shown for turn in turns], [turn.metadata for turn in turns]
    passed = bigcodebench.grade(shown, tasks, sandbox, limits, snakemake.threads)
    places = [{"question": turn.question, "sample": turn.sample, "turn": turn.number} for turn in turns]
    table = pd.DataFrame(places).assign(mark=[None if found is None else float(found) for found in passed])
    table.astype({"mark": float}).to_parquet(snakemake.output[0], index=False)
    if missing := table.mark.isna().sum():
        print(f"Warning: {missing} of {len(table)} answers are not counted: the tasks' own solutions fail here, too.")
