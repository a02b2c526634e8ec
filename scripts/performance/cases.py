"""What is measured: each function returns Rows.  ``work``: a folder with 50 GB to spare; ``runs``: how often."""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from aoe.acquiring.hashing import sha256
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.shard import BLOCK
from aoe.merging.difference import shard_differences
from aoe.numerics import fp8, kernels
from aoe.numerics.kernels import FP8
from aoe.numerics.slabs import slabs
from performance import inputs, job
from performance.measure import in_a_process, row, side_by_side, timed_command

ROOT = Path(__file__).parents[2]
DEEPSEEK = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))
SHARD = 4_300_000_000  # bytes, as DeepSeek-V3's
LIMIT = "limit: cat of all parents, cp of one, sync of the copy"


def merge_bf16(work, runs, mergekit):
    """(a) Two Qwen3-MoE-shaped BF16 parents: ours and mergekit as whole processes, and the limit."""
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


def limit(parents, out):
    """Read everything, write one model: the seconds that the machine needs if the arithmetic costs nothing."""
    out.mkdir(parents=True)
    files = [sorted(folder.glob("*.safetensors")) for folder in parents]
    start = time.perf_counter()
    subprocess.run(["cat", *(file for column in files for file in column)], check=True, stdout=subprocess.DEVNULL)
    for file in files[0]:
        subprocess.run(["cp", file, out], check=True)
        subprocess.run(["sync", "--data", out / file.name], check=True)
    return time.perf_counter() - start


def check_same_values(out, theirs):
    """Raises AssertionError unless mergekit's experts (which it stacks) and LM head are ours, to a last bit."""
    one, other = Checkpoint(out), Checkpoint(theirs)
    name = "model.layers.1.mlp.experts"
    stacked = other.tensor(f"{name}.down_proj")
    pairs = [(one.tensor(f"{name}.{expert}.down_proj.weight"), stacked[expert]) for expert in range(len(stacked))]
    for ours, merged in [*pairs, (one.tensor("lm_head.weight"), other.tensor("lm_head.weight"))]:
        assert (ours.float() - merged.float()).abs().max() <= 2**-9


def deepseek_shards(work, count):
    """The folders of parents that are one shard of DeepSeek-V3's size each; several cases use the same."""
    folders = [work / f"deepseek-{seed}" for seed in range(count)]
    for seed, folder in enumerate(folders):
        if not folder.exists():
            inputs.deepseek_shard(folder, DEEPSEEK, SHARD, seed)
    return folders


def merge_fp8(work, runs):
    """(b) and (e): one shard of DeepSeek-V3's size from two and from three parents, against the limit."""
    parents = deepseek_shards(work, 3)
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

        note = f"one {SHARD / 1e9:.1f} GB shard of routed experts from {count} parents, whole process; {LIMIT}"
        rows.append(side_by_side(f"{name}_vs_limit", runs, run, lambda chosen=chosen: limit(chosen, out), note, clear))
        rows.append(
            row(f"peak_memory_gib_{name}", peaks[name], [SHARD / 2**30] * len(peaks[name]), "GiB", "reference: a shard")
        )
    clear()
    return rows


def merge_arithmetic(runs):
    """(b) The arithmetic alone, on one expert's projection in memory: our kernel against plain torch."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(2048, 7168, generator=generator) * 0.02 for _ in range(2)]
    stored = [fp8.quantize(weight) for weight in weights]
    parts = [(codes.view(torch.uint8).numpy(), scale.numpy()) for codes, scale in stored]
    engine = kernels.for_device("cpu")
    out, scale = engine.empty(parts[0][0].shape, FP8), engine.empty(parts[0][1].shape, "F32")
    threads = len(os.sched_getaffinity(0))
    edges = [round(number * 16 / threads) * BLOCK for number in range(threads + 1)]

    def combine(pool):
        def part(begin, end):
            blocks = slice(begin // BLOCK, end // BLOCK)
            pieces = [(codes[begin:end], scales[blocks]) for codes, scales in parts]
            engine.combine(pieces, FP8, [0.5, 0.5], out[begin:end], scale[blocks])

        list(pool.map(part, edges, edges[1:]))

    def plain():
        fp8.quantize(fp8.dequantize(*stored[0]) * 0.5 + fp8.dequantize(*stored[1]) * 0.5)

    def compare(pool):
        def part(begin, end):
            blocks = slice(begin // BLOCK, end // BLOCK)
            engine.difference([(codes[begin:end], scales[blocks]) for codes, scales in parts], FP8)

        list(pool.map(part, edges, edges[1:]))

    def plain_difference():
        ours, theirs = (fp8.dequantize(*pair) for pair in stored)
        codes = [pair[0].float() for pair in stored]
        return ours.norm(), (ours - theirs).norm(), (codes[0] - codes[1]).norm()

    with ThreadPoolExecutor(threads) as pool:
        return [
            side_by_side(
                "merge_fp8_vs_torch",
                4 * runs,
                lambda: combine(pool),
                plain,
                f"dequantize, combine and requantize two 2048x7168 weights in memory, {threads} threads; "
                "reference: plain torch",
            ),
            side_by_side(
                "diff_fp8_vs_torch",
                4 * runs,
                lambda: compare(pool),
                plain_difference,
                f"three norms of the difference of two 2048x7168 weights in memory, {threads} threads; "
                "reference: plain torch, in float32",
            ),
        ]


def diff_and_verify(work, runs):
    """(c) Differences of two parents' shard against reading both; verification against sha256sum."""
    parents = deepseek_shards(work, 2)
    files = [next(folder.glob("*.safetensors")) for folder in parents]
    peaks = {"diff": [], "verify": []}

    def run(name, *arguments):
        seconds, peak = in_a_process(name, *arguments)
        peaks[name].append(peak)
        return seconds

    def read():
        subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)

    def sha256sum():
        subprocess.run(["sha256sum", files[0]], check=True, stdout=subprocess.DEVNULL)

    digest = sha256(files[0])
    rows = [
        side_by_side(
            "diff_fp8_vs_limit",
            runs,
            lambda: run("diff", *parents),
            read,
            f"all norms of a {SHARD / 1e9:.1f} GB shard's differences, without the start of Python and the kernels; "
            "limit: cat of both files",
        ),
        side_by_side(
            "verify_vs_sha256sum",
            runs,
            lambda: run("verify", files[0], digest),
            sha256sum,
            f"one file of {SHARD / 1e9:.1f} GB, one core each; reference: sha256sum",
        ),
    ]
    for name, column in peaks.items():
        rows.append(row(f"peak_memory_gib_{name}", column, [SHARD / 2**30] * len(column), "GiB", "reference: a shard"))
    return rows


def audit(work, runs):
    """A shard of copies, and one of a mixture, attributed to its two parents, against reading all three files."""
    parents, published, rows = deepseek_shards(work, 2), work / "published", []
    note = f"a {SHARD / 1e9:.1f} GB shard and its two parents, without the start of Python and the kernels"
    for name, publish in (("copies", lambda: None), ("mixture", lambda: job.merge(published, *parents))):
        shutil.copytree(parents[1], published)
        publish()
        files = [next(folder.glob("*.safetensors")) for folder in (published, *parents)]
        for where, before in (("", lambda: None), ("_from_disk", lambda files=files: evict(files))):
            peaks = []

            def run(peaks=peaks):
                seconds, peak = in_a_process("audit", published, *parents)
                peaks.append(peak)
                return seconds

            def read(files=files):
                subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)

            limit = f"{note}; limit: cat of the three files, {'on the disk' if where else 'in the page cache'}"
            rows.append(side_by_side(f"audit_{name}{where}_vs_limit", runs, run, read, limit, before))
        sizes = [SHARD / 2**30] * len(peaks)
        rows.append(row(f"peak_memory_gib_audit_{name}", peaks, sizes, "GiB", "reference: a shard"))
        shutil.rmtree(published)
    return rows


def evict(files):
    """Have the system forget what it keeps of files in memory."""
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def scaling(work, runs):
    """(d) The time to merge two parents of five sizes, and the exponent that fits: 1 is linear [paper, section 3]."""
    sizes, shards = (1, 2, 4, 8, 16), 16
    parents = [work / f"scaling-{seed}" for seed in range(2)]
    for seed, folder in enumerate(parents):
        inputs.deepseek_shard(folder, DEEPSEEK, SHARD, seed, shards)
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
        f"{SHARD / shards * size / 1e9:.2f} GB {statistics.median(seconds[size]):.2f} s" for size in sizes
    )
    for folder in (*parents, out):
        shutil.rmtree(folder, ignore_errors=True)
    note = f"slope of log(seconds) over log(bytes), two parents, in a process that has its kernels: {medians}"
    return [row("scaling_exponent", exponents, [1.0] * runs, "", note)]


def first_shards(folder, count, target):
    """A checkpoint of the first shards of another, by links."""
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


def gpu(work, runs):
    """(f) Merge a shard from two parents in the page cache into the GPU's memory, against only copying them there."""
    import torch
    from aoe.numerics.kernels import cuda

    parents = deepseek_shards(work, 2)
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
        on_gpu.run((lambda slab=slab: one(slab)) for slab in pieces)

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

    pair = [Checkpoint(folder, folder.name) for folder in parents]
    (file,) = pair[0].shard_names
    measured = {}

    def compare(device):
        measured[device] = shard_differences(*pair, file, threads, device)

    assert math.isclose(size, SHARD, rel_tol=0.01)
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
        *difference_on(compare, copy, measured, runs, f"all norms of a {size / 1e9:.1f} GB shard, {threads} threads"),
    ]


def difference_on(compare, copy, measured, runs, note):
    """The Rows of a shard's differences on the GPU, which have to be the processor's within a millionth."""
    rows = [
        side_by_side(
            "diff_gpu_vs_copy", runs, lambda: compare("cuda"), copy, f"{note}; reference: copying both parents there"
        ),
        side_by_side(
            "diff_gpu_vs_cpu", runs, lambda: compare("cuda"), lambda: compare("cpu"), f"{note}; reference: processor"
        ),
    ]
    for ours, theirs in zip(measured["cuda"], measured["cpu"], strict=True):
        for space in ("normalized", "frobenius", "codes", "relative"):
            assert math.isclose(ours[space], theirs[space], rel_tol=1e-6), (ours["tensor"], space)
    return rows


def check_same_bytes(on_gpu, on_cpu):
    """Raises AssertionError unless a merge gives the same bytes on the GPU and on the processor, scales too."""
    weights = on_gpu.base.weights
    for ours, theirs in zip(on_gpu.outputs(weights), on_cpu.outputs(weights), strict=True):
        assert ours[0] == theirs[0]
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            assert (one is None) == (other is None)
            assert one is None or bytes_of(one) == bytes_of(other), ours[0]


def bytes_of(tensor):
    import torch

    return tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes()
