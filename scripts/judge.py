"""Have a judge grade every answer to the benchmarks with one; what was judged before is not asked again."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe import AoeError
from aoe.acquiring.hashing import sha256
from aoe.files.tables import write_table
from benchmarks.catalog import turns_of
from benchmarks.judging import Judge, Verdict, judge_all, unjudged
from benchmarks.registry import Messages, Scale, benchmark, judged
from job.code import record_code
from job.logging import logged
from job.server import check_as_answered, server_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


@contextlib.contextmanager
def at_work(judge: Judge, settings: Mapping[str, Any]) -> Iterator[tuple[Judge, str]]:
    """Yield (the Judge with its address, its key): elsewhere, or served here for as long as the block lasts."""
    if "endpoint" in settings:
        variable = settings.get("key_variable", "JUDGE_API_KEY")
        if variable not in os.environ:
            raise AoeError(f"The judge's key is missing: set the environment variable {variable}.")
        yield replace(judge, url=settings["endpoint"]), os.environ[variable]
        return
    with server_of(snakemake, judge.model) as server:
        check_as_answered(snakemake, server)
        yield replace(judge, url=server.url), server.key


def revision_of(settings: Mapping[str, Any]) -> str:
    """Return the revision of a judge: of one elsewhere, what the study says.

    Of the study's own, it is the locked revisions, and the plan's digest if the judge is a merge.
    """
    if "endpoint" in settings:
        return settings["revision"]
    plan = snakemake.input.get("plan") or snakemake.input.get("merged")
    return " ".join([*snakemake.params.revisions.values(), *([sha256(Path(plan))[:12]] if plan else [])])


def questions_about(name: str, settings: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Messages]]:
    """Return ([which answer], [the judge's messages about it]) of every answer of every variant to a benchmark."""
    messages = judged(name).prompts(snakemake.params.datasets.get(settings.get("dataset")))
    places, questions = [], []
    for path in map(Path, snakemake.input.answers):
        if path.stem == name:
            for turn, _ in turns_of(read_eval_log(path)):
                place = {"question": turn.question, "sample": turn.sample, "turn": turn.number}
                places.append({"benchmark": name, "variant": path.parent.name, **place})
                questions.append(messages(turn))
    return places, questions


def judgements_of(places: list[dict[str, Any]], verdicts: Sequence[Verdict], scale: Scale) -> pd.DataFrame:
    """Return one row an answer: the judge's rating, after how many attempts, its words, and the mark, 0 to 1."""
    table = pd.DataFrame(places).assign(
        rating=[verdict.rating for verdict in verdicts],
        attempts=[verdict.attempts for verdict in verdicts],
        text=[verdict.text for verdict in verdicts],
    )
    table["rating"] = table.rating.astype(float)
    table["mark"] = table.rating / scale.highest
    return table


def judged_by(judge: Judge, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a benchmark and variant: who judged, how many answers, and a warning if verdicts are missing."""
    rows, several = [], table.benchmark.nunique() > 1
    for (name, variant), own in table.groupby(["benchmark", "variant"], sort=False):
        missing = int(own.rating.isna().sum())
        whose = f"{variant} to {benchmark(name).title}" if several else variant
        warning = f"{missing} of {len(own)} answers of {whose} have no verdict, and do not count" if missing else ""
        judged = {"judge": judge.model, "revision": judge.revision, "benchmark": name, "variant": variant}
        rows.append({**judged, "answers": len(own), "without_verdict": missing, "warning": warning})
    return pd.DataFrame(rows)


with logged(snakemake.log.job):
    record_code(snakemake)
    settings = dict(snakemake.params.judge)
    known = ("model", "temperature", "max_tokens", "retries", "connections")
    judge = Judge(
        url="", revision=revision_of(settings), **{name: settings[name] for name in known if name in settings}
    )
    benchmarks, cache = snakemake.params.benchmarks, snakemake.params.verdicts
    about = {name: questions_about(name, asked) for name, asked in benchmarks.items()}
    scales = {name: judged(name).scale for name in benchmarks}
    answers = sum(len(questions) for _, questions in about.values())
    new = sum(unjudged(judge, questions, cache, scales[name]) for name, (_, questions) in about.items())
    print(f"{answers} answers, {new} of them not judged yet by {judge.model}")
    tables = []
    with at_work(judge, settings) if new else contextlib.nullcontext((judge, "")) as (judge, key):
        for name, (places, questions) in about.items():
            verdicts = judge_all(judge, key, questions, cache, scales[name])
            tables.append(judgements_of(places, verdicts, scales[name]))
    table = pd.concat(tables, ignore_index=True)
    ratings = judged_by(judge, table)
    # a column of one value says nothing
    alone = {"columns": ["benchmark"] if len(benchmarks) == 1 else []}
    write_table(table.drop(**alone), snakemake.output.judgements)
    write_table(ratings.drop(**alone), snakemake.output.judge)
    for warning in filter(None, ratings.warning):
        print(f"Warning: {warning}")
