"""A published variant is a whole model: transformers loads it, and it says where it comes from."""

import json
import shutil

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from aoe import AoeError, __version__
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.merging.plan import make_plan
from aoe.merging.publishing import complete_checkpoint, model_card
from aoe.merging.recipe import read_recipe
from support.reference import transformers_model
from support.served import MINI_FOLDERS, half_of, in_bf16, write

PROVENANCE = {
    "variant": "r1t",
    "recipe": {
        "label": "R1T",
        "base": "v3",
        "weights": {"v3": 0.25, "r1": 0.75},
        "subset": {"groups": ["routed_experts"], "layers": ["3-60"]},
        "threshold": {"delta": 1.5, "space": "codes"},
        "overrides": [{"subset": {"names": ["*.gate_proj.*"]}, "weights": {"r1": 1}}],
    },
    "parents": {
        "v3": {"revision": "sha256:aa", "files": {"config.json": {"size": 2, "sha256": "00"}}},
        "r1": {"revision": "sha256:bb", "files": {}},
    },
    "plan": ["3 tensors = 1 v3"],
}


def test_transformers_loads_a_merged_checkpoint(tmp_path):
    folders = {name: in_bf16(folder, tmp_path / name) for name, folder in MINI_FOLDERS.items()}
    _, merge = half_of(folders, tmp_path)
    merged = write(merge, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(merged)("48+4*3=?")["input_ids"]])
    values = {name: value.float() for name, value in merge.values(merge.base.weights)}
    reference = transformers_model(MINI_FOLDERS["v3-0324"], values)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, reference(ids).logits, rtol=0, atol=1e-4)


def test_where_it_comes_from_is_said_to_programs_and_people(family, tmp_path):
    (family["v3"].directory / "generation_config.json").write_text("{}", encoding="utf-8")
    (family["v3"].directory / "README.md").write_text("of the base", encoding="utf-8")
    (family["v3"].directory / "pytorch_model.bin").write_bytes(b"pickle")
    for name in ("additional_chat_templates/tool_use.jinja", "original/params.pth", "code/modeling.py"):
        (family["v3"].directory / name).parent.mkdir()
        (family["v3"].directory / name).write_text("{}", encoding="utf-8")
    (family["v3"].directory / "pytorch_model.bin.index.json").write_text("{}", encoding="utf-8")
    complete_checkpoint(family["v3"], tmp_path, PROVENANCE)
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"README.md", "recipe.json", "config.json", "generation_config.json", INDEX}
    assert (tmp_path / "additional_chat_templates/tool_use.jinja").is_file()
    assert (tmp_path / "code/modeling.py").is_file()
    assert not (tmp_path / "original").exists()
    recipe = json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["tool"].endswith(__version__)
    assert recipe | PROVENANCE == recipe
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card == model_card(recipe)
    assert yaml.safe_load(card.split("---")[1])["base_model"] == ["v3", "r1"]
    for words in [
        "# R1T",
        "| v3 | 0.25 | `sha256:aa` |",
        "groups routed_experts; layers 3-60",
        "1.5, measured as codes",
    ]:
        assert words in card
    assert "instead in names \\*.gate_proj.\\*: 1 r1" in card


TEMPLATES = {
    "settings": ({}, {"chat_template": "of r1 {{ eos_token }}"}),
    "a file": ({"chat_template.jinja": "of r1 {{ eos_token }}"}, {}),
    "several": (
        {"chat_template.jinja": "of r1 {{ eos_token }}", "additional_chat_templates/rag.jinja": "retrieved"},
        {},
    ),
}


@pytest.mark.parametrize("theirs", TEMPLATES)
@pytest.mark.parametrize("ours", TEMPLATES)
def test_transformers_loads_what_a_recipe_chooses(ours, theirs, tmp_path):
    """The tokenizer of one parent, with the template of another, whichever files they are in."""
    folders = {}
    for name, where in (("v3-0324", ours), ("r1", theirs)):
        folder = folders[name] = tmp_path / name
        shutil.copytree(MINI_FOLDERS[name], folder)
        files, settings = TEMPLATES[where]
        path = folder / "tokenizer_config.json"
        stated = (
            json.loads(path.read_text(encoding="utf-8")) | {"chat_template": None, "model_max_length": 1234} | settings
        )
        if name == "v3-0324":
            stated = {key: "of v3" if value and key == "chat_template" else value for key, value in stated.items()}
            files = dict.fromkeys(files, "of v3")
        path.write_text(
            json.dumps({key: value for key, value in stated.items() if value is not None}), encoding="utf-8"
        )
        for file, text in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    (folders["r1"] / "generation_config.json").write_text('{"eos_token_id": 6, "temperature": 0.5}', encoding="utf-8")
    said = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}, "chat_template_from": "r1"}
    said |= {"generation_config_from": "r1"}
    checkpoints = {name: Checkpoint(folder, name) for name, folder in folders.items()}
    plan = make_plan(read_recipe("half", said, checkpoints), checkpoints)
    assert {key: value for key, value in plan.beside.items() if key != "config"} == {
        "template": "r1",
        "generation": "r1",
    }
    merged = tmp_path / "merged"
    merged.mkdir()
    provenance = PROVENANCE | {"recipe": said}
    complete_checkpoint(checkpoints["v3-0324"], merged, provenance, plan.beside, folders)
    tokenizer, other = (AutoTokenizer.from_pretrained(folder) for folder in (merged, folders["r1"]))
    assert tokenizer.chat_template == other.chat_template
    asked = [{"role": "user", "content": "?"}]
    assert tokenizer.apply_chat_template(asked, tokenize=False) == f"of r1 {tokenizer.eos_token}"
    assert tokenizer.model_max_length == 1234
    assert GenerationConfig.from_pretrained(merged).eos_token_id == 6
    card = (merged / "README.md").read_text(encoding="utf-8")
    whose = "config of v3-0324, tokenizer of v3-0324, chat template of r1, generation config of r1"
    assert f"* beside the weights: {whose}" in card


def test_several_shards_need_an_index(family, tmp_path):
    index = family["v3"].directory / INDEX
    assert family["v3"].shard_names
    index.unlink()
    with pytest.raises(AoeError, match=f"several shards, but no {INDEX}"):
        complete_checkpoint(family["v3"], tmp_path, PROVENANCE)
