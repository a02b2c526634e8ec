"""Have a judge grade every answer to MT-Bench; what was judged before is not asked again."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
from inspect_ai.log import read_eval_log
from aoe import AoeError
from aoe.acquiring.hashing import sha256
from aoe.files.tables import write_table
from benchmarks.catalog import turns_of
from benchmarks.judging import HIGHEST, Judge, judge_all, unjudged
from benchmarks.mt_bench import Judging
from job.code import record_code
from job.logging import logged
from job.server import check_as_answered, server_of


@contextlib.contextmanager
def at_work(judge, settings):
    """(the Judge with its address, its key): elsewhere, or served here for as long as the block lasts."""
    if "endpoint" in settings:
        variable = settings.get("key_variable", "JUDGE_API_KEY")
        if variable not in os.environ:
            raise AoeError(f"The judge's key is missing: set the environment variable {variable}.")
        yield replace(judge, url=settings["endpoint"]), os.environ[variable]
        return
    with server_of(snakemake, judge.model) as server:
        check_as_answered(snakemake, server)
        yield replace(judge, url=server.url), server.key


def revision_of(settings):
    """What the study says of a judge elsewhere; of its own, the locked revisions, and the plan if it is a merge."""
    if "endpoint" in settings:
        return settings["revision"]
    plan = snakemake.input.get("plan") or snakemake.input.get("merged")
    return " ".join([*snakemake.params.revisions.values(), *([sha256(Path(plan))[:12]] if plan else [])])


def judged_by(judge, table):
    """One row a variant: who judged, how many answers, and a warning if verdicts are missing."""
    rows = []
    for variant, own in table.groupby("variant", sort=False):
        missing = int(own.rating.isna().sum())
        warning = f"{missing} of {len(own)} answers of {variant} have no verdict, and do not count" if missing else ""
        judged = {"judge": judge.model, "revision": judge.revision, "variant": variant, "answers": len(own)}
        rows.append({**judged, "without_verdict": missing, "warning": warning})
    return pd.DataFrame(rows)


with logged(snakemake.log.job):
    record_code(snakemake)
    settings = dict(snakemake.params.judge)
    known = ("model", "temperature", "max_tokens", "retries", "connections")
    judge = Judge(
        url="", revision=revision_of(settings), **{name: settings[name] for name in known if name in settings}
    )
    judging = Judging.read(*snakemake.params.dataset[snakemake.params.benchmark["dataset"]])
    rows, questions = [], []
    for path in snakemake.input.answers:
        for turn, _ in turns_of(read_eval_log(path)):
            place = {"question": turn.question, "sample": turn.sample, "turn": turn.number}
            rows.append({"variant": Path(path).parent.name, **place})
            questions.append(judging.messages(turn.question, turn.metadata["category"], turn.asked, turn.answered))
    new = unjudged(judge, questions, snakemake.params.verdicts)
    print(f"{len(questions)} answers, {new} of them not judged yet by {judge.model}")
    with at_work(judge, settings) if new else contextlib.nullcontext((judge, "")) as (judge, key):
        verdicts = judge_all(judge, key, questions, snakemake.params.verdicts)
    table = pd.DataFrame(rows).assign(
        rating=[verdict.rating for verdict in verdicts],
        attempts=[verdict.attempts for verdict in verdicts],
        text=[verdict.text for verdict in verdicts],
    )
    table["rating"] = table.rating.astype(float)
    table["mark"] = table.rating / HIGHEST
    write_table(table, snakemake.output.judgements)
    judged = judged_by(judge, table)
    write_table(judged, snakemake.output.judge)
    for warning in filter(None, judged.warning):
        print(f"Warning: {warning}")
