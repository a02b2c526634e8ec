"""How the time to merge grows with the size of the parents."""

import json
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from aoe.checkpoints.checkpoint import INDEX
from performance import inputs, job
from performance.measure import Row, row
from performance.weights import shards


def scaling(work: Path, runs: int) -> list[Row]:
    """Merge two parents of five sizes, and fit the exponent of the time: 1 is linear [paper, section 3]."""
    sizes, pieces = (1, 2, 4, 8, 16), 16
    parents = [work / f"scaling-{seed}" for seed in range(2)]
    for seed, folder in enumerate(parents):
        inputs.deepseek_shard(folder, shards.DEEPSEEK, shards.SHARD_BYTES, seed, pieces)
    seconds = {size: [] for size in sizes}
    out = work / "out"
    for number in range(-2, runs):  # the first two, while the parents settle in the page cache, do not count
        for size in sizes:
            shutil.rmtree(out, ignore_errors=True)
            os.sync()
            chosen = [first_shards(folder, size, work / f"part-{folder.name}") for folder in parents]
            start = time.perf_counter()
            job.merge(out, *chosen)
            if number >= 0:
                seconds[size].append(time.perf_counter() - start)
    exponents = [
        np.polyfit(np.log(sizes), np.log([seconds[size][number] for size in sizes]), 1)[0] for number in range(runs)
    ]
    medians = ", ".join(
        f"{shards.SHARD_BYTES / pieces * size / 1e9:.2f} GB {statistics.median(seconds[size]):.2f} s" for size in sizes
    )
    for folder in (*parents, out):
        shutil.rmtree(folder, ignore_errors=True)
    note = f"slope of log(seconds) over log(bytes), two parents, in a process that has its kernels: {medians}"
    return [row("scaling_exponent", exponents, [1.0] * runs, "", note)]


def first_shards(folder: Path, count: int, target: Path) -> Path:
    """Link the first ``count`` shards of a checkpoint into ``target``, a checkpoint of its own."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    chosen = sorted(set(index.values()))[:count]
    for file in chosen:
        os.link(folder / file, target / file)
    kept = {tensor: file for tensor, file in index.items() if file in chosen}
    (target / INDEX).write_text(json.dumps({"weight_map": kept}), encoding="utf-8")
    shutil.copy(folder / "config.json", target)
    return target
