"""The facts of a study that its document shows: every number out of a results file, ready to be printed.

A document's template holds sentences and no numbers; ``facts`` puts together what it fills them with.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from aoe.benchmarks import title_of
from aoe.claims import NOT_RUN
from aoe.document.figures import FIGURES, ResultTables, Settings
from aoe.document.findings import counted, fixed, interval, listed, number, step_seen
from aoe.files.tables import read_table
from aoe.merging.rounding.realized import groups_in_words
from aoe.nodes.machine import in_words
from aoe.norms import norm
from aoe.serving.sampling import NEUTRAL

LATENCIES = {  # what the table of speed and energy shows: how it is called, the column, times what
    "tokens": ("tokens_an_answer", 1),
    "ms to the first": ("seconds_to_first", 1000),
    "s an answer": ("seconds_an_answer", 1),
    "tokens/s of one": ("tokens_per_second_of_an_answer", 1),
    "answers/s": ("answers_per_second", 1),
    "tokens/s of all": ("tokens_per_second", 1),
    "J an answer": ("joules_an_answer", 1),
    "W idle": ("idle_watts", 1),
}
STEPS = ("steps_0", "steps_1", "steps_2", "steps_3", "steps_more")  # of the table of differences
ASKED_IN_THE_PAPER = ("aime2024", "aime2025", "gpqa_diamond", "bigcodebench", "mt_bench")


def figures(folder: Path, drawn: dict[str, Settings], asks: bool) -> list[dict[str, str]]:
    """Return a dict a figure of the document: name, number, title, caption, data (path), or why it is ``missing``.

    folder: results/{study}; drawn: name -> settings of the figures that the study has; asks: whether the study asks its
    variants anything.
    """
    entries = []
    for figure in FIGURES.values():
        entry = {"name": figure.name, "number": figure.number, "title": figure.title}
        if figure.name in drawn:
            data = f"figures/{figure.name}.csv"
            tables = ResultTables(folder / table for table in (*figure.needs, *figure.optional))
            caption = figure.finding(read_table(folder / data), tables, drawn[figure.name])
            entries.append(entry | {"caption": caption, "data": data})
        elif figure.in_paper:
            entries.append(entry | {"missing": figure.missing if asks else "the study asks no questions"})
    return entries


def variants(summary: pd.DataFrame, realized: pd.DataFrame | None = None) -> list[dict[str, str]]:
    """Return a row a variant as texts: label, recipe, realized λ, S, δ, intelligence, tokens, cost, closed tags.

    realized: the rows of the level ``group`` of the table of realized λ, if there is one.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for found in [] if realized is None else realized.to_dict("records"):
        rows.setdefault(found["variant"], []).append(found)
    return [
        {
            "label": row.label,
            "weights": row.weights,
            "realized": groups_in_words(rows.get(row.variant, [])),
            "subset": row.subset.replace("_", " ") if "*" not in row.subset else row.subset,
            "delta": f"{row.delta:g}" if row.delta else "",
            "intelligence": interval(row.intelligence, row.intelligence_low, row.intelligence_high, fixed),
            "tokens": number(row.tokens_per_answer),
            "cost": interval(row.cost, row.cost_low, row.cost_high, lambda value: fixed(value, 2)),
            "closing": interval(100 * row.closing, 100 * row.closing_low, 100 * row.closing_high, fixed),
        }
        for row in summary.itertuples()
    ]


def transitions(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row a sweep and measure as texts."""
    return [
        {
            "sweep": row.sweep,
            "measure": {"closing": "closing tag"}.get(row.measure, row.measure),
            "midpoint": interval(row.midpoint, row.midpoint_low, row.midpoint_high),
            "width": interval(row.width, row.width_low, row.width_high),
            "levels": f"{number(row.bottom)} to {number(row.top)}",
            "residual": number(row.residual),
        }
        for row in table.itertuples()
    ]


def plain(value: float) -> str:
    """Write a number for people; whole ones, such as counts and shares of all, without decimals."""
    return f"{value:,.0f}".replace("-", "−") if value and float(value).is_integer() else number(value)


def claims(table: pd.DataFrame) -> tuple[list[dict[str, str]], dict[str, dict[str, int]]]:
    """Return (one row a claim as texts, {kind: {verdict: how many}})."""
    counts = {kind: dict(Counter(part.verdict)) for kind, part in table.groupby("kind", sort=False)}
    rows = [
        {
            **{key: getattr(row, key) for key in ("says", "source", "published", "verdict")},
            "id": row.claim,
            "condition": row.condition,
            "measured": _measured(row),
            "note": row.note,
        }
        for row in table.itertuples()
    ]
    return rows, counts


def _measured(row: Any) -> str:
    """Write a claim's value with its interval and unit."""
    if pd.isna(row.value):
        return ""
    return interval(row.value, row.low, row.high, plain) + (f" {row.unit}" if row.unit else "")


def norms(table: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """Return (the δ, one row a space and group as texts): the shares of tensors above each δ."""
    columns = [column for column in table.columns if column.startswith("above_")]
    rows = [
        {
            "space": norm(row["space"]).text,
            "group": row["group"].replace("_", " "),
            "tensors": f"{row['tensors']:,}",
            "median": number(row["median"]),
            "shares": [f"{fixed(100 * row[column], 0)} %" for column in columns],
        }
        for row in table.to_dict("records")
        if row["group"] in ("attention", "linear_attention", "routed_experts", "shared_experts")
    ]
    return [column.removeprefix("above_") for column in columns], rows


def steps(table: pd.DataFrame, settings: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row a group as texts: the shares of stored numbers that lie 0, 1, 2, 3 and more steps apart.

    table: the differences; settings: {base, other} of the study's figures; without them there are no rows.  Groups in
    which the two agree are left out.
    """
    if "base" not in settings:
        return []
    table = table[(table.base == settings["base"]) & (table.other == settings["other"])]
    sums = table.groupby("group", sort=False)[["elements", *STEPS]].sum()
    return [
        {"group": row.Index.replace("_", " ")}
        | {name: f"{fixed(100 * getattr(row, name) / row.elements)} %" for name in STEPS}
        for row in sums[sums.steps_0 < sums.elements].itertuples()
    ]


def latencies(table: pd.DataFrame, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row a variant and queue: label, queue, and of every column of LATENCIES [median, "(lowest–highest)"]."""
    return [
        {
            "label": labels[row["variant"]],
            "at_once": f"{row['at_once']:,}",
            "values": [_with_range(row, name, times) for name, times in LATENCIES.values()],
        }
        for row in table.sort_values("at_once", kind="stable").to_dict("records")
    ]


def _with_range(row: Mapping[str, Any], column: str, times: int) -> list[str]:
    """Write [median, "(lowest–highest)"] of a column, times so many; the median alone if it has no range."""
    median, low, high = (times * row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return interval(median, low, high).split(" ", 1)


def token_rates(table: pd.DataFrame) -> tuple[str, str]:
    """Return tokens per second after the first one, with the fewest questions at once: (slowest, fastest) variant's.

    Variants of one study are of one shape, so that the two differ by no more than their servers and machines do.
    """
    alone = table[table.at_once == table.at_once.min()]
    rates = (alone.tokens_an_answer - 1) / (alone.seconds_an_answer - alone.seconds_to_first)
    return number(rates.min()), number(rates.max())


def audits(folder: Path, entries: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a dict an audit: model, parents, verdict, sentences, recovered recipe.

    folder: results/{study}; entries: of the study's ``audits``; labels: {variant: label}.
    """
    found = []
    for name, entry in entries.items():
        audit = json.loads((folder / f"audits/{name}/audit.json").read_text(encoding="utf-8"))
        found.append(
            {
                "name": name,
                "model": labels.get(entry["model"], entry["model"]),
                "parents": listed(labels.get(parent, parent) for parent in entry["parents"]),
                "verdict": audit["verdict"],
                "summary": audit["summary"],
                "checks": [{"claim": claim, "verdict": check["verdict"]} for claim, check in audit["checks"].items()],
                "recipe": (folder / f"audits/{name}/recovered.yaml").read_text(encoding="utf-8").strip(),
            }
        )
    return found


def machines(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a dict a kind of machine: words, software, jobs, commits.  records: what the answer jobs wrote."""
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        software = ", ".join(f"{name} {release}" for name, release in record["software"].items())
        kind = kinds.setdefault((in_words(record["machine"]), software), {"jobs": 0, "commits": []})
        kind["jobs"] += 1
        kind["commits"] = sorted({*kind["commits"], record["commit"] or "unknown"})
    return [{"machine": words, "software": software, **kind} for (words, software), kind in kinds.items()]


def benchmarks(settings: Mapping[str, Mapping[str, Any]], scores: pd.DataFrame) -> list[dict[str, str | bool]]:
    """Return a row a benchmark as texts; ``others``: what else it is sampled with, if the study states anything.

    ``forced``, true or false, tells whether answers begin with a forced ``<think>``.

    settings: the study's; scores: one row an answer.
    """
    rows = []
    for name, entry in settings.items():
        asked = scores[scores.benchmark == name]
        first = asked[asked.variant == asked.variant.iloc[0]]
        rows.append(
            {
                "name": title_of(name),
                "questions": f"{first.question.nunique():,}",
                "answers": f"{len(first):,}",
                "total": f"{len(asked):,}",
                "seed": str(entry["seed"]),
                "temperature": str(entry.get("temperature", "default")),
                "top_p": str(entry.get("top_p", "default")),
                "max_tokens": f"{entry['max_tokens']:,}" if "max_tokens" in entry else "default",
                "others": ", ".join(f"{key} {entry[key]}" for key in NEUTRAL if key in entry),
                "forced": entry.get("force_think", True),
            }
        )
    return rows


def unreadable(table: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return how many answers could not be read, in all and by variant and benchmark, as the pages show it.

    table: unreadable.csv; labels: {variant: label}.  ``rows`` has the variants with such answers: the label, one cell a
    benchmark, and how many of them were cut off.
    """
    benchmarks = list(table.benchmark.unique())
    rows = []
    for variant, own in table.groupby("variant", sort=False):
        if own.unreadable.sum():
            of = own.set_index("benchmark")
            cells = [f"{of.unreadable[name]} of {of.answers[name]}" for name in benchmarks]
            rows.append([labels[variant], *cells, str(own.cut_off.sum())])
    totals = {name: int(table[name].sum()) for name in ("answers", "unreadable", "cut_off")}
    return {**totals, "benchmarks": [title_of(name) for name in benchmarks], "rows": rows}


def missing(entries: Iterable[Mapping[str, str]], settings: Collection[str], table: pd.DataFrame) -> list[str]:
    """Return sentences on what the document lacks: figures, the paper's benchmarks, marks.

    entries: of ``figures``; settings: the study's benchmarks; table: the claims.
    """
    lacking = [f"Figure {entry['number']} is missing: {entry['missing']}." for entry in entries if "missing" in entry]
    unasked = [title_of(name) for name in ASKED_IN_THE_PAPER if name not in settings]
    if unasked:
        lacking.append(f"Not among the study's benchmarks: {listed(unasked)}.")
    unrun = int((table.verdict == NOT_RUN).sum())
    if unrun:
        lacking.append(f"{counted(unrun, 'claim')} could not be tested; the table of claims says why of each.")
    return lacking


def key_figures(
    summary: pd.DataFrame,
    fitted: pd.DataFrame,
    curves: pd.DataFrame,
    settings: Mapping[str, str],
    models: Collection[str],
) -> dict[str, Any]:
    """Return what the abstract tells: how many variants, the assembled model and the reference, where the tag appears.

    summary, fitted, curves: of the study; settings: {reference, assembled}; models: those that nobody assembled.
    """
    table = summary.set_index("variant")
    found: dict[str, Any] = {
        "variants": len(table),
        "merges": len(table) - len(models),
        "questions": int(table.questions.max()),
    }
    assembled, reference = settings.get("assembled"), settings["reference"]
    if assembled and table.intelligence[[assembled, reference]].notna().all():
        ours, theirs = table.loc[assembled], table.loc[reference]
        less = 100 * (1 - ours.cost)
        found["assembled"] = {
            "label": ours.label,
            "reference": theirs.label,
            "intelligence": fixed(ours.intelligence),
            "of": fixed(theirs.intelligence),
            "tokens": f"{fixed(abs(less), 0)} % {'fewer' if less >= 0 else 'more'}",
        }
    return found | {"steps": _steps_seen(fitted, curves)}


def _steps_seen(fitted: pd.DataFrame, curves: pd.DataFrame) -> list[dict[str, str]]:
    """Return the sweeps in which the closing tag appears within the λ2 that were looked at, and where."""
    if fitted.empty or curves.empty:  # a study without sweeps: tables without columns
        return []
    places = curves.groupby("sweep").lambda2.agg(["min", "max"])
    return [
        {"sweep": row.sweep, "midpoint": interval(row.midpoint, row.midpoint_low, row.midpoint_high)}
        for row in fitted[fitted.measure == "closing"].itertuples()
        if step_seen(row, places.loc[row.sweep])
    ]
