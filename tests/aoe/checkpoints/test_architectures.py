"""Architectures are found by their files, and each defines all that is asked of it."""

import sys

import pytest
from aoe import AoeError
from aoe.checkpoints import architectures
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.architectures import definitions, projections, with_inventory
from aoe.checkpoints.parts import TensorGroup

SHOWN = {  # in figure 2, from left to right
    "routed_experts": ["gate_proj", "up_proj", "down_proj", "w1", "w3", "w2"],
    "shared_experts": ["gate_proj", "up_proj", "down_proj"],
    "attention": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "q_proj", "k_proj", "v_proj", "o_proj"],
}


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
    assert set(definitions()) >= {"deepseek_v3", "glm4_moe", "kimi_k2", "mixtral", "qwen3_moe"}
    assert set(with_inventory()) >= {"deepseek_v3", "qwen3_moe"}


@pytest.mark.parametrize("name", definitions())
def test_every_definition_is_whole(name):
    definition = definitions()[name]
    assert definition.title and definition.experts
    assert {group for _, group in definition.patterns} >= {TensorGroup.ROUTED_EXPERTS, TensorGroup.ROUTER_GATE}
    assert set(definition.projections) <= {group for _, group in definition.patterns}


def test_figure_2_keeps_every_architectures_order():
    for group, kinds in SHOWN.items():
        assert set(projections()[group]) >= set(kinds)
        for name, definition in definitions().items():
            own = list(definition.projections.get(group, ()))
            assert [kind for kind in projections()[group] if kind in own] == own, name
            assert [kind for kind in kinds if kind in own] == own or not set(own) <= set(kinds), name


def test_a_file_more_is_an_architecture_more(folder):
    text = "from aoe.checkpoints.architectures.mixtral import DEFINITION\n"
    (folder / "llama_moe.py").write_text(text, encoding="utf-8")
    place = Architecture({"model_type": "llama_moe", "num_hidden_layers": 1}).place("model.layers.0.self_attn.q_proj")
    assert place.group == TensorGroup.ATTENTION


def test_a_file_without_a_definition_is_named(folder):
    (folder / "hollow.py").write_text("", encoding="utf-8")
    with pytest.raises(AoeError, match=r"hollow\.py has no DEFINITION"):
        definitions()
