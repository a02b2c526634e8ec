"""Differences against plain float64 arithmetic, in every space."""

import math

import pytest
import torch
from aoe import AoeError
from aoe.merging.difference import cosine, shard_differences
from aoe.merging.sphere import fused_cosines
from aoe.numerics.kernels import Sums, cpu
from support.checkpoints import stored, weights, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"


def row_of(family, weight, other="r1"):
    rows = shard_differences(family["v3"], family[other], family["v3"].files[weight])
    return next(row for row in rows if row["tensor"] == weight)


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
    assert row["codes"] == pytest.approx(codes.norm().item() / math.sqrt(ours.numel()), rel=1e-6)
    assert (row["group"], row["layer"], row["expert"], row["identical"]) == ("routed_experts", 1, 0, False)


def test_steps_between_codes(family):
    one, other = (family[name].tensor(EXPERT).view(torch.int8).int() for name in ("v3", "r1"))
    places = [torch.where(codes < 0, -(codes & 127), codes) for codes in (one, other)]
    apart = (places[0] - places[1]).abs()
    row = row_of(family, EXPERT)
    counts = [row[f"steps_{steps}"] for steps in (0, 1, 2, 3, "more")]
    assert counts == [*((apart == steps).sum().item() for steps in range(4)), (apart > 3).sum().item()]
    assert sum(counts) == row["elements"] and counts[4] > counts[0] > 0


def test_stored_values_of_other_dtypes_have_one_norm(family):
    row = row_of(family, "lm_head.weight")
    assert row["codes"] == row["normalized"] > 0


def test_angles_between_weights(family):
    for weight, ours, theirs in (
        (EXPERT, *(dequantized(family[name], EXPERT) for name in ("v3", "r1"))),
        ("lm_head.weight", *(family[name].tensor("lm_head.weight").double() for name in ("v3", "r1"))),
    ):
        row = row_of(family, weight)
        assert row["norm"] == pytest.approx(ours.norm().item(), rel=1e-6)
        assert row["other_norm"] == pytest.approx(theirs.norm().item(), rel=1e-6)
        exact = torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0).item()
        assert row["cosine"] == pytest.approx(exact, abs=2e-6)


def test_zeros_have_no_angle():
    assert cosine(Sums(0, 4, 4, other_size=4)) == 0
    assert cosine(Sums(4, 0, 0, other_size=4)) == 1
    assert cosine(Sums(4, 16, 16, other_size=4)) == -1


def test_what_transformers_fuses_has_one_angle(family):
    """The angle of the concatenated tensors."""
    rows = [row for file in family["v3"].shard_names for row in shard_differences(family["v3"], family["r1"], file)]
    names = [f"model.layers.1.mlp.experts.{number}.up_proj.weight" for number in range(2)]
    ours, theirs = (torch.cat([dequantized(family[model], n).flatten() for n in names]) for model in ("v3", "r1"))
    found = fused_cosines(rows)
    exact = torch.nn.functional.cosine_similarity(ours, theirs, dim=0).item()
    assert [found[name] for name in names] == pytest.approx([exact] * 2, abs=2e-6)
    own = {row["tensor"]: row["cosine"] for row in rows}
    assert own[names[0]] != own[names[1]]
    assert {name for name in own if found[name] != own[name]} == {*names}


def test_equal_tensors_have_no_difference(family):
    row = row_of(family, "model.layers.0.input_layernorm.weight")
    assert row["identical"]
    assert [row[space] for space in ("normalized", "frobenius", "codes", "relative")] == [0, 0, 0, 0]
    assert (row["steps_0"], row["steps_more"]) == (160, 0)


def test_a_shard_has_one_row_a_weight(family):
    rows = [row for file in family["v3"].shard_names for row in shard_differences(family["v3"], family["r1"], file)]
    assert [row["tensor"] for row in rows] == family["v3"].weights


def test_slabs_and_threads_make_no_difference(family, monkeypatch):
    file = family["v3"].files[EXPERT]
    whole = shard_differences(family["v3"], family["r1"], file, device="cpu")
    monkeypatch.setattr(cpu, "SLAB", 512)
    for one, other in zip(whole, shard_differences(family["v3"], family["r1"], file, 3, "cpu"), strict=True):
        assert {key: value for key, value in one.items() if not isinstance(value, float)} == {
            key: value for key, value in other.items() if not isinstance(value, float)
        }
        for key in ("norm", "normalized", "frobenius", "codes", "relative"):
            assert one[key] == pytest.approx(other[key], rel=1e-6)


@pytest.mark.parametrize("change", ["nan", "shape", "integers", "missing"])
def test_what_cannot_be_compared_is_named(tmp_path, family, change):
    values = weights(1)
    if change == "nan":
        values["lm_head.weight"][3, 5] = math.nan
    elif change == "shape":
        values["lm_head.weight"] = values["lm_head.weight"][:-1]
    elif change == "missing":
        del values["lm_head.weight"]
    tensors = stored(values)
    if change == "integers":
        for name in ("v3", "r1"):
            tensors["lm_head.weight"] = torch.ones(32, 160, dtype=torch.int32)
            family[name] = write_checkpoint(tmp_path / f"int-{name}", tensors, name)
    else:
        family["r1"] = write_checkpoint(tmp_path / "odd", tensors, "r1")
    message = "holds NaN" if change == "nan" else "cannot be measured" if change == "integers" else "no counterpart"
    with pytest.raises(AoeError, match=rf"lm_head\.weight.* {message}"):
        row_of(family, "lm_head.weight")
