"""On GPUs, in FP8: vLLM serves a plan, merged while loading, as its own loader serves the merged files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from aoe.checkpoints.inventory import inventory
from aoe.serving.server import Server
from support.checkpoints import write_tensors
from support.layouts import KINDS
from support.served import answers, half_of, loaded, write

MINI = Path(__file__).parents[3] / "resources/mini"
SCRIPTS = Path(__file__).parents[3] / "scripts"
OPTIONS = {
    "max-model-len": 640,
    "max-num-seqs": 8,
    "gpu-memory-utilization": 0.3,
    "enforce-eager": True,
    "disable-custom-all-reduce": True,
    "moe-backend": "triton",
}
ENVIRONMENT = {"VLLM_USE_DEEP_GEMM": "0", "VLLM_USE_FLASHINFER_SAMPLER": "0"}  # neither needs a compiler of CUDA's
OWN_LOADER = {"load-format": "safetensors", "model-loader-extra-config": {}}
PATIENCE = 420  # seconds; the first start compiles kernels
# dimensions of which two workers still get whole FP8 blocks
WIDE = {
    "hidden_size": 512,
    "intermediate_size": 512,
    "moe_intermediate_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 3,
    "qk_nope_head_dim": 64,
    "v_head_dim": 64,
    "q_lora_rank": 256,
}


FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
NOT_PACKED = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|gate_up|up|down)_proj.*"]


def kinds():
    """{name: (Kind of some weights, of which, quantization_config)} of what vLLM computes with on a GPU."""
    from support.packed import Int4  # of compressed-tensors, which comes with vLLM

    int4 = Int4()
    packed = int4.config | {"ignore": NOT_PACKED, "quantization_status": "compressed"}
    return {
        "scales in F32": (KINDS["f32"], "", FP8),
        "powers of two": (KINDS["powers"], "", FP8 | {"scale_fmt": "ue8m0"}),
        "scales in BF16": (KINDS["bf16"], "", FP8),
        "INT4": (int4, ".mlp.experts.", packed),
    }


def random_model(folder, seed, kind="scales in F32"):
    """A DeepSeek-V3 of random weights, of a kind of storage, with the mini family's tokenizer."""
    shutil.copytree(MINI / "r1", folder, ignore=shutil.ignore_patterns("model*"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | WIDE
    generator, tensors = torch.Generator().manual_seed(seed), {}
    stored, of, quantization = kinds()[kind]
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}), encoding="utf-8")
    for name, (dtype, shape) in inventory(config).items():
        values = torch.randn(shape, generator=generator) * 0.05
        if dtype == "F8_E4M3" and of in name:
            tensors |= {stored.name(name, end): part for end, part in stored.encode(values).items()}
        elif dtype == "F8_E4M3":
            tensors[name] = values.bfloat16()
        elif dtype == "BF16":
            tensors[name] = (values + (len(shape) == 1)).bfloat16()
        elif name.endswith("bias"):
            tensors[name] = values
    write_tensors(folder, tensors)
    return folder


@pytest.mark.gpu
@pytest.mark.server
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_plan_is_served_as_its_files_are(tmp_path, gpus):
    if torch.cuda.device_count() < gpus:
        pytest.skip(f"needs {gpus} NVIDIA GPUs")
    folders = {"v3-0324": MINI / "v3-0324", "r1": MINI / "r1"}
    if gpus > 1:
        folders = {name: random_model(tmp_path / name, seed) for seed, name in enumerate(folders)}
    plan, merge = half_of(folders, tmp_path)
    merged = write(merge, tmp_path / "merged")
    options = OPTIONS | {"tensor-parallel-size": gpus}
    with Server("half", folders, plan, tmp_path / "plan.log", options, ENVIRONMENT, patience=PATIENCE) as server:
        from_plan = answers(server)
        assert "load_format=aoe" in server.log.read_text(encoding="utf-8")
    own = options | OWN_LOADER
    with Server("half", {"half": merged}, None, tmp_path / "files.log", own, ENVIRONMENT, patience=PATIENCE) as server:
        assert answers(server) == from_plan
        assert "load_format=safetensors" in server.log.read_text(encoding="utf-8")
    assert len({text for text, _ in from_plan}) > 1


@pytest.mark.gpu
@pytest.mark.server
@pytest.mark.parametrize("rounding", ["nearest", "balanced"])
def test_what_a_plan_leaves_in_vllms_memory_is_what_the_merged_files_leave(tmp_path, rounding):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    folders = {name: MINI / name for name in ("v3-0324", "r1")}
    plan, merge = half_of(folders, tmp_path, rounding=rounding)
    merged = write(merge, tmp_path / "merged")
    settings = {"plan": str(plan), "checkpoints": {name: str(folder) for name, folder in folders.items()}}
    options = {"gpu_memory_utilization": 0.2, "moe_backend": "triton"}
    (from_plan,) = loaded(
        folders["v3-0324"], ENVIRONMENT, load_format="aoe", model_loader_extra_config=settings, **options
    )
    (from_files,) = loaded(merged, ENVIRONMENT, load_format="safetensors", **options)
    assert from_plan == from_files
    assert [from_plan] != loaded(folders["v3-0324"], ENVIRONMENT, load_format="safetensors", **options)
    assert any("float8" in dtype for dtype, _, _ in from_plan.values())
    assert any("scale_inv" in name for name in from_plan)


@pytest.mark.gpu
@pytest.mark.server
@pytest.mark.parametrize("kind", ["powers of two", "scales in BF16", "INT4"])
def test_what_vllm_computes_with_is_the_same_in_every_format(tmp_path, kind):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    folders = {name: random_model(tmp_path / name, seed, kind) for seed, name in enumerate(("one", "other"))}
    plan, merge = half_of(folders, tmp_path)
    merged = write(merge, tmp_path / "merged")
    settings = {"plan": str(plan), "checkpoints": {name: str(folder) for name, folder in folders.items()}}
    options = {"gpu_memory_utilization": 0.2, "kv_cache_memory_bytes": 1 << 30} | (
        {} if kind == "INT4" else {"moe_backend": "triton"}
    )
    (from_plan,) = loaded(folders["one"], ENVIRONMENT, load_format="aoe", model_loader_extra_config=settings, **options)
    (from_files,) = loaded(merged, ENVIRONMENT, load_format="safetensors", **options)
    assert from_plan == from_files
    assert [from_plan] != loaded(folders["one"], ENVIRONMENT, load_format="safetensors", **options)
    assert any("int32" in dtype if kind == "INT4" else "float8" in dtype for dtype, _, _ in from_plan.values())
