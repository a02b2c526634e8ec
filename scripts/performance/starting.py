"""Where the seconds go until a server answers, and what compiling is worth for a variant of the mini study."""

import re
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
from aoe.files.tables import write_table
from aoe.serving.server import Server
from aoe.studies.study import read_content
from benchmarks.catalog import task_of
from benchmarks.runner import ask
from performance.measure import row

MODEL = "r1"
KINDS = ("eager", "compiled")
# what vLLM says of its own start, in seconds
PHASES = {
    "weights": r"Loading weights took ([\d.]+) seconds",
    "engine": r"init engine .* took ([\d.]+) s",  # of which:
    "compiling": r"torch\.compile took ([\d.]+) s in total",
    "graphs": r"Graph capturing finished in ([\d.]+) secs",
}
LINE = re.compile(r"^\((\w+)[^)]*\) [A-Z]+ (\d\d-\d\d \d\d:\d\d:\d\d) \[", re.MULTILINE)
SERVER = "APIServer"  # what its own lines begin with


def starts(work, runs, table, study="mini-gpu"):
    """A server in eager mode beside a compiled one: until it answers, and until it has answered the whole study.

    work: a folder for logs and answers; table: path of a CSV, which gets one row a start.
    """
    content = read_content(study, Path(f"config/studies/{study}.yaml"))
    # one start more than is counted: the first one finds cold caches, and compiles kernels that are kept
    found = [
        {"kind": kind, "run": run, **start(content, kind, work / f"{kind}-{run}")}
        for run in range(-1, runs)
        for kind in KINDS
    ]
    found = pd.DataFrame([one for one in found if one["run"] >= 0])
    write_table(found.round(3), table)
    note = f"{MODEL} of the study {study}, in eager mode; reference: compiled, with captured graphs"
    columns = {kind: found[found.kind == kind] for kind in KINDS}
    whole = f"{note}; until all questions are answered"
    return [
        row(f"{name}_eager_vs_compiled", *(list(columns[kind][measure]) for kind in KINDS), "s", words)
        for name, measure, words in (("start", "ready", note), ("study", "answered", whole))
    ]


def start(content, kind, folder):
    """Seconds until a server is ready, until it has answered a study's questions, and what its log tells."""
    serving, log = content["serving"], folder.with_suffix(".log")
    options = serving["options"] | {"enforce-eager": kind == "eager"}
    checkpoints, environment = {MODEL: content["models"][MODEL]["path"]}, serving.get("environment", {})
    tasks = [task_of(name, settings) for name, settings in content["benchmarks"].items()]
    began, clock = time.time(), time.perf_counter()
    with Server(MODEL, checkpoints, None, log, options, environment) as server:
        ready = time.perf_counter() - clock
        ask(tasks, MODEL, server.url, server.key, serving["connections"], folder)
        answered = time.perf_counter() - clock
    return {"ready": ready, "answered": answered, **told(log.read_text(encoding="utf-8"), began)}


def told(log, began):
    """{phase: seconds} of what a server's log says of its start; ``began``: when that was, in seconds since 1970.

    ``imports`` are those of the server, until its first line; ``engine_imports`` those of the engine's own process,
    from the server's last line before.  Both are told to the second.
    """
    lines = [(who != SERVER, _seconds(stamp, began)) for who, stamp in LINE.findall(log)]
    found = {"imports": max(0.0, lines[0][1] - began)} if lines else {}
    first = next((place for place, (is_engine, _) in enumerate(lines) if is_engine), 0)
    if first:
        found["engine_imports"] = lines[first][1] - lines[first - 1][1]
    return found | {phase: float(said[-1]) for phase, line in PHASES.items() if (said := re.findall(line, log))}


def _seconds(stamp, began):
    """A line's time, which has no year, in seconds since 1970."""
    year = datetime.fromtimestamp(began).year
    return datetime.strptime(f"{year}-{stamp}", "%Y-%m-%d %H:%M:%S").timestamp()
