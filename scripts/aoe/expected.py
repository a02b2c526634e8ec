"""What a lock will hold, as far as it is known before anybody asked the Hub: enough to plan with, and to count."""

import json
from functools import cache
from pathlib import Path

from aoe import AoeError
from aoe.inventory import expected_files
from aoe.lock import Locked, check_name, check_needed
from aoe.sources import open_source

NOT_HASHED = "0" * 64  # no file has this digest: what is expected cannot be taken for what was locked
BESIDE = {"config.json": 2_000, "model.safetensors.index.json": 9_000_000, "tokenizer.json": 8_000_000}  # bytes, about


def expected_lock(study):
    """{name: Locked} of all models and datasets of a Study, from what it expects of them; their digests are not known.

    Raises AoeError if the study does not say what to expect, or a config cannot be read.
    """
    return {name: _expected(study, name, entry) for name, entry in study.inputs.items()}


def _expected(study, name, entry):
    if not entry.keys() >= {"expected", "source"}:
        raise AoeError(
            f"The study has no lock file {study.content['lock']}, and does not say what to expect of {name}; "
            f"`snakemake --cores 1 --config study={study.name} -- lock` writes one."
        )
    kind = study.kind(name)
    if kind == "datasets":
        files = {file: {"size": size} for file, size in entry["expected"].items()}
    else:
        files = _of_model(entry["expected"]["config"], entry["expected"]["shards"])
    source = open_source(entry["source"], f"{kind}.{name}")
    for file in files:
        check_name(file, f"The study expects of {name} a file, and")
    hashed = {file: {**facts, "sha256": NOT_HASHED} for file, facts in files.items()}
    locked = Locked(name, kind, hashed, source.repo, source.asked, source.asked)
    check_needed(locked, "The study")
    return locked


@cache
def _of_model(config, shards):
    try:
        content = json.loads(Path(config).read_text())
    except (OSError, ValueError) as error:
        raise AoeError(f"{config}, from which a model's files are expected, cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise AoeError(f"{config}, from which a model's files are expected, is no config of a model.")
    return {file: {"size": size} for file, size in BESIDE.items()} | expected_files(content, shards)
