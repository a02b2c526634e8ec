"""The inventory computed from a config against real checkpoints' headers and the published counts."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.core_model_loading import revert_weight_conversion
from aoe import AoeError
from aoe.acquiring.verification import check_structure
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.inventory import Parameters, count_parameters, inventory, write_sparse_checkpoint

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


def test_without_compressed_queries_there_is_one_projection():
    """As in Moonlight; transformers' own class has the same tensors."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "vocab_size": 128}
    sizes |= {"num_hidden_layers": 2, "first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 16}
    config = DeepseekV3Config(**sizes, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16)
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(config)
    written = revert_weight_conversion(model, dict(model.state_dict()))
    stated = {**json.loads(config.to_json_string(use_diff=False)), "num_nextn_predict_layers": 0}
    assert {name: shape for name, (_, shape) in inventory(stated).items()} == {
        name: tuple(tensor.shape) for name, tensor in written.items()
    }
    with pytest.raises(AoeError, match="lacks 'q_lora_rank'"):
        inventory({key: value for key, value in stated.items() if key != "q_lora_rank"})


def test_parameters_are_counted_of_any_checkpoint():
    config = {"text_config": {"num_layers": 1, "moe_num_experts": 4, "moe_k": 2}}
    layer = "model.language_model.layers.0"
    shapes = {f"{layer}.mlp.experts.{number}.up_proj.weight": (8, 2) for number in range(4)}
    shapes |= {"model.language_model.embed_tokens.weight": (100, 2), f"{layer}.self_attn.o_proj.weight": (2, 2)}
    shapes |= {"mtp.fc.weight": (2, 4)}
    tensors = {name: ("BF16", shape) for name, shape in shapes.items()}
    assert count_parameters(config, tensors) == Parameters(total=268, mtp=8, active=236)  # the embeddings are the head
    assert count_parameters(config, tensors | {"lm_head.weight": ("BF16", (100, 2))}).active == 236
    fused = {name: tensor for name, tensor in tensors.items() if "experts" not in name}
    fused |= {f"{layer}.mlp.experts.up_proj": ("BF16", (4, 8, 2))}
    assert count_parameters(config, fused) == count_parameters(config, tensors)
    with pytest.raises(AoeError, match="does not say how many routed experts"):
        count_parameters({"text_config": {"num_layers": 1}}, tensors)


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
