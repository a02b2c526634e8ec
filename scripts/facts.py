"""The numbers of the study's document, out of its results."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aoe import __version__
from aoe.benchmarks import title_of
from aoe.document import paper
from aoe.document.findings import listed
from aoe.document.meaning import meaning
from aoe.files.configuration import read_yaml
from aoe.files.tables import read_levels, read_table
from aoe.nodes.machine import software
from aoe.norms import norm
from aoe.scores.realized import read_realized
from aoe.studies.families import compares_roundings
from benchmarks import registry  # noqa: F401 -- registers the benchmarks
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    study, settings = snakemake.params.study, snakemake.params.settings
    folder = Path(snakemake.output[0]).parent
    claimed = read_yaml(snakemake.input.claims)
    table = read_table(folder / "claims.csv")
    rows, verdicts = paper.claims(table)
    deltas, norms = paper.norms(read_table(folder / "norms.csv"))
    asks = bool(snakemake.params.benchmarks)
    drawn = paper.figures(folder, snakemake.params.figures, asks)
    facts = {
        **study,
        "release": __version__,
        "folder": str(folder),
        "figures": drawn,
        "claims": rows,
        "verdicts": verdicts,
        "sources": claimed["sources"],
        "deltas": deltas,
        "norms": norms,
        "steps": [],
        "audits": paper.audits(folder, snakemake.params.audits, snakemake.params.labels),
        "norm": norm(settings["space"]).text if "space" in settings else None,
        "software": software(("numpy", "pandas", "scipy", "matplotlib", "seaborn")),
        "machines": paper.machines(
            [json.loads(Path(file).read_text(encoding="utf-8")) for file in snakemake.input.machines]
        ),
        "missing": paper.missing(drawn, snakemake.params.benchmarks, table),
        "variants": [],
        "transitions": [],
        "benchmarks": [],
        "unreadable": {},
        "latencies": [],
        "lambda": {},
    }
    if asks:
        tables = ("summary", "transitions", "transition_curves")
        summary, fitted, curves = (read_table(folder / f"{name}.csv") for name in tables)
        scores = read_table(folder / "scores.parquet")
        differences = folder / "differences.parquet"
        groups = read_levels(folder / "realized.parquet", ["group"]) if snakemake.input.realized else None
        facts |= {
            "key": paper.key_figures(summary, fitted, curves, settings, study["models"]),
            "variants": paper.variants(summary, groups),
            "transitions": paper.transitions(fitted),
            "unreadable": paper.unreadable(read_table(folder / "unreadable.csv"), snakemake.params.labels),
            "steps": paper.steps(read_table(differences), settings) if differences.exists() else [],
            "benchmarks": paper.benchmarks(snakemake.params.benchmarks, scores),
            "intelligence": listed(map(title_of, settings["intelligence"])),
            "reference": snakemake.params.labels[settings["reference"]],
        }
    if families := snakemake.params.families:
        explained = read_table(folder / "explained.csv") if compares_roundings(families) else None
        facts["lambda"] = meaning(families, read_realized(folder / "realized.parquet"), explained)
    if settings["timed"]:
        speed = read_table(folder / "latency.csv")
        facts |= {"latencies": paper.latencies(speed, settings["timed"]), "timed": list(paper.LATENCIES)}
        facts |= {"timed_on": listed(speed.machine.unique()), "token_rates": paper.token_rates(speed)}
    Path(snakemake.output[0]).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
