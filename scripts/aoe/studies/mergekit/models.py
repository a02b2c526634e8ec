"""The models of a mergekit configuration: where they are, their short names, and what tensors a base has."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aoe import AoeError
from aoe.acquiring.sources import Source, open_source
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import INDEX, SINGLE
from aoe.checkpoints.formats import weight_of

LARGEST_JSON = 1 << 28  # bytes of a config, an index or a header


class Outline(NamedTuple):
    """The number of a base's layers, and (name, layer or None) of its weights."""

    layers: int
    tensors: list[tuple[str, int | None]]


def source_of(model: str) -> str:
    """Return where a model is from, as a study writes it.

    Raises AoeError for one with an adapter, or that is neither a folder nor a repository's name.
    """
    if not isinstance(model, str) or "+" in model:
        raise AoeError(f"The model {model!r} is no plain name; adapters (LoRA) have to be merged into theirs before.")
    address, _, revision = model.partition("@")
    if os.path.isdir(os.path.expanduser(address)):
        return f"file:{address}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", address):
        raise AoeError(f"The model {model} is neither a folder here nor owner/name of a repository on the Hub.")
    return f"hf://{model}" if revision else f"hf://{address}"


def entry_of(model: str) -> dict[str, str]:
    """Return a model as a study has it."""
    source, label = source_of(model), Path(model.partition("@")[0]).name
    place = {"path": source.removeprefix("file:")} if source.startswith("file:") else {"source": source}
    return {"label": label, **place}


def short_names(models: Sequence[str], taken: str) -> dict[str, str]:
    """Return {model: a short name}; all names differ, also from one that is taken."""
    names: dict[str, str] = {}
    for model in models:
        last = Path(model.partition("@")[0]).name.lower()
        name = plain = re.sub(r"[^a-z0-9._-]+", "-", last).lstrip("._-") or "model"
        number = 1
        while name in (taken, *names.values()):
            number += 1
            name = f"{plain}-{number}"
        names[model] = name
    return names


def read_outline(model: str) -> Outline:
    """Return the Outline of a model: of its config, and its index or header.  Raises AoeError if one cannot be read."""
    source = open_source(source_of(model), "The base")
    architecture = Architecture(_json(source, "config.json"))
    weights = [tensor for tensor in _tensors(source) if weight_of(tensor) == tensor]
    return Outline(int(architecture.layers or 0), [(tensor, architecture.place(tensor).layer) for tensor in weights])


def _tensors(source: Source) -> Iterator[str]:
    if INDEX in source.names([INDEX, SINGLE]):
        yield from _json(source, INDEX)["weight_map"]
        return
    length = int.from_bytes(source.read(SINGLE, 0, 8), "little")
    yield from (name for name in _json(source, SINGLE, 8, 8 + length) if name != "__metadata__")


def _json(source: Source, file: str, begin: int = 0, end: int = LARGEST_JSON) -> Any:
    try:
        return json.loads(source.read(file, begin, min(end, LARGEST_JSON)))
    except ValueError as error:
        raise AoeError(f"{file} of {source} has no JSON where it should ({error}).") from error
