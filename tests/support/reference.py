"""transformers' DeepSeek-V3, which never saw our code, as the reference for what a checkpoint computes."""

import json

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM


def transformers_model(folder, weights):
    """transformers' model (f32) by the folder's config, with ``weights`` by DeepSeek's names, and no MTP layer."""
    keys = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del keys["quantization_config"], keys["torch_dtype"]
    result = DeepseekV3ForCausalLM(DeepseekV3Config(**keys)).eval()
    state = {}
    for name in result.state_dict():
        experts, _, projection = name.rpartition(".")
        if experts.endswith(".mlp.experts"):
            parts = ["gate_proj", "up_proj"] if projection == "gate_up_proj" else [projection]
            numbers = range(keys["n_routed_experts"])
            state[name] = torch.stack(
                [torch.cat([weights[f"{experts}.{number}.{part}.weight"] for part in parts]) for number in numbers]
            )
        else:
            state[name] = weights[name]
    result.load_state_dict(state)
    return result
