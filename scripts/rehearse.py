"""Rehearse a study at DeepSeek-V3's full size on a laptop: everything but the arithmetic, on files without data.

Usage: python scripts/rehearse.py CONFIG   (a DeepSeek-V3 model's config.json; see `make rehearsal`)
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.expected import NOT_HASHED
from aoe.acquiring.lock import Locked, format_lock, holdings
from aoe.acquiring.verification import check_structure, verify_size
from aoe.audit.attribution import Audit
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.inventory import count_parameters, write_sparse_checkpoint
from aoe.merging.plan import Plan, make_plan
from aoe.numerics.slabs import slabs
from aoe.studies.study import Study, read_study
from launcher.cost import planned_jobs
from launcher.schemas import read_schema

STUDY = "rehearsal"
SHARDS = 163  # of DeepSeek-V3 on the Hub
END_THINK = {"added_tokens": [{"id": 128799, "content": "</think>"}]}  # of R1's tokenizer


@contextmanager
def timed(step: str) -> Iterator[list[str]]:
    """Print a step's result, which the block appends to the list it is given, with its time."""
    start, lines = time.perf_counter(), []
    yield lines
    print(f"{time.perf_counter() - start:6.1f} s  {step}: {lines[0]}", *lines[1:], sep="\n            ", flush=True)


def write_parents(study: Study, config: Mapping[str, Any]) -> list[Locked]:
    """Write sparse checkpoints of the study's models, and their lock: true sizes, but nobody hashed 2 TB of zeros."""
    locked = []
    for model, entry in study.models.items():
        folder = Path(entry["path"])
        write_sparse_checkpoint(config, folder, SHARDS)
        (folder / "tokenizer.json").write_text(json.dumps(END_THINK), encoding="utf-8")
        files: dict[str, dict[str, Any]] = {
            f.name: {"size": f.stat().st_size, "sha256": NOT_HASHED} for f in sorted(folder.iterdir()) if f.is_file()
        }
        for file, holds in holdings(Checkpoint(folder, model)).items():
            files[file]["holds"] = holds
        locked.append(Locked(model, "models", files))
    Path(study.content["lock"]).write_text(format_lock(locked), encoding="utf-8")
    return locked


def rehearse(config: Mapping[str, Any]) -> None:
    """Take every step of the study that needs no arithmetic, and print its result and its time."""
    study = read_study(STUDY, "config/studies", read_schema("study"))
    with timed("parameters") as result:
        count = count_parameters(config)
        result.append(f"{count.total:,}, {count.active:,} of them active, and {count.mtp:,} of MTP layers")
    with timed("parents") as result:
        locked = write_parents(study, config)
        sizes = [facts["size"] for entry in locked for facts in entry.files.values()]
        on_disk = sum(path.stat().st_blocks * 512 for path in Path(f"results/{STUDY}/parents").rglob("*.*"))
        result.append(f"{len(sizes)} files of {sum(sizes) / 1e9:,.0f} GB, {on_disk / 1e6:,.0f} MB of them on the disk")
    parents = {model: Checkpoint(entry["path"], model) for model, entry in study.models.items()}
    with timed("verification of sizes, headers and indices") as result:
        for entry in locked:
            for file, facts in entry.files.items():
                verify_size(parents[entry.name].directory / file, facts)
            check_structure(parents[entry.name])
        result.append(", ".join(f"{len(parent.files):,} tensors of {name}" for name, parent in parents.items()))
    for variant in (name for name in study.variants if study.is_exported(name)):
        with timed(f"plan of {variant}") as result:
            plan = make_plan(study.variants[variant], parents)
            path = Path(f"results/{STUDY}/parents/{variant}.plan.json")
            plan.save(path)
            assert Plan.load(path) == plan
            result += plan.describe()
    with timed("differences") as result:
        for base, other in study.compared():
            weights = parents[base].weights
            pieces = sum(len(slabs(parents[base].stored(weight))) for weight in weights)
            result.append(f"{len(weights):,} weights of {base} and {other} in {pieces:,} slabs")
    for name, section in study.audits.items():
        with timed(f"audit of {name}") as result:
            # a published variant has the names and format of its base
            of_audit = {parent: parents[parent] for parent in section["parents"]}
            audit = Audit(
                parents[study.variants[section["model"]].base], of_audit, make_plan(study.variants[name], parents)
            )
            weights = [w for file in audit.base.shard_names for w in audit.published.weights_in(file)]
            pieces = sum(len(audit.ranges(weight)) for weight in weights)
            size = (1 + len(of_audit)) * sum(facts["size"] for facts in locked[0].files.values())
            result.append(f"{len(weights):,} weights in {pieces:,} slabs, {size / 1e9:,.0f} GB to read")
    with timed("dry run") as result:
        jobs = planned_jobs({"study": STUDY})
        result.append(", ".join(f"{number} {rule}" for rule, number in jobs.items()) + f": {sum(jobs.values())} jobs")


if __name__ == "__main__":
    try:
        rehearse(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (AoeError, OSError, ValueError) as error:
        sys.exit(f"ERROR: {error}")
