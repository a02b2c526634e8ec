"""What a mergekit configuration says of a tensor.

A parameter is a value, a list of numbers that are spread over the layers of a slice, or a list of such values with
filters on tensor names, of which the first that matches counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aoe import AoeError
from aoe.files.configuration import read_yaml
from aoe.files.schema import check_schema
from aoe.studies.mergekit.models import Outline

Settings = Mapping[str, Any]

PARAMETERS = {"type": ["object", "null"]}
MODEL = {"type": "string", "minLength": 1}
TEXT = {"type": ["string", "null"]}
INPUT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model"],
    "properties": {"model": MODEL, "parameters": PARAMETERS},
}
LAYERS = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer", "minimum": 0}}
SOURCE = INPUT | {
    "required": ["model", "layer_range"],
    "properties": {"model": MODEL, "layer_range": LAYERS, "parameters": PARAMETERS},
}
SLICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sources"],
    "properties": {
        "sources": {"type": "array", "minItems": 1, "items": SOURCE},
        "base_model": MODEL,
        "parameters": PARAMETERS,
    },
}
SCHEMA = {  # of what is converted
    "type": "object",
    "additionalProperties": False,
    "required": ["merge_method"],
    "properties": {
        "merge_method": {"type": "string"},
        "models": {"type": "array", "minItems": 1, "items": INPUT},
        "slices": {"type": "array", "minItems": 1, "items": SLICE},
        "parameters": PARAMETERS,
        "base_model": MODEL,
        "dtype": TEXT,
        "out_dtype": TEXT,
        "tokenizer_source": TEXT,
        "tokenizer": {"type": ["object", "null"]},
        "chat_template": TEXT,
    },
}
ANY = (None, "*")  # filters that match every tensor


class Slice(NamedTuple):
    """Layers ``first`` up to ``last`` of the result, of ``inputs``: [(model, its parameters)]; last: None for all."""

    first: int
    last: int | None
    inputs: list[tuple[str, Settings]]
    base: str | None
    parameters: Settings


@dataclass(frozen=True)
class Tensor:
    """What a configuration says of one tensor; position: of its layer in its slice, from 0 to 1."""

    name: str
    slice: Slice
    common: Settings
    position: float = 0

    @property
    def models(self) -> list[str]:
        """The models that are merged; mergekit adds a base that is not among them."""
        return list(dict.fromkeys([*(model for model, _ in self.slice.inputs), *filter(None, [self.slice.base])]))

    @property
    def base(self) -> str:
        """The base of methods that have one.  Raises AoeError if there is none."""
        if not self.slice.base:
            raise AoeError("The configuration has no `base_model`, which its method needs.")
        return self.slice.base

    def value(self, parameter: str, model: str | None = None, default: Any = None) -> Any:
        """Return a parameter: the model's own, else the slice's, else the configuration's, else the default."""
        own = [settings for of, settings in self.slice.inputs if of == model]
        for settings in (*own, self.slice.parameters, self.common):
            found = _at(settings.get(parameter), self.name, self.position)
            if found is not None:
                return found
        return default

    def number(self, parameter: str, model: str | None = None, default: float | None = None) -> float:
        """Return a parameter that is a number.  Raises AoeError if it is missing, or none."""
        found = self.value(parameter, model, default)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            of = f" of {model}" if model else ""
            where = f" for the tensor {self.name}" if self.name else ""
            said = "is missing" if found is None else f"is {found!r}, which is no number"
            raise AoeError(f"The parameter `{parameter}`{of} {said}{where}.") from error


def _at(value, name, position):
    """A parameter for a tensor, or None if no filter matches its name."""
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list) or not value:
        return None if value == [] else value
    if any(isinstance(item, Mapping) for item in value):
        matching = (item for item in value if item.get("filter") in ANY or str(item["filter"]) in name)
        return next((_at(item.get("value"), name, position) for item in matching), None)
    numbers, place = [float(number) for number in value], position * (len(value) - 1)
    below = int(place)
    share = place - below
    return (1 - share) * numbers[below] + share * numbers[min(below + 1, len(numbers) - 1)]


def read_configuration(path: Path | str) -> dict[str, Any]:
    """Return the configuration in a file.  Raises AoeError if it is none, or has what is not known here."""
    try:
        config = read_yaml(path)
    except OSError as error:
        raise AoeError(f"{path} cannot be read ({error.strerror or error}).") from error
    check_schema(config, SCHEMA, path)
    return config


def slices_of(config: Settings) -> list[Slice]:
    """Return the Slices of a configuration; ``models`` are one.  Raises AoeError if layers do not keep their places."""
    base, models, slices = config.get("base_model"), config.get("models"), config.get("slices")
    if bool(models) == bool(slices):
        raise AoeError("The configuration needs either `models` or `slices`.")
    if models:
        return [Slice(0, None, _inputs(models), base, {})]
    found: list[Slice] = []
    for item in slices or []:
        first = found[-1].last or 0 if found else 0
        ranges = sorted({tuple(source["layer_range"]) for source in item["sources"]})
        if len(ranges) != 1 or ranges[0][0] != first:
            layers = " and ".join(f"{begin} to {end - 1}" for begin, end in ranges)
            raise AoeError(
                f"The slice that gives the result's layers from {first} on has the layers {layers}; here every layer "
                "keeps its place, and no model of layers that are stacked anew can be made."
            )
        inputs, own = _inputs(item["sources"]), item.get("parameters") or {}
        found.append(Slice(first, ranges[0][1], inputs, item.get("base_model", base), own))
    return found


def _inputs(items):
    return [(item["model"], item.get("parameters") or {}) for item in items]


def models_of(config: Settings, slices: Iterable[Slice]) -> list[str]:
    """Return the models of a configuration, the one first whose names and format the result has."""
    named = (model for part in slices for model, _ in part.inputs)
    return list(dict.fromkeys([*filter(None, [config.get("base_model")]), *named]))


def parameters_of(config: Settings, slices: Iterable[Slice]) -> Iterator[Any]:
    """Yield the values of all parameters, as they are written."""
    yield from (config.get("parameters") or {}).values()
    for part in slices:
        yield from part.parameters.values()
        for _, settings in part.inputs:
            yield from settings.values()


def filters_of(parameters: Iterable[Any]) -> list[list[str]]:
    """Return the lists of filters that parameters have, each in its order; what matches every tensor is left out."""
    found = []
    for value in parameters:
        items = [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []
        filters = [item.get("filter") for item in items if isinstance(item, Mapping)]
        found.append(tuple(str(text) for text in filters if text not in ANY))
    return [[*filters] for filters in dict.fromkeys(found) if filters]


def tensors_of(config: Settings, slices: Sequence[Slice], outline: Outline) -> Iterator[tuple[Tensor, int | None]]:
    """Yield (Tensor, its layer or None) of all tensors of the base.

    What comes after the layers has the last slice, what comes before them the first one; the layers of multi-token
    prediction, which mergekit does not know, have the last layer's parameters.  Raises AoeError for another number of
    layers than the base has.
    """
    if slices[-1].last not in (None, outline.layers):
        raise AoeError(
            f"The slices give {slices[-1].last} layers, and the base has {outline.layers}; none can be left out."
        )
    common = config.get("parameters") or {}
    for name, layer in outline.tensors:
        if layer is None:
            yield Tensor(name, slices[0 if "embed" in name else -1], common), None
            continue
        place = min(layer, outline.layers - 1)
        part = next(part for part in slices if part.last is None or place < part.last)
        steps = (outline.layers if part.last is None else part.last) - 1 - part.first
        yield Tensor(name, part, common, (place - part.first) / steps if steps else 1), layer
