"""Measure and write docs/benchmarks.json and, from it, docs/benchmarks.md: python -m performance --mergekit PATH."""

import argparse
import tempfile
from pathlib import Path

from performance import client, fetching, planning, writing
from performance.gpu import starting
from performance.measure import Row, save
from performance.weights import arithmetic, auditing, comparing, formats, merging, scaling

TARGETS = {
    "merge_bf16_vs_mergekit": 1 / 5,
    "merge_bf16_vs_limit": 2,
    "peak_memory_gib": None,
    "merge_fp8_2_parents_vs_limit": 2,
    "merge_fp8_3_parents_vs_limit": 2,
    "merge_stochastic_vs_nearest": 1 / 0.7,
    "merge_fp8_vs_torch": 1 / 10,
    "diff_fp8_vs_limit": 1 / 0.8,
    "audit_copies_vs_limit": 1 / 0.7,
    "audit_copies_from_disk_vs_limit": 1 / 0.7,
    "audit_mixture_vs_limit": 1 / 0.7,
    "audit_mixture_from_disk_vs_limit": 1 / 0.7,
    "verify_vs_sha256sum": 1 / 0.9,
    "verify_two_files_vs_sha256sum": 1 / 0.9,
    "download_vs_curl": 1.5,
    "lock_and_plan": 1,
    "dry_run_paper": 1,
    "peak_memory_gib_dry_run_paper": 1,
    "asking_overhead": 1,
    "asking_vs_vllm_bench": 1 / 0.95,
    "scaling_exponent": 1.05,
    "merge_gpu_vs_copy": 1.3,
    "from_scores_to_paper": 1,
} | formats.TARGETS


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--work", type=Path, default=Path("results/bench"), help="a folder with 50 GB to spare")
    words.add_argument("--docs", type=Path, default=Path("docs"))
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--mergekit", help="the mergekit-yaml to compare with")
    names = [
        "bf16",
        "fp8",
        "methods",
        "formats",
        "torch",
        "diff",
        "audit",
        "scaling",
        "gpu",
        "fetch",
        "plan",
        "ask",
        "write",
        "start",
    ]
    words.add_argument("--format-bytes", type=int, default=formats.BYTES, help="of a shard of each storage format")
    words.add_argument("--only", nargs="*", choices=names)
    choice = words.parse_args()
    choice.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=choice.work) as folder:
        measure(choice, Path(folder))


def measure(choice: argparse.Namespace, work: Path) -> None:
    """Run the chosen cases in an empty folder ``work`` and write the two files after each."""
    has_gpu = Path("/dev/nvidiactl").exists()
    steps = {
        "bf16": lambda: merging.merge_bf16(work, choice.runs, choice.mergekit) if choice.mergekit else [],
        "torch": lambda: arithmetic.merge_arithmetic(choice.runs),
        "scaling": lambda: scaling.scaling(work, choice.runs),
        "fp8": lambda: merging.merge_fp8(work, choice.runs),
        "methods": lambda: merging.merge_by_methods(work, choice.runs),
        "formats": lambda: formats.merge_formats(work, choice.runs, choice.format_bytes),
        "diff": lambda: comparing.diff_and_verify(work, choice.runs),
        "audit": lambda: auditing.audit(work, choice.runs),
        "fetch": lambda: [
            *fetching.lock_and_plan(work, choice.runs),
            *fetching.verification(work, choice.runs),
            *fetching.download(work, choice.runs),
        ],
        "plan": lambda: planning.dry_run(choice.runs),
        "ask": lambda: [*client.overhead(work, choice.runs), *client.throughput(work, choice.runs)],
        "write": lambda: writing.from_scores(choice.runs),
        "start": lambda: starting.starts(work, choice.runs, choice.docs / "gpu/starts.csv") if has_gpu else [],
        "gpu": lambda: merge_on_gpu(work, choice.runs) if has_gpu else [],
    }
    (choice.docs / "gpu").mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        if choice.only and name not in choice.only:
            continue
        rows = step()
        for entry in rows:
            print(
                f"{entry.name}: {entry.ours:.3g} / {entry.reference:.3g} {entry.unit} = {entry.ratio:.3g}", flush=True
            )
        table = save(rows, choice.docs / "benchmarks.json")
        (choice.docs / "benchmarks.md").write_text(as_markdown(table), encoding="utf-8")


def merge_on_gpu(work: Path, runs: int) -> list[Row]:
    """Merge and compare on the GPU, whose kernels can only be imported where there is one."""
    from performance.gpu.merging import merge_and_compare

    return merge_and_compare(work, runs)


def as_markdown(table: list[dict]) -> str:
    """Return the page about the figures, made from benchmarks.json's list."""
    machines = list(dict.fromkeys(entry["machine"] for entry in table))
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` from `benchmarks.json`: medians of runs side by side, and how far the runs lie apart.",
        "A ratio is ours divided by the reference; where there is a target, it is at most that.",
        "",
        "| | ours | reference | ratio | target | runs | spread | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in table:
        target = TARGETS.get(entry["name"])
        values = [f"{entry[key]:.3g} {entry['unit']}".strip() for key in ("ours", "reference")]
        cells = [
            f"`{entry['name']}`",
            *values,
            f"{entry['ratio']:.3g}",
            f"{target:.3g}" if target else "",
            entry["runs"],
        ]
        cells += [entry["spread"], f"[{machines.index(entry['machine']) + 1}]"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "What was measured:", ""]
    lines += [f"* `{entry['name']}`: {entry['note']}" for entry in table if entry["note"]]
    lines += ["", "Machines:", ""]
    lines += [f"{number}. {machine}" for number, machine in enumerate(machines, start=1)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
