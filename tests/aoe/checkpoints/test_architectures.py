"""Architectures are found by their files, and each defines all that is asked of it."""

import sys

import pytest
from aoe import AoeError
from aoe.checkpoints import architectures
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.architectures import definitions, with_inventory
from aoe.checkpoints.parts import MEANINGS, TensorGroup


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of files that are looked at for architectures, too."""
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    definitions.cache_clear()
    yield tmp_path
    definitions.cache_clear()
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(f"aoe.checkpoints.architectures.{file.stem}", None)


def test_the_files_are_found():
    assert set(definitions()) >= {"deepseek_v3", "jetmoe", "qwen3_moe", "rwkv"}
    assert set(with_inventory()) >= {"deepseek_v3", "qwen3_moe"}


@pytest.mark.parametrize("name", definitions())
def test_every_definition_says_something(name):
    definition = definitions()[name]
    assert definition.title
    assert definition.patterns or definition.layer


def test_the_patterns_of_a_file_come_before_those_that_all_share(folder):
    config, bias = {"model_type": "llama_moe", "num_hidden_layers": 1}, "model.layers.0.mlp.bias"
    assert Architecture(config).place(bias).group == TensorGroup.OTHER
    text = "from aoe.checkpoints.architectures.jetmoe import DEFINITION\n"
    (folder / "llama_moe.py").write_text(text, encoding="utf-8")
    definitions.cache_clear()
    architecture = Architecture(config)
    assert architecture.place(bias).group == TensorGroup.ROUTED_EXPERTS
    assert architecture.place("model.layers.0.self_attn.q_proj").group == TensorGroup.ATTENTION


def test_every_group_has_a_meaning():
    assert list(MEANINGS) == list(TensorGroup)


def test_a_file_without_a_definition_is_named(folder):
    (folder / "hollow.py").write_text("", encoding="utf-8")
    with pytest.raises(AoeError, match=r"hollow\.py has no DEFINITION"):
        definitions()
