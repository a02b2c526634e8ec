"""Shards of DeepSeek-V3's size with random routed experts, which several measurements share."""

import json
from pathlib import Path

from performance import inputs

ROOT = Path(__file__).parents[3]
DEEPSEEK = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))
SHARD_BYTES = 4_300_000_000  # as DeepSeek-V3's


def deepseek_shards(work: Path, count: int) -> list[Path]:
    """Return the folders of ``count`` parents of one shard each, written where they are not there yet."""
    folders = [work / f"deepseek-{seed}" for seed in range(count)]
    for seed, folder in enumerate(folders):
        if not folder.exists():
            inputs.deepseek_shard(folder, DEEPSEEK, SHARD_BYTES, seed)
    return folders


def shard_size() -> str:
    """Return the size of a shard in words: "4.3 GB"."""
    return f"{SHARD_BYTES / 1e9:.1f} GB"


def shard_gib(runs: int) -> list[float]:
    """Return the size of a shard once a run: the reference of peak memory."""
    return [SHARD_BYTES / 2**30] * runs
