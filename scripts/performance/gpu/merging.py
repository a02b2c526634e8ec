"""Merging and comparing in a GPU's memory, against copying the parents there and against the processor."""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from aoe import norms
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.numerics.kernels import cuda
from aoe.numerics.slabs import slabs
from performance import job
from performance.measure import Row, side_by_side
from performance.weights import shards
from performance.weights.merging import METHODS


def merge_and_compare(work: Path, runs: int) -> list[Row]:
    """Merge a shard from two parents in the page cache into the GPU's memory, against only copying them there."""
    parents = shards.deepseek_shards(work, 2)
    threads = min(len(os.sched_getaffinity(0)), 8)
    on_gpu, on_cpu = (job.merge_of(*parents, device=device, threads=threads) for device in ("cuda", "cpu"))
    weights = on_gpu.base.weights

    def merge():
        for _ in on_gpu.outputs(weights):
            pass
        torch.cuda.synchronize()

    def merge_on_cpu():
        for _ in on_cpu.outputs(weights):
            pass

    def copy():
        def one(slab):
            with torch.cuda.stream(cuda._stream()):
                parents = enumerate(on_gpu.parents(slab.stored.name))
                cuda._on_device([slab.read(parent, cuda, place) for place, parent in parents])
                torch.cuda.current_stream().synchronize()

        pieces = (slab for weight in weights for slab in slabs(on_gpu.base.stored(weight), cuda))
        on_gpu.run(partial(one, slab) for slab in pieces)

    def plain_copy():
        for parent in on_gpu.parents(weights[0]):
            for weight in weights:
                torch.from_numpy(parent.read(weight)).to("cuda")
        torch.cuda.synchronize()

    size = sum(on_gpu.base.stored(weight).size for weight in weights)
    locked = torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def wire():
        for _ in parents:
            locked.to("cuda", non_blocking=True)
        torch.cuda.synchronize()

    base, other = (Checkpoint(folder, folder.name) for folder in parents)
    (file,) = base.shard_names
    measured = {}

    def compare(device):
        measured[device] = shard_differences(base, other, file, threads, device)

    assert math.isclose(size, shards.SHARD_BYTES, rel_tol=0.01)
    check_same_bytes(on_gpu, on_cpu)
    note = f"one {size / 1e9:.1f} GB shard from two parents in the page cache, {threads} threads, results on the GPU"
    return [
        side_by_side(
            "merge_gpu_vs_copy", runs, merge, copy, f"{note}; reference: the same copies without the arithmetic"
        ),
        side_by_side("merge_gpu_vs_plain_copy", runs, merge, plain_copy, f"{note}; reference: tensor.to of the bytes"),
        side_by_side(
            "merge_gpu_vs_wire", runs, merge, wire, f"{note}; reference: copying as much that is page-locked already"
        ),
        side_by_side("merge_gpu_vs_cpu", runs, merge, merge_on_cpu, f"{note}; reference: the same on the processor"),
        *by_methods(parents, threads, runs, merge, note),
        *difference_on(compare, copy, measured, runs, f"all norms of a {size / 1e9:.1f} GB shard, {threads} threads"),
    ]


def by_methods(parents: Sequence[Path], threads: int, runs: int, merge: Callable[[], None], note: str) -> list[Row]:
    """Merge by every other arithmetic and rounding, against ``merge``, which does so in float32 and to nearest."""
    rows = []
    for key, value in METHODS:
        work = job.merge_of(*parents, device="cuda", threads=threads, method={key: value})

        def run(work=work):
            for _ in work.outputs(work.base.weights):
                pass
            torch.cuda.synchronize()

        run()  # which compiles
        what = f"{note}, {key}: {value}; reference: in float32, rounded to nearest"
        rows.append(side_by_side(f"merge_gpu_{value}_vs_nearest", runs, run, merge, what))
    return rows


def difference_on(
    compare: Callable[[str], None], copy: Callable[[], None], measured: dict[str, list[dict]], runs: int, note: str
) -> list[Row]:
    """Compare a shard on the GPU and on the processor.

    ``compare`` puts a device's differences into ``measured``.  Raises AssertionError unless they agree to
    one in a million.
    """
    rows = [
        side_by_side(
            "diff_gpu_vs_copy", runs, lambda: compare("cuda"), copy, f"{note}; reference: copying both parents there"
        ),
        side_by_side(
            "diff_gpu_vs_cpu", runs, lambda: compare("cuda"), lambda: compare("cpu"), f"{note}; reference: processor"
        ),
    ]
    for ours, theirs in zip(measured["cuda"], measured["cpu"], strict=True):
        for space in norms.names():
            assert math.isclose(ours[space], theirs[space], rel_tol=1e-6), (ours["tensor"], space)
    return rows


def check_same_bytes(on_gpu: Merge, on_cpu: Merge) -> None:
    """Raise AssertionError unless a merge gives the same bytes on the GPU and on the processor, scales too."""
    weights = on_gpu.base.weights
    for ours, theirs in zip(on_gpu.outputs(weights), on_cpu.outputs(weights), strict=True):
        assert ours[0] == theirs[0]
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            assert (one is None) == (other is None)
            assert one is None or bytes_of(one) == bytes_of(other), ours[0]


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Return what a tensor holds, wherever it is."""
    return tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes()
