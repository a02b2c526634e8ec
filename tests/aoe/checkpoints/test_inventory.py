"""The inventory computed from a config against real checkpoints' headers and the published counts."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from aoe import AoeError
from aoe.acquiring.verification import check_structure
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.inventory import count_parameters, inventory, write_sparse_checkpoint

ROOT = Path(__file__).parents[3]
DEEPSEEK = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", ["v3-0324", "r1", "r1-0528"])
def test_the_mini_family_holds_exactly_its_inventory(model):
    checkpoint = Checkpoint(ROOT / "resources/mini" / model)
    held = {name: checkpoint.stored(name) for name in checkpoint.files}
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in held.items()} == inventory(checkpoint.config)


def test_deepseek_v3_has_the_tensors_and_parameters_that_it_is_said_to_have():
    assert len(inventory(DEEPSEEK)) == 91_991  # [paper, section 3]
    count = count_parameters(DEEPSEEK)
    # DeepSeek-V3, README_WEIGHTS: 671 B and 36.6 B; 11.5 B of MTP (11.6 by our count) beside its copies of 0.9 B each
    assert round(count.total / 1e9) == 671
    assert round(count.active / 1e9, 1) == 36.6
    assert round((count.mtp - 2 * DEEPSEEK["vocab_size"] * DEEPSEEK["hidden_size"]) / 1e9, 1) == 11.6


def test_without_fp8_there_are_no_scales():
    config = {key: value for key, value in DEEPSEEK.items() if key != "quantization_config"}
    tensors = inventory(config)
    assert not any(name.endswith("_scale_inv") for name in tensors)
    assert {dtype for dtype, _ in tensors.values()} == {"BF16", "F32"}


def test_other_architectures_have_none():
    with pytest.raises(AoeError, match="'mixtral', only of deepseek_v3"):
        inventory({"model_type": "mixtral"})
    with pytest.raises(AoeError, match="lacks 'kv_lora_rank'"):
        inventory({key: value for key, value in DEEPSEEK.items() if key != "kv_lora_rank"})


def test_a_sparse_checkpoint_is_a_checkpoint_that_takes_no_disk(tmp_path):
    write_sparse_checkpoint(DEEPSEEK, tmp_path, 163)
    checkpoint = Checkpoint(tmp_path)
    check_structure(checkpoint)
    sizes = [(tmp_path / file).stat() for file in checkpoint.shard_names]
    assert len(sizes) == 163
    assert round(sum(size.st_size for size in sizes) / 1e9) == 689
    assert sum(size.st_blocks * 512 for size in sizes) < 1e9
    assert max(size.st_size for size in sizes) < 7e9
    with safe_open(tmp_path / checkpoint.shard_names[5], "np") as file:  # the library takes it for real, too
        assert set(file.keys()) == set(checkpoint.shard(checkpoint.shard_names[5]).tensors)
