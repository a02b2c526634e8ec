"""The mini study on a processor beside the same on a GPU; python -m performance.devices writes docs/gpu/ and gpu.md.

Both have to be finished up to their scores: `make run` and `make gpu`.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from aoe.findings import fixed, interval, number
from aoe.paper import machines
from aoe.study import read_study
from aoe.summary import fit_transitions, summarize

STUDIES = {"cpu": "mini", "gpu": "mini-gpu"}
MEASURES = {"intelligence": 1, "cost": 2, "closing": 3}  # and how many decimals
DOCS = Path("docs/gpu")
Z95 = 1.96


def measured(name):
    """(summary, transitions, kinds of machine) of a study."""
    schema = json.loads(Path("config/schemas/study.schema.json").read_text())
    study = read_study(name, "config/studies", schema)
    scores = pd.read_parquet(f"results/{name}/scores.parquet")
    transitions, _ = fit_transitions(scores, study.positions(over_lambda2=True), study.content["scores"])
    records = sorted(Path(f"results/{name}/answers").glob("*/machine.json"))
    kinds = machines([json.loads(file.read_text()) for file in records])
    return summarize(scores, study.table(), study.content["scores"]), transitions, kinds


def deviations(cpu, gpu):
    """Differences of two summaries in standard errors, which are read off their intervals: a row a variant, a column a
    measure.  An interval of width 0 has an error of a tenth of the last decimal."""
    found = {}
    for measure in MEASURES:
        errors = [(table[f"{measure}_high"] - table[f"{measure}_low"]) / 2 / Z95 for table in (cpu, gpu)]
        found[measure] = (gpu[measure] - cpu[measure]) / np.sqrt(errors[0] ** 2 + errors[1] ** 2 + 1e-10)
    return pd.DataFrame(found)


def as_markdown(cpu, gpu, steps, kinds):
    """The page, from both summaries (indexed by variant), {device: transitions} and {device: kinds of machine}."""
    off = deviations(cpu, gpu)
    head = " | ".join(f"{measure}, CPU | GPU" for measure in MEASURES)
    lines = [
        "# The mini study on a GPU",
        "",
        "Written by `python -m performance.devices` from what `make run` and `make gpu` found: the same recipes and",
        "questions, on the CPU in float32 with weights dequantized while loading, on the GPU in BF16 with FP8 weights",
        "as they are. 95 % intervals in brackets; the last column is the largest of the three differences, in standard",
        "errors.",
        "",
        f"| variant | {head} | off |",
        "|---|" + "---|" * (2 * len(MEASURES) + 1),
    ]
    for variant in cpu.index:
        cells = [cpu.label[variant]]
        for measure, places in MEASURES.items():
            for table in (cpu, gpu):
                ends = [table.loc[variant, f"{measure}{end}"] for end in ("", "_low", "_high")]
                cells.append(interval(*ends, show=lambda value, places=places: fixed(value, places)))
        lines.append(f"| {' | '.join(cells)} | {fixed(off.loc[variant].abs().max())} |")
    lines += ["", "Where the closing tag appears (midpoint and width of the fitted step in λ2):", ""]
    lines += ["| sweep | CPU | GPU |", "|---|---|---|"]
    closing = {device: table[table.measure == "closing"].set_index("sweep") for device, table in steps.items()}
    for sweep in closing["cpu"].index:
        told = [
            interval(row.midpoint, row.midpoint_low, row.midpoint_high) + f", {number(row.width)} wide"
            for row in (closing[device].loc[sweep] for device in ("cpu", "gpu"))
        ]
        lines.append(f"| {sweep} | {' | '.join(told)} |")
    lines += ["", "Machines:", ""]
    for device, found in kinds.items():
        lines += [f"* {device.upper()}: {kind['machine']}; {kind['software']}" for kind in found]
    return "\n".join(lines) + "\n"


def read_docs(folder=DOCS):
    """What is committed: (cpu, gpu, steps, kinds), as ``as_markdown`` takes them."""
    tables = [pd.read_csv(folder / f"summary-{device}.csv").set_index("variant") for device in STUDIES]
    steps = {device: pd.read_csv(folder / f"transitions-{device}.csv") for device in STUDIES}
    return *tables, steps, json.loads((folder / "machines.json").read_text())


def main():
    DOCS.mkdir(exist_ok=True)
    kinds = {}
    for device, name in STUDIES.items():
        summary, transitions, kinds[device] = measured(name)
        summary.to_csv(DOCS / f"summary-{device}.csv", index=False)
        transitions.to_csv(DOCS / f"transitions-{device}.csv", index=False)
    (DOCS / "machines.json").write_text(json.dumps(kinds, indent=1, ensure_ascii=False) + "\n")
    DOCS.with_suffix(".md").write_text(as_markdown(*read_docs()))


if __name__ == "__main__":
    main()
