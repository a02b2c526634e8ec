"""Tables of configuration keys, from the schemas that check them.

A row has the key, its type and unit, its default, and its meaning.  The schema says them: ``description`` is the
meaning, ``default`` the default.  Annotations, which no check looks at, say what words of JSON schema cannot:
``x-type`` and ``x-default`` replace cells, ``x-unit`` follows the type, and ``x-meaning`` replaces a description that
ends the sentence of an error.  Keys of what a ``$ref`` names have rows only where ``x-keys`` stands beside it.
Neighbours whose cells are the same share a row.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from aoe import AoeError
from launcher.schemas import read_schema

HEAD = ["key", "type, unit", "default", "meaning"]
TYPES = {"string": "text", "boolean": "true/false", "integer": "integer", "number": "number"}


def keys(name: str, part: str = "") -> list[list[str]]:
    """Return the rows of the keys of a schema, or of a part of it, which is one of its properties.

    name: of the schema.  Raises AoeError for a part that there is not, or a key without a type or meaning.
    """
    schema = read_schema(name)
    node = schema["properties"].get(part) if part else schema
    if node is None:
        raise AoeError(f"The schema {name} has no part {part!r} whose keys a table could show.")
    found = list(_keys(node, schema, part))
    for key, cells in found:
        if not all(cells):
            raise AoeError(f"The key {key} of {part or 'the top level'} in the schema {name} lacks a type or meaning.")
    return [[", ".join(key for key, _ in row), *cells] for cells, row in groupby(found, key=lambda entry: entry[1])]


def _keys(node: dict[str, Any], schema: dict[str, Any], part: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (key, its cells) of the entries of a part: of its properties, or of those that all its entries have."""
    entry = node.get("additionalProperties")
    if not isinstance(entry, dict):
        yield from _properties(node, schema, "", ".")
        return
    name = "{" + part.removesuffix("s") + "}"
    yield f"`{name}`", _cells(node["propertyNames"], schema, required=False)
    yield from _properties(entry, schema, f"{name}.", "….")


def _properties(
    node: dict[str, Any], schema: dict[str, Any], prefix: str, inner: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield (key, its cells) of an object's properties, and of theirs.

    prefix: before the key; inner: before the key of an object whose own properties follow.
    """
    for key, value in node.get("properties", {}).items():
        stated = _resolved(value, schema)
        yield f"`{prefix}{key}`", _cells(stated, schema, required=key in node.get("required", []))
        if "$ref" in value and not value.get("x-keys"):
            continue  # described where it is defined
        within, below = stated.get("items", stated), f"{inner.removeprefix('.')}{key}."
        if isinstance(within.get("additionalProperties"), dict):
            within, below = within["additionalProperties"], f"{below}{{{key.removesuffix('s')}}}."
        yield from _properties(within, schema, below, inner)


def _cells(value: dict[str, Any], schema: dict[str, Any], required: bool) -> list[str]:
    value = _resolved(value, schema)
    default = value.get("x-default") or (json.dumps(value["default"]) if "default" in value else "")
    if required:
        default = f"required; {default}" if default else "required"
    return [_type(value), default or "none", value.get("x-meaning") or value.get("description", "")]


def _type(value: dict[str, Any]) -> str:
    if "x-type" in value:
        return value["x-type"]
    listed = ", ".join(f"`{name}`" for name in value.get("enum", []))
    kind = listed or TYPES.get(value.get("type", ""), "")
    return f"{kind}, {value['x-unit']}" if kind and "x-unit" in value else kind


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with what it refers to; what stands beside the reference holds."""
    if "$ref" not in value:
        return value
    target: Any = schema
    for step in value["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return _resolved(target, schema) | {key: said for key, said in value.items() if key != "$ref"}
