"""Weights of the parents that are not where they belong."""

import torch
from support.published import EXPERTS, R1T, converted


def test_swapped_experts_are_found_where_they_are(audited, r1t):
    tensors, swapped = dict(r1t), []
    for part in ("gate_proj", "up_proj", "down_proj"):
        for end in ("", "_scale_inv"):
            one, other = (f"{EXPERTS}.{number}.{part}.weight{end}" for number in (1, 6))
            tensors[one], tensors[other] = r1t[other], r1t[one]
        swapped += [f"{EXPERTS}.{number}.{part}.weight" for number in (1, 6)]
    found = audited(tensors, R1T)
    assert found.deviating == sorted(swapped)
    row = found.rows[f"{EXPERTS}.1.gate_proj.weight"]
    assert (row["found"], row["note"]) == ("moved", f"r1's {EXPERTS}.6.gate_proj.weight")


def test_swapped_experts_of_a_bf16_export_are_found(audited, r1t):
    tensors = converted(r1t, torch.bfloat16)
    one, other = (f"{EXPERTS}.{number}.up_proj.weight" for number in (1, 6))
    tensors[one], tensors[other] = tensors[other], tensors[one]
    found = audited(tensors, R1T)
    assert found.deviating == [one, other]
    assert (found.rows[one]["found"], found.rows[one]["note"]) == ("moved", f"r1's {other}")
