"""Schemas whose names come from registries."""

import json
import os
import subprocess
import sys

import jsonschema
import pytest
from aoe import AoeError
from aoe.files.schema import with_registries
from launcher import schemas
from support.clones import ROOT


def test_registries_stand_where_the_schema_names_them():
    schema = {"enum": {"registry": "norms"}, "items": [{"propertyNames": {"enum": {"registry": "norms"}}}]}
    filled = with_registries(schema, {"norms": lambda: ["a", "b"]})
    assert filled == {"enum": ["a", "b"], "items": [{"propertyNames": {"enum": ["a", "b"]}}]}
    assert schema["enum"] == {"registry": "norms"}, "the schema itself was changed"


def test_a_key_that_is_called_registry_stays():
    schema = {"properties": {"registry": {"type": "string"}}}
    assert with_registries(schema, {}) == schema


def test_a_schema_that_names_no_registry_is_refused(monkeypatch, tmp_path):
    (tmp_path / "odd.schema.json").write_text(json.dumps({"enum": {"registry": "moods"}}), encoding="utf-8")
    monkeypatch.setattr(schemas, "FOLDER", tmp_path)
    with pytest.raises(AoeError, match=r"names the registry 'moods'; there are .*norms"):
        schemas.read_schema("odd")


@pytest.mark.parametrize("file", sorted(schemas.FOLDER.glob("*.schema.json")), ids=lambda file: file.name)
def test_the_shipped_schemas_are_schemas(file):
    jsonschema.Draft202012Validator.check_schema(schemas.read_schema(file.name.removesuffix(".schema.json")))


def test_every_registry_is_used():
    text = "".join(file.read_text(encoding="utf-8") for file in schemas.FOLDER.glob("*.schema.json"))
    assert {name for name in schemas.REGISTRIES if f'"registry": "{name}"' not in text} == set()


def test_reading_a_schema_imports_nothing_large():
    code = "import sys; from launcher.schemas import read_schema; read_schema('study'); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    large = {"torch", "numpy", "pandas", "numba", "matplotlib", "vllm", "inspect_ai"}
    assert large & set(done.stdout.split()) == set()
