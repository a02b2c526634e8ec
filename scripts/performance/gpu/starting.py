"""Seconds until a server answers, by phase, and what compiling is worth for a variant of the mini study."""

import re
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from aoe.files.tables import write_table
from aoe.serving.server import Server
from aoe.studies.study import read_content
from benchmarks.catalog import task_of
from benchmarks.runner import ask
from performance.measure import Row, row

MODEL = "r1"
MODES = ("eager", "compiled")  # of servers; the column `kind` of starts.csv
# what vLLM says of its own start, in seconds
PHASES = {
    "weights": r"Loading weights took ([\d.]+) seconds",
    "engine": r"init engine .* took ([\d.]+) s",  # of which:
    "compiling": r"torch\.compile took ([\d.]+) s in total",
    "graphs": r"Graph capturing finished in ([\d.]+) secs",
}
LOG_LINE = re.compile(r"^\((\w+)[^)]*\) [A-Z]+ (\d\d-\d\d \d\d:\d\d:\d\d) \[", re.MULTILINE)
SERVER = "APIServer"  # what its own lines begin with


def starts(work: Path, runs: int, table: Path, study: str = "mini-gpu") -> list[Row]:
    """Start a server in eager mode beside a compiled one; time it until it answers, and until it has answered all.

    work: a folder for logs and answers; table: path of a CSV, which gets one row a start.
    """
    content = read_content(study, Path(f"config/studies/{study}.yaml"))
    # the first start of each mode does not count: its caches are cold, and it compiles kernels that are kept
    timed: list[dict[str, Any]] = [
        {"kind": kind, "run": run, **start(content, kind, work / f"{kind}-{run}")}
        for run in range(-1, runs)
        for kind in MODES
    ]
    found = pd.DataFrame([one for one in timed if one["run"] >= 0])
    write_table(found.round(3), table)
    note = f"{MODEL} of the study {study}, in eager mode; reference: compiled, with captured graphs"
    columns = {kind: found[found.kind == kind] for kind in MODES}
    whole = f"{note}; until all questions are answered"
    return [
        row(
            f"{name}_eager_vs_compiled", list(columns["eager"][measure]), list(columns["compiled"][measure]), "s", words
        )
        for name, measure, words in (("start", "ready", note), ("study", "answered", whole))
    ]


def start(content: Mapping[str, Any], kind: str, folder: Path) -> dict[str, float]:
    """Start a server and put a study's questions to it.

    Returns the seconds until it is ``ready``, until it has ``answered``, and those of the phases that its log names.
    """
    serving, log = content["serving"], folder.with_suffix(".log")
    options = serving["options"] | {"enforce-eager": kind == "eager"}
    checkpoints, environment = {MODEL: content["models"][MODEL]["path"]}, serving.get("environment", {})
    tasks = [task_of(name, settings) for name, settings in content["benchmarks"].items()]
    began, clock = time.time(), time.perf_counter()
    with Server(MODEL, checkpoints, None, log, options, environment) as server:
        ready = time.perf_counter() - clock
        ask(tasks, MODEL, server.url, server.key, serving["connections"], folder)
        answered = time.perf_counter() - clock
    return {"ready": ready, "answered": answered, **start_phases(log.read_text(encoding="utf-8"), began)}


def start_phases(log: str, began: float) -> dict[str, float]:
    """Return {phase: seconds} of a start by the server's log; ``began``: its time in seconds since 1970.

    ``imports`` are those of the server, until its first line; ``engine_imports`` those of the engine's own process,
    from the server's last line before.  The log's times have no fractions of seconds.
    """
    lines = [(who != SERVER, _seconds(stamp, began)) for who, stamp in LOG_LINE.findall(log)]
    found = {"imports": max(0.0, lines[0][1] - began)} if lines else {}
    first = next((place for place, (is_engine, _) in enumerate(lines) if is_engine), 0)
    if first:
        found["engine_imports"] = lines[first][1] - lines[first - 1][1]
    return found | {phase: float(said[-1]) for phase, line in PHASES.items() if (said := re.findall(line, log))}


def _seconds(stamp, began):
    """A line's time, which has no year, in seconds since 1970."""
    year = datetime.fromtimestamp(began).year
    return datetime.strptime(f"{year}-{stamp}", "%Y-%m-%d %H:%M:%S").timestamp()
