"""Merging two and three parents: ours beside mergekit, and beside reading the parents and writing one model."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from performance import inputs
from performance.measure import Row, row, side_by_side, timed_command
from performance.weights import shards

METHODS = (
    ("rounding", "stochastic"),
    ("rounding", "balanced"),
    ("rounding", "none"),
    ("arithmetic", "bfloat16"),
    ("arithmetic", "stored"),
)
LIMIT = "limit: cat of all parents, cp of one, sync of the copy"


def merge_bf16(work: Path, runs: int, mergekit: str) -> list[Row]:
    """Merge two Qwen3-MoE-shaped BF16 parents: ours and mergekit as whole processes, and the limit."""
    parents = [work / "qwen3-a", work / "qwen3-b"]
    for seed, folder in enumerate(parents):
        inputs.qwen3_moe(folder, seed)
    size = sum(file.stat().st_size for file in parents[0].glob("*.safetensors")) / 1e9
    out, recipe = work / "out", work / "mergekit.yaml"
    models = [{"model": str(folder), "parameters": {"weight": 0.5}} for folder in parents]
    recipe.write_text(json.dumps({"merge_method": "linear", "dtype": "bfloat16", "models": models}), encoding="utf-8")
    ours = [sys.executable, "-m", "performance.job", "merge", out, *parents]
    theirs = [mergekit, recipe, out, "--no-copy-tokenizer", "--lazy-unpickle"]
    memory = {"ours": [], "mergekit": []}

    def run(command, who):
        seconds, peak = timed_command(*command)
        memory[who].append(peak)
        return seconds

    def clear():
        shutil.rmtree(out, ignore_errors=True)
        os.sync()

    note = f"linear 0.5/0.5 of two {size:.1f} GB Qwen3-MoE-shaped BF16 parents, whole processes"
    rows = [
        side_by_side(
            "merge_bf16_vs_mergekit",
            runs,
            lambda: run(ours, "ours"),
            lambda: run(theirs, "mergekit"),
            f"{note}; reference: mergekit 0.1.5, which does not flush to the disk (ours does)",
            clear,
        ),
        side_by_side(
            "merge_bf16_vs_limit",
            runs,
            lambda: run(ours, "ours"),
            lambda: limit(parents, out),
            f"{note}; {LIMIT}",
            clear,
        ),
        row(
            "peak_memory_gib",
            memory["ours"],
            memory["mergekit"][: len(memory["ours"])],
            "GiB",
            f"{note}; reference: mergekit's",
        ),
    ]
    run(ours, "ours")
    run([mergekit, recipe, work / "theirs", *theirs[3:]], "mergekit")
    for file in (INDEX, "config.json"):
        shutil.copy(parents[0] / file, out)
    check_same_values(out, work / "theirs")
    for folder in (*parents, out, work / "theirs"):
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def merge_fp8(work: Path, runs: int) -> list[Row]:
    """Merge one shard of DeepSeek-V3's size from two and from three parents, against the limit."""
    parents = shards.deepseek_shards(work, 3)
    out, rows, peaks = work / "out", [], {}

    def clear():
        shutil.rmtree(out, ignore_errors=True)
        os.sync()

    for count in (2, 3):
        chosen, name = parents[:count], f"merge_fp8_{count}_parents"
        peaks[name] = []

        def run(chosen=chosen, name=name):
            seconds, peak = timed_command(sys.executable, "-m", "performance.job", "merge", out, *chosen)
            peaks[name].append(peak)
            return seconds

        note = f"one {shards.shard_size()} shard of routed experts from {count} parents, whole process; {LIMIT}"
        rows.append(side_by_side(f"{name}_vs_limit", runs, run, partial(limit, chosen, out), note, clear))
        rows.append(
            row(f"peak_memory_gib_{name}", peaks[name], shards.shard_gib(len(peaks[name])), "GiB", "reference: a shard")
        )
    clear()
    return rows


def merge_by_methods(work: Path, runs: int) -> list[Row]:
    """Merge one shard of DeepSeek-V3's size by every other arithmetic and rounding, against float32 to nearest."""
    parents, out, rows = shards.deepseek_shards(work, 2), work / "out", []

    def clear():
        shutil.rmtree(out, ignore_errors=True)
        os.sync()

    def run(*words):
        return timed_command(sys.executable, "-m", "performance.job", *words, out, *parents)[0]

    for key, value in METHODS:
        note = f"one {shards.shard_size()} shard of routed experts from 2 parents, whole process, {key}: {value}"
        reference = "reference: the same in float32, rounded to nearest"
        ours = partial(run, "merge_by", key, value)
        name = f"merge_{value}_vs_nearest"
        rows.append(side_by_side(name, runs, ours, partial(run, "merge"), f"{note}; {reference}", clear))
    clear()
    return rows


def limit(parents: Sequence[Path], out: Path) -> float:
    """Read everything, write one model: the seconds that the machine needs if the arithmetic costs nothing."""
    out.mkdir(parents=True)
    files = [sorted(folder.glob("*.safetensors")) for folder in parents]
    start = time.perf_counter()
    subprocess.run(["cat", *(file for column in files for file in column)], check=True, stdout=subprocess.DEVNULL)
    for file in files[0]:
        subprocess.run(["cp", file, out], check=True)
        subprocess.run(["sync", "--data", out / file.name], check=True)
    return time.perf_counter() - start


def check_same_values(out: Path, theirs: Path) -> None:
    """Raise AssertionError unless mergekit's experts (which it stacks) and LM head are ours, to a last bit."""
    one, other = Checkpoint(out), Checkpoint(theirs)
    name = "model.layers.1.mlp.experts"
    stacked = other.tensor(f"{name}.down_proj")
    pairs = [(one.tensor(f"{name}.{expert}.down_proj.weight"), stacked[expert]) for expert in range(len(stacked))]
    for ours, merged in [*pairs, (one.tensor("lm_head.weight"), other.tensor("lm_head.weight"))]:
        assert (ours.float() - merged.float()).abs().max() <= 2**-9
