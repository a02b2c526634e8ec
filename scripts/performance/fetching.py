"""How fast inputs are acquired: downloads from loopback, verification, locks of the paper's size."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aoe.acquiring.hashing import sha256
from aoe.checkpoints.inventory import write_sparse_checkpoint
from performance.measure import Row, in_a_process, row, side_by_side

ROOT = Path(__file__).parents[2]
FILE_BYTES = 2_000_000_000  # of the file that is downloaded
SHARDS = 163  # of DeepSeek-V3 on the Hub
TARGET_SECONDS = 5  # to lock and plan in


@contextmanager
def served(repos: Mapping[str, Path]) -> Iterator[str]:
    """Serve folders as repositories (name -> folder) of a Hub; yields its address, which HF_ENDPOINT names."""
    command = [
        sys.executable,
        "-m",
        "performance.hub_server",
        json.dumps({name: str(path) for name, path in repos.items()}),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT / 'tests'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as server:
        assert server.stdout
        os.environ["HF_ENDPOINT"] = server.stdout.readline().strip()
        try:
            yield os.environ["HF_ENDPOINT"]
        finally:
            del os.environ["HF_ENDPOINT"]
            server.kill()


def download(work: Path, runs: int) -> list[Row]:
    """Download a file from loopback against curl, which neither hashes nor flushes; and peak memory."""
    folder, out, peaks = work / "repository", work / "fetched", []
    folder.mkdir()
    with open(folder / "file", "wb") as file:
        for _ in range(20):
            file.write(os.urandom(FILE_BYTES // 20))
    entries = {"file": sha256(folder / "file")}
    (folder / "digests.json").write_text(json.dumps(entries), encoding="utf-8")

    def clear():
        for path in work.glob("fetched*"):
            path.unlink()
        os.sync()

    def ours():
        seconds, peak = in_a_process("fetch", "hf://owner/name", out)
        peaks.append(peak)
        return seconds

    with served({"owner/name": folder}) as url:
        curl: list[str | Path] = ["curl", "-sSL", "-o", out, f"{url}/owner/name/resolve/main/file"]
        note = (
            f"a {FILE_BYTES / 1e9:g} GB file from loopback, hashed on the way and flushed to the disk, without the "
            "start of Python; reference: curl, which does neither"
        )
        rows = [side_by_side("download_vs_curl", runs, ours, lambda: subprocess.run(curl, check=True), note, clear)]
    clear()
    note = f"reference: the {FILE_BYTES / 1e9:g} GB file"
    return [*rows, row("peak_memory_gib_download", peaks, [FILE_BYTES / 2**30] * len(peaks), "GiB", note)]


def verification(work: Path, runs: int) -> list[Row]:
    """Verify two files at once against two sha256sums at once."""
    folder = work / "two"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(os.urandom(FILE_BYTES // 4) * 2)

    def sha256sums():
        processes = [subprocess.Popen(["sha256sum", folder / name], stdout=subprocess.DEVNULL) for name in "ab"]
        for process in processes:
            process.wait()

    entries = {name: {"size": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in "ab"}
    return [
        side_by_side(
            "verify_two_files_vs_sha256sum",
            runs,
            lambda: in_a_process("verify_all", folder, json.dumps(entries))[0],
            sha256sums,
            f"two files of {FILE_BYTES / 2e9:g} GB, 2 threads; reference: two sha256sum at once",
        )
    ]


def lock_and_plan(work: Path, runs: int) -> list[Row]:
    """Lock three models of DeepSeek-V3's size, fetch their outlines, and plan R1T, all on these cores."""
    config = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))
    folder = work / "paper"
    write_sparse_checkpoint(config, folder, SHARDS)
    digests = {file.name: "0" * 64 for file in folder.glob("*.safetensors")}
    (folder / "digests.json").write_text(json.dumps(digests), encoding="utf-8")
    steps = {"lock": [], "outline": [], "plan": []}
    with served({f"paper/{model}": folder for model in ("v3-0324", "r1", "r1-0528")}):
        for run in range(-1, runs):
            seconds = in_a_process("lock_and_plan", work / f"outlines{run}")[0]
            for step, column in steps.items():
                column += [seconds[step]] if run >= 0 else []
    note = f"three models of {SHARDS} shards and 91,991 tensors, from loopback; reference: {TARGET_SECONDS} s"
    total = [sum(column[run] for column in steps.values()) for run in range(runs)]
    parts = [row(f"lock_and_plan_{step}", column, total, "s", "its part") for step, column in steps.items()]
    return [row("lock_and_plan", total, [float(TARGET_SECONDS)] * runs, "s", note), *parts]
