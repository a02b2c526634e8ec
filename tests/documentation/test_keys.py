"""Rows of configuration keys, out of a schema."""

import pytest
from aoe import AoeError
from documentation import keys

SCHEMA = {
    "properties": {
        "flat": {
            "required": ["count"],
            "properties": {
                "count": {"type": "integer", "x-unit": "files", "description": "how many", "x-default": "shipped: 4"},
                "kind": {"enum": ["a", "b"], "default": "a", "description": "which"},
                "one": {"$ref": "#/$defs/name", "x-meaning": "a parent"},
                "other": {"$ref": "#/$defs/name", "x-meaning": "a parent"},
                "queues": {
                    "description": "one each",
                    "x-type": "list",
                    "items": {"properties": {"size": {"type": "number", "description": "how large"}}},
                },
            },
        },
        "models": {
            "propertyNames": {"$ref": "#/$defs/name", "x-meaning": "a short name", "x-default": "–"},
            "additionalProperties": {
                "required": ["label"],
                "properties": {
                    "label": {"type": "string", "description": "its name"},
                    "hidden": {"$ref": "#/$defs/part", "x-type": "part", "description": "described elsewhere"},
                    "part": {"$ref": "#/$defs/part", "x-type": "part", "x-keys": True, "description": "a part"},
                    "checks": {
                        "x-type": "name: check",
                        "description": "checks",
                        "additionalProperties": {"properties": {"from": {"type": "string", "description": "whose"}}},
                    },
                },
            },
        },
        "odd": {"properties": {"key": {"type": "string"}}},
    },
    "$defs": {
        "name": {"type": "string", "description": "Letters."},
        "part": {"properties": {"weight": {"type": "number", "description": "λ"}}},
    },
}


@pytest.fixture(autouse=True)
def schema(monkeypatch):
    monkeypatch.setattr(keys, "read_schema", lambda name: SCHEMA)


def test_rows_of_a_part():
    assert keys.keys("study", "flat") == [
        ["`count`", "integer, files", "required; shipped: 4", "how many"],
        ["`kind`", "`a`, `b`", '"a"', "which"],
        ["`one`, `other`", "text", "none", "a parent"],
        ["`queues`", "list", "none", "one each"],
        ["`queues.size`", "number", "none", "how large"],
    ]


def test_rows_of_named_entries():
    assert keys.keys("study", "models") == [
        ["`{model}`", "text", "–", "a short name"],
        ["`{model}.label`", "text", "required", "its name"],
        ["`{model}.hidden`", "part", "none", "described elsewhere"],
        ["`{model}.part`", "part", "none", "a part"],
        ["`….part.weight`", "number", "none", "λ"],
        ["`{model}.checks`", "name: check", "none", "checks"],
        ["`….checks.{check}.from`", "text", "none", "whose"],
    ]


@pytest.mark.parametrize(
    ("part", "message"), [("none", "has no part 'none'"), ("odd", "`key` of odd in the schema study lacks a type")]
)
def test_what_is_missing_is_named(part, message):
    with pytest.raises(AoeError, match=message):
        keys.keys("study", part)
