"""One piece of work in a process of its own: python -m performance.job NAME ARGUMENTS prints its seconds and GiB."""

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from aoe.acquiring import fetching, verification
from aoe.acquiring.lock import format_lock
from aoe.acquiring.sources import open_source
from aoe.audit.attribution import Audit
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import Recipe, read_recipe
from aoe.merging.shard_writer import write_shard
from aoe.merging.subset import Subset
from aoe.numerics.kernels import FP8, cpu
from performance.measure import peak_memory


def merge_of(
    *folders: Path | str, device: str = "cpu", threads: int = 2, method: Mapping[str, str] | None = None
) -> Merge:
    """Prepare an equal mixture of checkpoints; method: the recipe's arithmetic and rounding."""
    parents = {str(folder): Checkpoint(folder, str(folder)) for folder in folders}
    weights = dict.fromkeys(parents, 1 / len(parents))
    recipe = read_recipe("mine", {"base": str(folders[0]), "weights": weights, **(method or {})}, parents)
    return Merge(make_plan(recipe, parents), parents, device, threads)


def merge(target: Path | str, *folders: Path | str) -> None:
    """Plan and write all shards of a mixture."""
    _write(merge_of(*folders), target)


def merge_with(threads: int, target: Path | str, *folders: Path | str) -> None:
    """Do the same with so many threads."""
    _write(merge_of(*folders, threads=threads), target)


def merge_by(key: str, value: str, target: Path | str, *folders: Path | str) -> None:
    """Do the same by the arithmetic, or the rounding, that a key of recipes has as its value."""
    _write(merge_of(*folders, method={key: value}), target)


def _write(work, target):
    Path(target).mkdir(parents=True, exist_ok=True)
    for file in work.base.shard_names:
        write_shard(work, file, Path(target) / file)


def diff(base: Path | str, other: Path | str) -> None:
    """Measure the differences of all shards of two checkpoints."""
    parents = Checkpoint(base), Checkpoint(other)
    for file in parents[0].shard_names:
        shard_differences(*parents, file, threads=2, device="cpu")


def audit(audited: Path | str, *parents: Path | str) -> None:
    """Attribute all weights of a checkpoint to parents."""
    work = Audit(Checkpoint(audited, "audited"), {str(folder): Checkpoint(folder, str(folder)) for folder in parents})
    work.rows(work.base.weights, threads=2)


def verify(path: Path | str, digest: str) -> None:
    """Verify one file by its SHA-256."""
    verification.verify_file(Path(path), {"size": Path(path).stat().st_size, "sha256": digest})


def verify_all(folder: Path | str, entries: str) -> None:
    """Verify a folder by the lock's entries of its files, as JSON."""
    verification.verify("two", folder, json.loads(entries), threads=2)


def fetch(uri: str, target: Path | str) -> None:
    """Download the file of a repository that is named `file`."""
    source = open_source(uri)
    fetching.fetch(source, "file", source.snapshot()["file"], Path(target))


def lock_and_plan(folder: Path | str) -> dict[str, float]:
    """Lock the paper's three models, fetch their outlines and plan R1T; return the seconds of each step."""
    models, seconds = ("v3-0324", "r1", "r1-0528"), {}
    start = time.perf_counter()
    sources = {model: open_source(f"hf://paper/{model}") for model in models}
    locked = [fetching.lock_source(model, "models", source) for model, source in sources.items()]
    format_lock(locked)
    seconds["lock"] = time.perf_counter() - start
    parents = {
        entry.name: fetching.fetch_outline(sources[entry.name], entry, Path(folder) / entry.name) for entry in locked
    }
    seconds["outline"] = time.perf_counter() - start - seconds["lock"]
    make_plan(Recipe(models[0], {"r1": 1}, Subset(groups=("routed_experts",))), parents)
    seconds["plan"] = time.perf_counter() - start - seconds["lock"] - seconds["outline"]
    return seconds


def ask(url: str, key: str, connections: str, questions: str, folder: str) -> float:
    """Put questions to the model ``r1``, after one that loads everything; return the seconds that they take."""
    from benchmarks.runner import ask
    from performance.client import task

    ask([task(1)], "r1", url, key, 1, f"{folder}-first")
    start = time.perf_counter()
    ask([task(int(questions))], "r1", url, key, int(connections), folder)
    return time.perf_counter() - start


def load_kernels() -> None:
    """Have numba load what it compiled in an earlier run, which takes half a second."""
    codes, scale = np.zeros((1, 1), np.uint8), np.ones((1, 1), np.float32)
    cpu.difference([(codes, scale)] * 2, FP8)
    cpu.alike(codes.reshape(-1), codes.reshape(-1))
    cpu.combine([(codes, scale)] * 2, FP8, [0.5, 0.5], codes.copy(), scale.copy())
    cpu.values((codes, scale), FP8)
    cpu.steps((codes, scale), FP8, None)


JOBS: tuple[Callable, ...] = (merge, merge_by, diff, audit, verify, verify_all, fetch, lock_and_plan, ask)

if __name__ == "__main__":
    if sys.argv[1] in ("diff", "audit"):
        load_kernels()
    if sys.argv[1] == "fetch":
        importlib.import_module("huggingface_hub.file_download")  # a third of a second that is Python's start
    jobs = {function.__name__: function for function in JOBS}
    start = time.perf_counter()
    parts = jobs[sys.argv[1]](*sys.argv[2:])
    print(json.dumps([parts or time.perf_counter() - start, peak_memory()]))
