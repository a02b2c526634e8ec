"""The mini study on a processor beside the same on a GPU, and what a GPU's speed and starts are: docs/gpu/ and gpu.md.

`python -m performance.devices` takes over what both studies found, finished by `make run` and `make gpu`;
`python -m performance --only start` adds the starts.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from aoe.document.findings import counted, fixed, interval, number
from aoe.document.paper import LATENCIES, latencies, machines, token_rates
from aoe.files.tables import read_table, write_table
from aoe.scores.summary import fit_transitions, summarize
from aoe.studies.study import read_content, read_study
from benchmarks import registry  # noqa: F401 -- registers the benchmarks

STUDIES = {"cpu": "mini", "gpu": "mini-gpu"}
MEASURES = {"intelligence": 1, "cost": 2, "closing": 3}  # and how many decimals
DOCS = Path("docs/gpu")
Z95 = 1.96
MODES = {"compiled": "Compiled, with captured graphs", "eager": "In eager mode"}
STARTS = {  # columns of starts.csv, in words
    "imports": "imports",
    "engine_imports": "the engine's imports",
    "weights": "weights",
    "engine": "engine",
    "compiling": "of which compiling",
    "graphs": "of which graphs",
    "ready": "until it answers",
    "answered": "until all is answered",
}


@dataclass(frozen=True)
class Found:
    """What is committed: summaries (indexed by variant), transitions and kinds of machine by device; the GPU's
    latencies and the claims on them by mode, where they were measured; its starts, and what several workers of a server
    read, or None."""

    summaries: dict
    transitions: dict
    kinds: dict
    latencies: dict
    claims: dict
    starts: pd.DataFrame | None
    ranks: pd.DataFrame | None


def measured(name):
    """(summary, transitions, kinds of machine) of a study."""
    schema = json.loads(Path("config/schemas/study.schema.json").read_text(encoding="utf-8"))
    study = read_study(name, "config/studies", schema)
    scores = read_table(f"results/{name}/scores.parquet")
    transitions, _ = fit_transitions(scores, study.positions(over_lambda2=True), study.content["scores"])
    records = sorted(Path(f"results/{name}/answers").glob("*/machine.json"))
    kinds = machines([json.loads(file.read_text(encoding="utf-8")) for file in records])
    return summarize(scores, study.table(), study.content["scores"]), transitions, kinds


def deviations(cpu, gpu):
    """Differences of two summaries in standard errors, which are read off their intervals: a row a variant, a column a
    measure.  An interval of width 0 has an error of a tenth of the last decimal."""
    found = {}
    for measure in MEASURES:
        errors = [(table[f"{measure}_high"] - table[f"{measure}_low"]) / 2 / Z95 for table in (cpu, gpu)]
        found[measure] = (gpu[measure] - cpu[measure]) / np.sqrt(errors[0] ** 2 + errors[1] ** 2 + 1e-10)
    return pd.DataFrame(found)


def as_markdown(found):
    """The page about what was Found."""
    lines = [
        "# The mini study on a GPU",
        "",
        "Written by `python -m performance.devices` from what `make run` and `make gpu` found: the same recipes and",
        "questions, on the CPU in float32 with weights dequantized while loading, on the GPU in BF16 with FP8 weights",
        "as they are. 95 % intervals in brackets; the last column is the largest of the three differences, in standard",
        "errors.",
        "",
        *_beside(*(found.summaries[device] for device in STUDIES)),
        "",
        "Where the closing tag appears (midpoint and width of the fitted step in λ2):",
        "",
        *_closing(found.transitions),
    ]
    if found.latencies:
        lines += _speed(found.latencies, found.summaries["gpu"].label, found.claims)
    if found.starts is not None:
        lines += _starts(found.starts)
    if found.ranks is not None:
        lines += _ranks(found.ranks)
    lines += ["", "## Machines", ""]
    for device, kinds in found.kinds.items():
        lines += [f"* {device.upper()}: {kind['machine']}; {kind['software']}" for kind in kinds]
    return "\n".join(lines) + "\n"


def _table(head, rows, left=1):
    """Lines of a table, whose first columns are words and all others numbers."""
    ruler = ["---" if place < left else "---:" for place in range(len(head))]
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, ruler, *rows)]


def _beside(cpu, gpu):
    off, rows = deviations(cpu, gpu), []
    for variant in cpu.index:
        cells = [cpu.label[variant]]
        for measure, places in MEASURES.items():
            for table in (cpu, gpu):
                ends = [table.loc[variant, f"{measure}{end}"] for end in ("", "_low", "_high")]
                cells.append(interval(*ends, show=lambda value, places=places: fixed(value, places)))
        rows.append([*cells, fixed(off.loc[variant].abs().max())])
    heads = [head for measure in MEASURES for head in (f"{measure}, CPU", "GPU")]
    return _table(["variant", *heads, "off"], rows)


def _closing(transitions):
    closing = {device: table[table.measure == "closing"].set_index("sweep") for device, table in transitions.items()}
    rows = []
    for sweep in closing["cpu"].index:
        steps = [closing[device].loc[sweep] for device in STUDIES]
        told = [interval(step.midpoint, step.midpoint_low, step.midpoint_high) for step in steps]
        rows.append([sweep, *(f"{words}, {number(step.width)} wide" for words, step in zip(told, steps, strict=True))])
    return _table(["sweep", *map(str.upper, STUDIES)], rows)


def _speed(tables, labels, claims):
    lines = [
        "",
        "## Speed and energy",
        "",
        "The same questions for every variant, each alone on the GPU: one at a time, and as many at once as its server",
        "takes. Medians over repeated queues, in brackets the lowest and the highest; the idle power is that of the",
        "GPU with the server on it, asked nothing. `make gpu` measures compiled servers.",
    ]
    for mode, table in tables.items():
        slowest, fastest = token_rates(table)
        lines += ["", f"### {MODES[mode]}", "", f"![Speed and energy]({DOCS.name}/figure9-{mode}.svg)", ""]
        lines += [f"{table.repeats.min()} queues of each kind, on {'; '.join(dict.fromkeys(table.machine))}.", ""]
        rows = [
            [row["label"], row["at_once"], *(" ".join(value) for value in row["values"])]
            for row in latencies(table, labels)
        ]
        lines += _table(["variant", "at once", *LATENCIES], rows)
        lines += [
            "",
            "All variants are of one shape, so that a token should take all of them the same time. After the first",
            f"token, one question at a time, it was {slowest} to {fastest} tokens/s: so much the machine differs from",
            "one server to the next, and no ratio of two variants' times is more certain than that, whatever its",
            "bracket says.",
        ]
    lines += ["", "### What was claimed", "", "Tested on one question at a time:", ""]
    first, cells = next(iter(claims.values())), []
    for claim in first.index:
        row = first.loc[claim]
        told = [_verdict(table.loc[claim]) for table in claims.values()]
        cells.append([row.says, row.published, row.condition, *told])
    return lines + _table(["claim", "published", "condition", *claims], cells, left=3 + len(claims))


def _verdict(row):
    """A claim's value, verdict and, where there is one, reservation."""
    told = f"{interval(row.value, row.low, row.high)} {row.verdict}"
    return f"{told}, but {row.note}" if row.note else told


def _starts(table):
    lines = ["", "## Starting", "", "Seconds until a server of R1 answers, and until it has answered the study's"]
    lines += [
        "questions: medians, in brackets the lowest and the highest. `make gpu` starts its servers in the mode in"
    ]
    lines += ["which all is answered sooner.", ""]
    kinds = dict(iter(table.groupby("kind", sort=False)))
    rows = []
    for column, words in STARTS.items():
        if column not in table:  # nobody looked at it
            continue
        told = []
        for part in kinds.values():
            values = part[column].dropna()
            ends = (values.min(), values.max()) if len(values) > 1 else (math.nan, math.nan)
            told.append(interval(values.median(), *ends))
        rows.append([words, *told])
    return lines + _table(["seconds", *(f"{kind} ({counted(len(part), 'run')})" for kind, part in kinds.items())], rows)


def _ranks(table):
    first = table.iloc[0]
    lines = ["", "## Several workers", ""]
    lines += [
        "Written by `python -m performance.ranks`: a merge, half of each of two random models of DeepSeek-V3's own",
        "dimensions with three layers, served with the kernels of the study `paper`, CUDA's compiler hidden, on",
        f"{first.machine}. Both parents together have",
        f"{number(first.parents_gb)} GB. The workers' weights were made a second time on the processor, and compared",
        "byte by byte; the digests are those of all tensors that the first worker was handed, and of those that all",
        "workers share. Answers of random weights are near ties: the last column says how many of a server's greedy",
        "answers were the same when it was asked again.",
        "",
    ]
    rows = [
        [
            row["shape"],
            row["workers"],
            f"{number(row['read_gb'])} GB, {100 * row['read']:.0f} %",
            row["checked"],
            f"`{row['handed']}`",
            f"`{row['shared']}`" if "TP" in row["shape"] else "",
            number(row["loading_seconds"]),
            number(row["ready_seconds"]),
            f"{row['equal']} of {row['answers']}",
            f"{row['equal_when_asked_again']} of {row['answers']}",
        ]
        for _, row in table.iterrows()
    ]
    head = ["server", "workers", "read by one, at most", "weights compared", "handed", "shared", "s to load"]
    return lines + _table([*head, "s until it answers", "answers as on one GPU", "as before"], rows)


def read_docs(folder=DOCS):
    """What is committed."""

    def read(name, index=None, numbers=()):
        if not (folder / name).exists():
            return None
        table = read_table(folder / name, numbers)
        return table.set_index(index) if index else table

    def by_mode(name, index=None):
        tables = {mode: read(f"{name}-{mode}.csv", index) for mode in MODES}
        return {mode: table for mode, table in tables.items() if table is not None}

    return Found(
        {device: read(f"summary-{device}.csv", "variant") for device in STUDIES},
        {device: read(f"transitions-{device}.csv") for device in STUDIES},
        json.loads((folder / "machines.json").read_text(encoding="utf-8")),
        by_mode("latency"),
        by_mode("claims", "claim"),
        read("starts.csv", numbers=["weights"]),
        read("ranks.csv"),
    )


def mode_of(content):
    """In which of MODES a study's servers are when their speed is measured."""
    options = content["serving"]["options"] | content["latency"].get("options", {})
    return "eager" if options.get("enforce-eager") else "compiled"


def main():
    DOCS.mkdir(exist_ok=True)
    kinds = {}
    for device, name in STUDIES.items():
        if Path(f"results/{name}/scores.parquet").exists():
            summary, transitions, kinds[device] = measured(name)
            write_table(summary, DOCS / f"summary-{device}.csv")
            write_table(transitions, DOCS / f"transitions-{device}.csv")
        else:  # what is committed of it stays
            kinds[device] = read_docs().kinds[device]
    name = STUDIES["gpu"]
    gpu = Path("results") / name
    if (gpu / "latency.csv").exists():
        mode = mode_of(read_content(name, Path(f"config/studies/{name}.yaml")))
        shutil.copy(gpu / "latency.csv", DOCS / f"latency-{mode}.csv")
        shutil.copy(gpu / "figures/figure9.svg", DOCS / f"figure9-{mode}.svg")
        claims = read_table(gpu / "claims.csv")
        write_table(claims[claims.rule == "latencies"], DOCS / f"claims-{mode}.csv")
    (DOCS / "machines.json").write_text(json.dumps(kinds, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    DOCS.with_suffix(".md").write_text(as_markdown(read_docs()), encoding="utf-8")


if __name__ == "__main__":
    main()
