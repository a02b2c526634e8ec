"""A sample of the families of transformers' language models goes through all of it; all have their groups.

`make families` runs all of them, and records in docs/families.json what is looked at here.
"""

import json

import pytest
import torch
import transformers
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.architectures import definitions
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.parts import TensorGroup
from support.all_families import LEFT_OUT, RECORD, WORKS, outcome
from support.families import all_families, tiny_model

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))
FAMILIES = RECORDED["families"]
WORKING = [name for name, family in FAMILIES.items() if family["outcome"] == WORKS]
SAMPLE = [
    *("llama", "gpt2", "falcon_mamba", "rwkv", "mixtral", "gpt_oss", "jetmoe", "doge", "granitemoehybrid", "zamba2"),
    *("qwen3_moe", "qwen3_next", "deepseek_v3", "deepseek_v32", "deepseek_v4", "kimi_k25", "step3p7", "cosmos3_omni"),
    "deepseek_ocr2",
]


@pytest.fixture(autouse=True)
def _small_models():
    transformers.utils.logging.disable_progress_bar()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other, where a machine has other work
    yield
    torch.set_num_threads(threads)
    transformers.utils.logging.enable_progress_bar()


def test_every_family_of_the_pinned_transformers_is_recorded():
    assert RECORDED["transformers"] == transformers.__version__, "run `make families`"
    assert FAMILIES.keys() == set(all_families())


def test_the_sample_has_every_group_and_every_family_with_patterns_of_its_own():
    groups = {group for name in SAMPLE for group in FAMILIES[name]["groups"]}
    assert groups == {group for name in WORKING for group in FAMILIES[name]["groups"]}
    assert {name for name, definition in definitions().items() if definition.patterns} <= {*SAMPLE}


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_family_is_as_it_is_recorded(model_type, tmp_path):
    found, _ = outcome(model_type, tmp_path)
    assert found == {key: said for key, said in FAMILIES[model_type].items() if key != "served"}


@pytest.mark.parametrize("model_type", WORKING)
def test_the_groups_of_a_family_are_as_they_are_recorded(model_type, tmp_path):
    tiny_model(model_type).save_pretrained(tmp_path)
    checkpoint = Checkpoint(tmp_path)
    place = Architecture(checkpoint.config).place
    found = {place(tensor).group for tensor in checkpoint.files}
    assert [group for group in TensorGroup if group in found] == FAMILIES[model_type]["groups"]


@pytest.mark.parametrize("model_type", [name for name, family in FAMILIES.items() if family["outcome"] == LEFT_OUT])
def test_a_family_that_is_left_out_is_no_language_model_that_transformers_can_run(model_type, tmp_path):
    assert outcome(model_type, tmp_path)[0] == FAMILIES[model_type]


def test_families_work():
    """Else a table of refusals would do."""
    assert {name: family for name, family in FAMILIES.items() if family["outcome"] not in (WORKS, LEFT_OUT)} == {}
    assert len(WORKING) >= 190
