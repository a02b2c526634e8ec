"""Weights under other names, in other layouts, in one piece, or missing."""

import torch
from safetensors.torch import save_file
from aoe.audit.counterparts import Published
from aoe.audit.report import deviations
from aoe.checkpoints.checkpoint import Checkpoint
from support.published import EXPERTS, FULL, R1T, WEIGHT, converted, fused


def test_other_shards_and_fused_experts(audited, r1t, full):
    for tensors, claim in ((fused(r1t), R1T), (fused(converted(full, torch.bfloat16)), FULL)):
        found = audited(tensors, claim)
        assert not found.deviating and len(found.list) == 221
        assert found.rows[WEIGHT]["published"] == f"{EXPERTS}.gate_up_proj"


def test_a_deviation_within_fused_experts_is_found(audited, r1t):
    tensors = fused(r1t)
    tensors[f"{EXPERTS}.gate_up_proj"] = tensors[f"{EXPERTS}.gate_up_proj"].clone()
    tensors[f"{EXPERTS}.gate_up_proj"].view(torch.uint8)[3, 128 + 5, 9] ^= 4
    assert audited(tensors, R1T).deviating == [WEIGHT]


def test_a_renamed_and_a_missing_mtp_layer(audited, r1t):
    renamed = {name.replace("model.layers.4.", "mtp.layers.0."): tensor for name, tensor in r1t.items()}
    found = audited(renamed, R1T)
    assert (
        not found.deviating
        and found.rows["model.layers.4.eh_proj.weight"]["published"] == "mtp.layers.0.eh_proj.weight"
    )
    found = audited({name: tensor for name, tensor in r1t.items() if ".layers.4." not in name}, R1T)
    assert not found.deviating
    assert {row["status"] for row in found.list if row["group"] == "mtp"} == {"left out"}


def test_a_model_inside_another(audited, r1t):
    found = audited({f"language_model.{name}": tensor for name, tensor in r1t.items()}, R1T)
    assert not found.deviating and len(found.list) == 221 and found.found() == {"copied"}


def test_missing_and_additional_tensors(audited, r1t):
    tensors = {name: tensor for name, tensor in r1t.items() if not name.startswith(WEIGHT)}
    tensors["model.layers.0.adapter.weight"] = torch.zeros(2)
    found = audited(tensors, R1T)
    assert found.deviating == [WEIGHT] and found.rows[WEIGHT]["found"] == "missing"
    assert found.audit.published.additional == ["model.layers.0.adapter.weight"]
    table = deviations(found.list, found.audit.published.additional)
    assert [(row["tensor"], row["what"]) for row in table] == [
        (WEIGHT, "is missing"),
        ("model.layers.0.adapter.weight", "is in no parent"),
    ]


def test_a_weight_of_another_size_deviates(audited, r1t):
    found = audited(dict(r1t) | {"lm_head.weight": r1t["lm_head.weight"][1:]}, R1T)
    assert found.deviating == ["lm_head.weight"] and found.rows["lm_head.weight"]["found"] == "reshaped"


def test_mixtral_is_found_as_other_programs_write_it(tmp_path):
    """mergekit writes w1 over w3 as ``gate_up_proj``, w2 as ``down_proj``, and ``mlp`` instead of Mixtral's block."""
    folder, layer = tmp_path / "mixtral", "model.layers.0"
    folder.mkdir()
    gate_up, down, gate = torch.arange(4 * 6 * 2.0).view(4, 6, 2), torch.ones(4, 2, 3), torch.zeros(4, 2)
    tensors = {"mlp.experts.gate_up_proj": gate_up, "mlp.experts.down_proj": down, "mlp.gate.weight": gate}
    save_file({f"{layer}.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    experts = f"{layer}.block_sparse_moe.experts"
    shapes = {f"{experts}.{e}.{name}.weight": (3, 2) for e in range(4) for name in ("w1", "w3")}
    shapes |= {f"{experts}.{e}.w2.weight": (2, 3) for e in range(4)} | {f"{layer}.block_sparse_moe.gate.weight": (4, 2)}
    published = Published(Checkpoint(folder), shapes)
    assert not published.missing and not published.additional
    part = published.parts[f"{experts}.2.w3.weight"]
    assert (part.tensor, part.begin, part.shape) == (f"{layer}.mlp.experts.gate_up_proj", (2 * 6 + 3) * 2, (3, 2))
    assert published.parts[f"{layer}.block_sparse_moe.gate.weight"].tensor == f"{layer}.mlp.gate.weight"


def test_experts_that_are_spelled_as_mixtrals_are_found(audited, r1t):
    words = {"mlp": "block_sparse_moe", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
    renamed = {".".join(words.get(word, word) for word in name.split(".")): tensor for name, tensor in r1t.items()}
    found = audited(renamed, R1T)
    assert not found.deviating and "missing" not in found.found()
