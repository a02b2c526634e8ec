"""What a lock will hold, as far as it is known before anybody asked the Hub: enough to plan with, and to count."""

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.lock import Locked, LockError, check_name, check_needed
from aoe.acquiring.sources import open_source, sources_in
from aoe.checkpoints.inventory import expected_files, inventory

NOT_HASHED = "0" * 64  # no file has this digest: what is expected cannot be taken for what was locked
SCALES = "F32"  # the storage format of FP8 weights' scales, if nothing is said
BESIDE = {"config.json": 2_000, "model.safetensors.index.json": 9_000_000, "tokenizer.json": 8_000_000}  # bytes, about


def expected_lock(study: Any) -> dict[str, Locked]:
    """Return {name: Locked} of all models and datasets as a Study expects them; their digests are not known.

    Raises LockError if the study does not say what to expect, AoeError if a config cannot be read.
    """
    return {name: _expected(study, name, entry) for name, entry in study.inputs.items()}


def _expected(study, name, entry):
    parts = sources_in(entry)
    if "expected" not in entry or not parts:
        raise LockError(
            f"The study has no lock file {study.content['lock']}, and does not say what to expect of {name}."
        )
    kind, origins = study.kind(name), {}
    sources = [open_source(part["source"], f"{kind}.{name}") for part in parts]
    if kind == "datasets":
        files = {file: {"size": size} for file, size in entry["expected"].items()}
    else:
        expected = entry["expected"]
        files = _of_model(expected["config"], expected["shards"], expected.get("scales", SCALES))
    for file in files:
        check_name(file, f"The study expects of {name} a file, and")
    if kind == "datasets":
        origins = {file: _origin(file, parts, sources, f"{kind}.{name}") for file in files}
    hashed = {file: {**facts, "sha256": NOT_HASHED} for file, facts in files.items()}
    if len(sources) == 1 and sources[0].repo:
        locked = Locked(name, kind, hashed, sources[0].repo, sources[0].asked, sources[0].asked)
    else:
        locked = Locked(name, kind, {file: {**facts, "from": origins[file]} for file, facts in hashed.items()})
    check_needed(locked, "The study")
    return locked


def _origin(file, parts, sources, where):
    """Where an expected file will come from.  Raises AoeError if the patterns of no source match it."""
    for part, source in zip(parts, sources, strict=True):
        if any(fnmatch(file, pattern) for pattern in part.get("files", ["*"])):
            return source.origin(file)
    raise AoeError(f"{where}: the study expects the file {file}, which none of its patterns (`files`) matches.")


def check_expected(locked: Locked, expected: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> None:
    """Raise AoeError if what was locked is not what the study expects of it.

    locked: a Locked; expected: what the study says: {file: bytes} of a dataset, of which the names count, or {"config",
    "shards"} of a model; config: the model's config.json as a dict, whose tensors have to be those of the expected one.
    """
    where = f"{locked.kind}.{locked.name}"
    if locked.kind == "datasets":
        missing = [file for file in expected if file not in locked.files]
        if missing:
            raise AoeError(
                f"{where}: the study expects the file {missing[0]}, which is not among those that its sources have and "
                f"its patterns match ({', '.join(sorted(locked.files)[:9])}); correct `expected` or the sources."
            )
        return
    if len(locked.shards) != expected["shards"]:
        raise AoeError(
            f"{where}: the study expects {expected['shards']} shards, {locked.revision} has {len(locked.shards)}; "
            "correct `expected` if it is the right model."
        )
    known = inventory(_read_config(expected["config"]))
    try:
        found = inventory(config or {})
    except AoeError as error:
        raise AoeError(f"{where}: {error}") from error
    for tensor in [*known, *found]:
        if known.get(tensor) != found.get(tensor):
            raise AoeError(
                f"{where}: its config.json is of another shape than {expected['config']}, which the study expects: "
                f"{tensor} is {_in_words(found.get(tensor))} instead of {_in_words(known.get(tensor))}; correct "
                "`expected` if it is the right model."
            )


def _in_words(tensor):
    return "missing" if tensor is None else f"{tensor[0]} {list(tensor[1])}"


@cache
def _of_model(config, shards, scales):
    return {file: {"size": size} for file, size in BESIDE.items()} | expected_files(
        _read_config(config), shards, scales
    )


def _read_config(path):
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AoeError(f"{path}, from which a model's files are expected, cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise AoeError(f"{path}, from which a model's files are expected, is no config of a model.")
    return content
