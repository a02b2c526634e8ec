"""Models in another format than their parents, or of another arithmetic, and what counts as close."""

import pytest
import torch
from aoe.audit.comparison import Tolerance
from aoe.numerics import fp8
from support.published import (
    EXPERTS,
    FULL,
    R1T,
    WEIGHT,
    Audited,
    assembled,
    converted,
    is_fp8,
    of_parents,
    parents,
    publish,
    value,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_copies_in_another_dtype_are_equal_in_value(audited, r1t, dtype):
    found = audited(converted(r1t, dtype), R1T)
    assert not found.deviating and found.found() == {"copied", "equal"}
    assert found.recovered.entry["subset"] == {"groups": ["routed_experts"]}
    assert {row["sources"][0] for row in found.list if row["group"] == "routed_experts"} == {"r1"}


@pytest.mark.parametrize("claim", [FULL, None])
def test_a_mixture_in_bf16(audited, full, claim):
    """Merged in FP8, then exported."""
    found = audited(converted(full, torch.bfloat16), claim)
    assert not found.deviating
    for row in filter(is_fp8, found.list):
        assert row["lambda_r1"] == pytest.approx(0.3, abs=0.002)
    assert found.recovered.entry == {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.3}}


def test_a_mixture_of_dequantized_weights_in_bf16(audited, family):
    """Merged as other programs do, without FP8 in between."""
    tensors = converted(assembled({"base": "v3-0324", "weights": {"v3-0324": 1}}, family), torch.bfloat16)
    for name in tensors:
        if family["v3-0324"].stored(name).dtype == "F8_E4M3":
            ours, theirs = (
                {k: c.tensor(k) for k in (name, f"{name}_scale_inv")} for c in (family["v3-0324"], family["r1"])
            )
            tensors[name] = (value(ours, name) * 0.7 + value(theirs, name) * 0.3).bfloat16()
    found = audited(tensors)
    assert not found.deviating
    for row in filter(is_fp8, found.list):
        assert (row["found"], row["way"]) == ("mixed", "converted while merging")
        assert row["lambda_r1"] == pytest.approx(0.3, abs=0.002)


def test_fp8_made_of_bf16_parents(tmp_path, full):
    """The other way round: the parents in BF16, the model quantized."""
    family = {
        name: publish(tmp_path / name, converted({t: c.tensor(t) for t in c.files}, torch.bfloat16))
        for name, c in parents(["v3-0324", "r1"]).items()
    }
    tensors = {name: family["r1"].tensor(name) for name in family["r1"].files}
    weights = [name for name in tensors if name.endswith("_proj.weight") and "eh_proj" not in name]
    for name in weights:
        tensors[name], tensors[f"{name}_scale_inv"] = fp8.quantize(tensors[name].float())
    found = Audited(publish(tmp_path / "published", tensors), family)
    assert not found.deviating
    assert {row["sources"][0] for row in found.list} == {"r1"}


def test_fp8_models_of_bf16_parents(tmp_path, r1t, full):
    """The parents are known in BF16 only: copies are theirs if converted, mixtures within BF16's rounding."""
    bf16 = {
        name: publish(tmp_path / name, converted({t: c.tensor(t) for t in c.files}, torch.bfloat16))
        for name, c in parents(["v3-0324", "r1"]).items()
    }
    for tensors, entry in (
        (r1t, {"base": "v3-0324", "weights": {"r1": 1.0}, "subset": {"groups": ["routed_experts"]}}),
        (full, FULL),
    ):
        found = Audited(publish(tmp_path / "published", tensors), bf16)
        assert not found.deviating and found.recovered.entry == entry


def test_scales_multiplied_and_codes_divided_are_equal_in_value(audited, r1t, full):
    for tensors in (r1t, full):
        changed = dict(tensors)
        scale = f"{WEIGHT}_scale_inv"
        normal = value(tensors, WEIGHT).abs() >= 2**-5 * tensors[scale].max()  # what stays exact if halved
        kept = torch.where(normal, tensors[WEIGHT].float(), 0.0)
        changed[WEIGHT], changed[scale] = (kept / 2).to(torch.float8_e4m3fn), tensors[scale] * 2
        reference = dict(tensors) | {WEIGHT: kept.to(torch.float8_e4m3fn)}
        assert torch.equal(value(changed, WEIGHT), value(reference, WEIGHT))
        if torch.equal(kept, tensors[WEIGHT].float()):
            row = audited(changed).rows[WEIGHT]
            assert row["status"] == "verified" and row["grade"] == "values"


@pytest.mark.parametrize("rounded", [True, False], ids=["parents and sums", "sums"])
@pytest.mark.parametrize("claim", [FULL, None])
def test_sums_in_bf16_before_quantization(audited, family, full, rounded, claim):
    """Other programs' arithmetics: of BF16 tensors, which recipes know; of float32 tensors, which they do not."""
    tensors = dict(full)
    for name in [name for name in full if f"{name}_scale_inv" in full]:
        ours, theirs = of_parents(family, name)
        if rounded:
            ours, theirs = ours.bfloat16(), theirs.bfloat16()
        total = (ours * 0.7 + theirs * 0.3).bfloat16()
        tensors[name], tensors[f"{name}_scale_inv"] = fp8.quantize(total.float())
    found = audited(tensors, claim)
    assert not found.deviating and found.recovered.entry["weights"] == FULL["weights"]
    expected = ("bytes", "bfloat16") if rounded else ("rounding", "")
    assert {(row["grade"], row["method"]) for row in found.list if is_fp8(row)} == {expected}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp8", "bf16"])
def test_a_parent_that_is_not_finite_where_it_is_not_used(tmp_path, family, r1t, dtype):
    broken = {tensor: family["v3-0324"].tensor(tensor) for tensor in family["v3-0324"].files}
    broken[WEIGHT].view(torch.uint8)[0, 0] = 0x7F
    models = dict(family) | {"v3-0324": publish(tmp_path / "v3", broken)}
    found = Audited(publish(tmp_path / "published", converted(r1t, dtype) if dtype else r1t), models)
    assert not found.deviating and found.rows[WEIGHT]["sources"] == ["r1"]


@pytest.mark.parametrize("claim", [FULL, None])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp8", "bf16"])
def test_a_model_that_is_not_finite(audited, full, claim, dtype):
    tensors = dict(full) | {WEIGHT: full[WEIGHT].clone()}
    tensors[WEIGHT].view(torch.uint8)[0, 0] = 0x7F
    found = audited(converted(tensors, dtype) if dtype else tensors, claim)
    assert found.deviating == [WEIGHT]


def test_the_published_script_sees_less(audited, r1t):
    """Codes without scales: a changed scale goes unnoticed by allclose, and not by us."""
    scale = f"{WEIGHT}_scale_inv"
    tensors = dict(r1t) | {scale: r1t[scale] * 3}
    found = audited(tensors, R1T, tolerance=Tolerance())
    assert found.deviating == [WEIGHT] and found.rows[WEIGHT]["close"] == ["r1"]
    found = audited(tensors, R1T, tolerance=Tolerance(space="values"))
    assert found.rows[WEIGHT]["close"] == []
    assert found.rows[f"{EXPERTS}.1.up_proj.weight"]["close"] == ["r1"]
