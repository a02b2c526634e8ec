"""Serve one plan with one, two and more GPUs: bytes read by each worker, seconds until ready, answers that agree.

Usage: python -m performance.gpu.ranks FOLDER [--layers 3] [--study paper] [--shapes "1 GPU" "TP 2"] [--table CSV]

FOLDER holds two random models of DeepSeek-V3's own dimensions with few layers, made if they are not there, and what is
found of each shape.  Kernels and variables are those of the study.  --table: of all that is in the folder.
"""

import argparse
import json
import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.nodes.machine import hardware, in_words, software
from aoe.serving.server import Server
from aoe.studies.study import read_content
from performance.gpu.random_models import write_random_checkpoint

PARENTS = ("one", "two")
CONFIG = Path("resources/deepseek-v3/config.json")
TOKENIZER = Path("resources/mini/r1")
ANSWER_TOKENS = 32
FITTED = {"max-model-len": 1024, "max-num-seqs": 16, "gpu-memory-utilization": 0.8, "enforce-eager": True}
PROMPTS = [[1, *range(5 + place, 45 + place)] for place in range(16)]  # token ids; the weights are random anyway
SHAPES = {
    "1 GPU": {},
    "TP 2": {"tensor-parallel-size": 2},
    "TP 2 × EP 2": {"tensor-parallel-size": 2, "enable-expert-parallel": True},
    "PP 2": {"pipeline-parallel-size": 2},
    "TP 4 × EP 4": {"tensor-parallel-size": 4, "enable-expert-parallel": True},
    "TP 2 × PP 2 × EP 2": {
        "tensor-parallel-size": 2,
        "pipeline-parallel-size": 2,
        "enable-expert-parallel": True,
    },
}
OURS_TO_SET = ("tensor-parallel-size", "pipeline-parallel-size", "enable-expert-parallel")


def config_of(layers: int) -> dict[str, Any]:
    """Return DeepSeek-V3's config.json with so many layers, one of them dense."""
    fewer = {"num_hidden_layers": layers, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0}
    return json.loads(CONFIG.read_text(encoding="utf-8")) | fewer


def plan_of(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write the plan of half of each parent; return its path and {name: folder}."""
    checkpoints = {name: Checkpoint(folder / name, name) for name in PARENTS}
    recipe = {"base": PARENTS[0], "weights": dict.fromkeys(PARENTS, 0.5)}
    make_plan(read_recipe("half", recipe, checkpoints), checkpoints).save(folder / "plan.json")
    return folder / "plan.json", {name: folder / name for name in PARENTS}


def greedy(server: Server, ids: Sequence[int]) -> list[int]:
    """Return the token ids of the server's greedy continuation of a prompt of token ids."""
    settings = {"model": server.name, "prompt": ids, "temperature": 0, "max_tokens": ANSWER_TOKENS, "ignore_eos": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    body = json.dumps(settings | {"return_token_ids": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/completions", body, headers)) as response:
        return json.load(response)["choices"][0]["token_ids"]


def served(
    shape: str, plan: Path, folders: Mapping[str, Path], serving: Mapping[str, Any], log: Path
) -> dict[str, Any]:
    """Serve the plan with a shape; return its workers' records, seconds, backends and greedy answers."""
    kept = {key: value for key, value in serving["options"].items() if key not in OURS_TO_SET}
    options = kept | FITTED | SHAPES[shape]
    began = time.perf_counter()
    with Server("half", folders, plan, log, options, serving.get("environment", {}), check=True) as server:
        ready = time.perf_counter() - began
        answers = [greedy(server, prompt) for prompt in PROMPTS]
        again = [greedy(server, prompt) for prompt in PROMPTS]
        found = {"shape": shape, "ready": ready, "workers": server.loaded(), "backends": server.backends()}
        return found | {"answers": answers, "again": again, "machine": in_words(hardware()), "software": software()}


def table_of(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of one row a server; answers are compared with those of the first."""
    rows = []
    for one in found:
        workers = one["workers"]
        read = [sum(worker["read"].values()) for worker in workers]
        row = {"shape": one["shape"], "workers": len(workers), "parents_gb": sum(workers[0]["of"].values()) / 1e9}
        row |= {"read_gb": max(read) / 1e9, "read": max(read) / sum(workers[0]["of"].values())}
        row |= {"loading_seconds": max(worker["seconds"] for worker in workers), "ready_seconds": one["ready"]}
        row |= {"checked": sum(worker["checked"] for worker in workers)}
        row |= {"answers": len(one["answers"]), "equal": equal(one["answers"], found[0]["answers"])}
        row |= {"equal_when_asked_again": equal(one["answers"], one["again"]), "machine": one["machine"]}
        rows.append(row | {kind: workers[0][kind][:12] for kind in ("handed", "shared")})
    return pd.DataFrame(rows).round(3)


def equal(answers: Sequence, others: Sequence) -> int:
    """Count the answers that are the same."""
    return sum(ours == theirs for ours, theirs in zip(answers, others, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--study", default="paper")
    parser.add_argument("--shapes", nargs="*", default=[], choices=list(SHAPES))
    parser.add_argument("--table", type=Path)
    words = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for seed, name in enumerate(PARENTS):
        if not (words.folder / name).exists():
            write_random_checkpoint(config_of(words.layers), words.folder / name, seed, TOKENIZER, device)
    serving = read_content(words.study, Path(f"config/studies/{words.study}.yaml"))["serving"]
    for shape in words.shapes:
        path = words.folder / f"{re.sub('[^A-Z0-9]+', '-', shape)}.json"
        found = served(shape, *plan_of(words.folder), serving, path.with_suffix(".log"))
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if words.table:
        found = {one["shape"]: one for one in map(json.loads, map(Path.read_text, words.folder.glob("*-*.json")))}
        table = table_of([found[shape] for shape in SHAPES if shape in found])
        write_table(table, words.table)
        print(table.to_string())


if __name__ == "__main__":
    main()
