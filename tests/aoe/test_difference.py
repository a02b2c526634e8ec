"""Differences against plain float64 arithmetic, in every space."""

import math

import pytest
import torch
from aoe.architecture import Architecture
from aoe.difference import shard_differences, weight_difference

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"


def row_of(family, weight, other="r1"):
    base = family["v3"]
    return weight_difference(base, family[other], weight, Architecture(base.config).place(weight))


def dequantized(checkpoint, weight):
    codes, scale = checkpoint.tensor(weight).double(), checkpoint.tensor(f"{weight}_scale_inv").double()
    spread = scale.repeat_interleave(128, 0)[: codes.shape[0]].repeat_interleave(128, 1)[:, : codes.shape[1]]
    return codes * spread


def test_norms_of_an_fp8_weight(family):
    ours, theirs = (dequantized(family[name], EXPERT) for name in ("v3", "r1"))
    codes = family["v3"].tensor(EXPERT).double() - family["r1"].tensor(EXPERT).double()
    row = row_of(family, EXPERT)
    assert row["frobenius"] == pytest.approx((ours - theirs).norm().item(), rel=1e-6)
    assert row["normalized"] == pytest.approx((ours - theirs).norm().item() / math.sqrt(ours.numel()), rel=1e-6)
    assert row["relative"] == pytest.approx(((ours - theirs).norm() / ours.norm()).item(), rel=1e-6)
    assert row["codes"] == pytest.approx(codes.norm().item() / math.sqrt(ours.numel()), rel=1e-12)
    assert (row["group"], row["layer"], row["expert"], row["identical"]) == ("routed_experts", 1, 0, False)


def test_stored_values_of_other_dtypes_have_one_norm(family):
    row = row_of(family, "lm_head.weight")
    assert row["codes"] == row["normalized"] > 0


def test_equal_tensors_have_no_difference(family):
    row = row_of(family, "model.layers.0.input_layernorm.weight")
    assert row["identical"]
    assert [row[space] for space in ("normalized", "frobenius", "codes", "relative")] == [0, 0, 0, 0]


def test_sums_do_not_drown_small_parts():
    from aoe.difference import _norm

    values = torch.full((5_000_000,), 1e-4)
    assert _norm(values) == pytest.approx(1e-4 * math.sqrt(5_000_000), rel=1e-6)


def test_a_shard_has_one_row_a_weight(family):
    rows = [row for file in family["v3"].shard_names for row in shard_differences(family["v3"], family["r1"], file)]
    assert [row["tensor"] for row in rows] == family["v3"].weights
