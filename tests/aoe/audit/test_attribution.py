"""Where single weights are from: copies, and weights that were altered."""

import pytest
import torch
from aoe import AoeError
from aoe.audit.attribution import Audit
from aoe.audit.report import deviations
from aoe.numerics import fp8
from support.published import FULL, R1T, WEIGHT, Audited, assembled, of_parents, plan_of, publish, value


def test_copies_are_attributed_to_their_parents(audited, r1t):
    found = audited(r1t, R1T)
    assert found.found() == {"copied"} and not found.deviating
    for row in found.list:
        assert row["sources"] == ["r1" if row["group"] == "routed_experts" else "v3-0324"]
        assert (row["grade"], row["claim_grade"], row["status"]) == ("bytes", "bytes", "verified")
    assert found.recovered.entry == {
        "base": "v3-0324",
        "weights": {"r1": 1.0},
        "subset": {"groups": ["routed_experts"]},
    }


def test_one_parent_alone_is_verified(audited, family):
    tensors = {name: family["v3-0324"].tensor(name) for name in family["v3-0324"].files}
    assert {row["status"] for row in audited(tensors, names=["v3-0324"]).list} == {"verified"}


@pytest.mark.parametrize("bit", [1, 2, 64, 128])
def test_one_altered_bit_is_found(audited, r1t, bit):
    tensors = dict(r1t) | {WEIGHT: r1t[WEIGHT].clone()}
    tensors[WEIGHT].view(torch.uint8)[7, 11] ^= bit
    found = audited(tensors, R1T)
    assert found.deviating == [WEIGHT]
    row = found.rows[WEIGHT]
    assert (row["found"], row["differing"], row["mixture"]) == ("unexplained", 1, "r1")
    assert row["largest"] >= 1


def test_one_altered_bit_of_a_mixture_is_found(audited, full):
    tensors = dict(full) | {WEIGHT: full[WEIGHT].clone()}
    tensors[WEIGHT].view(torch.uint8)[7, 11] ^= 1
    for claim in (FULL, None):
        found = audited(tensors, claim)
        assert found.deviating == [WEIGHT]
        row = found.rows[WEIGHT]
        assert row["differing"] == 1 and row["lambda_r1"] == pytest.approx(0.3)


def test_one_altered_bit_of_a_scale_is_found(audited, r1t):
    scale = f"{WEIGHT}_scale_inv"
    tensors = dict(r1t) | {scale: r1t[scale].clone()}
    tensors[scale].view(torch.int32)[0, 0] ^= 1
    found = audited(tensors, R1T)
    assert found.deviating == [WEIGHT] and found.rows[WEIGHT]["scales"] == 1


@pytest.mark.parametrize("ulps", [1, 64, 1024])
@pytest.mark.parametrize("claim", [FULL, None])
def test_a_slightly_altered_scale_of_a_mixture_is_found(audited, full, ulps, claim):
    scale = f"{WEIGHT}_scale_inv"
    tensors = dict(full) | {scale: full[scale].clone()}
    tensors[scale].view(torch.int32)[0, 0] += ulps
    assert audited(tensors, claim).deviating == [WEIGHT]


def test_last_digits_of_float32_are_found(audited, full):
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    tensors = dict(full) | {bias: full[bias].clone()}
    tensors[bias].view(torch.int32)[:] += 3
    assert audited(tensors, FULL).deviating == [bias]
    assert audited(tensors).deviating == [bias]


@pytest.mark.parametrize("scales", [1, 0])
@pytest.mark.parametrize("claim", [FULL, None])
def test_a_weight_of_zeros_is_found(audited, full, scales, claim):
    zeros = torch.zeros_like(full[WEIGHT].float()).to(torch.float8_e4m3fn)
    scale = f"{WEIGHT}_scale_inv"
    assert audited(dict(full) | {WEIGHT: zeros, scale: full[scale] * scales}, claim).deviating == [WEIGHT]


@pytest.mark.parametrize("factor", [2, 0.5, 1.5, -1, 1.05])
@pytest.mark.parametrize("entry", [R1T, FULL], ids=["copies", "full"])
def test_a_multiplied_weight_is_found(audited, family, entry, factor):
    scale = f"{WEIGHT}_scale_inv"
    tensors = assembled(entry, family)
    found = audited(dict(tensors) | {scale: tensors[scale] * factor})
    assert found.deviating == [WEIGHT]
    assert len(deviations(found.list)) == 1


def test_a_fine_tuned_layer_is_unexplained(audited, r1t):
    torch.manual_seed(0)
    tuned = [name for name in r1t if ".layers.1.self_attn." in name and name.endswith("_proj.weight")]
    tensors = dict(r1t)
    for name in tuned:
        changed = value(r1t, name)
        changed = changed + torch.randn_like(changed) * changed.std() * 0.05
        tensors[name], tensors[f"{name}_scale_inv"] = fp8.quantize(changed)
    for claim in (R1T, None):
        found = audited(tensors, claim)
        assert found.deviating == sorted(tuned)
        assert all(found.rows[name]["found"] == "unexplained" for name in tuned)
    assert found.recovered.entry["subset"] == {"groups": ["routed_experts"]}


def test_a_slightly_fine_tuned_mixture_is_unexplained(audited, full):
    torch.manual_seed(0)
    changed = value(full, WEIGHT)
    changed = changed + torch.randn_like(changed) * changed.std() * 0.01
    tensors = dict(full)
    tensors[WEIGHT], tensors[f"{WEIGHT}_scale_inv"] = fp8.quantize(changed)
    assert audited(tensors).deviating == [WEIGHT]


def test_one_mixture_within_rounding_among_copies_is_found(audited, family, r1t):
    torch.manual_seed(0)
    ours, theirs = of_parents(family, WEIGHT)
    noisy = (0.2 * ours + 0.8 * theirs) * (1 + 0.004 * torch.randn(ours.shape).clamp(-1, 1))
    tensors = dict(r1t)
    tensors[WEIGHT], tensors[f"{WEIGHT}_scale_inv"] = fp8.quantize(noisy)
    assert audited(tensors).deviating == [WEIGHT]


def test_parents_that_do_not_fit_are_refused(tmp_path, family, r1t):
    cut = publish(tmp_path / "cut", {name: t for name, t in r1t.items() if ".layers.3." not in name})
    with pytest.raises(AoeError, match=r"lacks tensor model\.layers\.3"):
        Audited(publish(tmp_path / "published", r1t), {"v3-0324": family["v3-0324"], "cut": cut})
    two, plan = {name: family[name] for name in ("v3-0324", "r1-0528")}, plan_of(R1T, family)
    with pytest.raises(AoeError, match="reads r1, which is none of the audit's parents"):
        Audit(publish(tmp_path / "published", r1t), two, plan)
