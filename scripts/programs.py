"""Run a variant's answers to BigCodeBench against the official tests, in the sandbox: one row an answer."""

import json
from pathlib import Path

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe.files.tables import write_table
from benchmarks import bigcodebench
from benchmarks.catalog import turns_of
from benchmarks.sandbox import from_settings
from job.code import record_code
from job.logging import logged

with logged(snakemake.log[0]):
    record_code(snakemake)
    sandbox, limits = from_settings(snakemake.params.sandbox)
    solvable = json.loads(Path(snakemake.input.solvable).read_text(encoding="utf-8"))
    turns = [turn for turn, _ in turns_of(read_eval_log(snakemake.input.answers))]
    shown, tasks = [turn.shown for turn in turns], [turn.metadata for turn in turns]
    passed = bigcodebench.grade(shown, tasks, sandbox, limits, snakemake.threads)
    places = [{"question": turn.question, "sample": turn.sample, "turn": turn.number} for turn in turns]
    table = pd.DataFrame(places).assign(
        mark=[float(p) if solvable[turn.question] else None for p, turn in zip(passed, turns, strict=True)]
    )
    write_table(table.astype({"mark": float}), snakemake.output[0])
    if missing := table.mark.isna().sum():
        print(f"Warning: {missing} of {len(table)} answers do not count: their tasks' own solutions fail here, too.")
