"""Audits of models whose origin is known."""

import pytest
import torch
from aoe import AoeError
from aoe.audit.attribution import Audit, Tolerance
from aoe.audit.report import deviations, report
from aoe.audit.verdict import check
from aoe.numerics import fp8
from support.published import (
    EXPERTS,
    NAMES,
    R1T,
    Audited,
    assembled,
    converted,
    fused,
    parents,
    plan_of,
    publish,
    value,
)

FULL = {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.3}}
THREE = {
    "base": "v3-0324",
    "weights": {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5},
    "overrides": [
        {"subset": {"groups": ["attention"]}, "weights": {"v3-0324": 0.65, "r1-0528": 0.35}},
        {"subset": {"groups": ["shared_experts"]}, "weights": {"r1": 0.9, "v3-0324": 0.1}},
    ],
}
THRESHOLD = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}, "threshold": {"delta": 5, "space": "codes"}}
WEIGHT = f"{EXPERTS}.3.up_proj.weight"


@pytest.fixture(scope="module")
def family():
    return parents()


@pytest.fixture(scope="module")
def r1t(family):
    return assembled(R1T, family)


@pytest.fixture(scope="module")
def full(family):
    return assembled(FULL, family)


@pytest.fixture
def audited(tmp_path, family):
    """A function that audits tensors, as published, against the family."""

    def run(tensors, claim=None, names=NAMES, tolerance=None):
        return Audited(publish(tmp_path / "published", tensors), {n: family[n] for n in names}, claim, tolerance)

    return run


def lambdas(found, weight):
    return {name: found.rows[weight].get(f"lambda_{name}") for name in NAMES}


def is_fp8(row):
    return row["dtype"] == "F8_E4M3"


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


@pytest.mark.parametrize("lambda2", [0.3, 0.5, 0.61803, 0.98])
def test_lambda_of_two_parents_is_recovered_from_every_fp8_weight(audited, family, lambda2):
    found = audited(assembled({"base": "v3-0324", "weights": {"v3-0324": 1 - lambda2, "r1": lambda2}}, family))
    assert not found.deviating
    quantized = [row for row in found.list if is_fp8(row)]
    assert len(quantized) == 184
    for row in quantized:
        assert row["found"] == "mixed"
        assert abs(row["lambda_r1"] - lambda2) < 0.002, row
        assert row["low_r1"] <= lambda2 <= row["high_r1"] and row["high_r1"] - row["low_r1"] < 0.004
    assert found.recovered.entry["weights"] == {"v3-0324": pytest.approx(1 - lambda2), "r1": lambda2}
    assert found.recovered.entry.keys() == {"base", "weights"} and len(found.recovered.mixtures) == 221


def test_plain_least_squares_would_not_have_found_it(audited, full):
    """What the noise floor of FP8 is: rounding pulls most weights to the nearer parent."""
    rows = [row for row in audited(full).list if is_fp8(row)]
    errors = sorted(abs(row["free_r1"] - 0.3) for row in rows)
    assert errors[len(errors) // 2] > 0.002 and errors[-1] > 0.2


def test_three_parents_with_other_lambda_in_some_groups(audited, family):
    found = audited(assembled(THREE, family))
    assert not found.deviating
    for row in filter(is_fp8, found.list):
        expected = {"attention": (0.65, 0, 0.35), "shared_experts": (0.1, 0.9, 0)}.get(row["group"], (0.2, 0.3, 0.5))
        assert [row[f"lambda_{name}"] for name in NAMES] == pytest.approx(expected, abs=0.002), row
    entry = found.recovered.entry
    assert entry["weights"] == {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5}
    others = {tuple(override["subset"]["groups"]): override["weights"] for override in entry["overrides"]}
    assert others == {
        ("attention",): {"v3-0324": 0.65, "r1-0528": 0.35},
        ("shared_experts",): {"v3-0324": 0.1, "r1": 0.9},
    }


def test_a_threshold_is_recovered(audited, family):
    found = audited(assembled(THRESHOLD, family))
    assert not found.deviating
    entry = found.recovered.entry
    low, high = found.recovered.thresholds["codes"]
    assert low <= 5 < high and entry["threshold"]["space"] == "codes" and low <= entry["threshold"]["delta"] < high
    assert entry["weights"] == {"v3-0324": 0.5, "r1": 0.5} and "overrides" not in entry


@pytest.mark.parametrize("entry", [R1T, FULL, THREE, THRESHOLD], ids=["copies", "full", "three", "threshold"])
def test_a_recovered_recipe_builds_the_same_bytes(audited, family, entry):
    tensors = assembled(entry, family)
    rebuilt = assembled(audited(tensors).recovered.entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


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
        assert row["differing"] == 1 and lambdas(found, WEIGHT)["r1"] == pytest.approx(0.3)


def test_one_altered_bit_of_a_scale_is_found(audited, r1t):
    scale = f"{WEIGHT}_scale_inv"
    tensors = dict(r1t) | {scale: r1t[scale].clone()}
    tensors[scale].view(torch.int32)[0, 0] ^= 1
    found = audited(tensors, R1T)
    assert found.deviating == [WEIGHT] and found.rows[WEIGHT]["scales"] == 1


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


def test_a_layer_of_the_wrong_parent_is_found(audited, family, r1t):
    wrong = [name for name in r1t if ".layers.2." in name and ".experts." not in name]
    found = audited(dict(r1t) | {name: family["r1"].tensor(name) for name in wrong}, R1T)
    expected = sorted(name for name in wrong if not name.endswith("_scale_inv"))
    assert found.deviating == expected
    assert all(found.rows[name]["sources"] == ["r1"] for name in expected)
    entry = found.recovered.entry  # the whole of layer 2 is R1's
    assert {"subset": {"layers": [2]}, "weights": {"r1": 1.0}} in entry["overrides"]
    assert len(found.recovered.mixtures) == 221


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


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three parents of real shapes, projections of 2048x7168, that differ by a hundredth of their weights' size."""
    folder, shapes = tmp_path_factory.mktemp("large"), {"up_proj": (2048, 7168), "down_proj": (7168, 2048)}
    torch.manual_seed(0)
    base = {f"model.layers.1.mlp.experts.0.{part}.weight": torch.randn(shape) * 0.02 for part, shape in shapes.items()}
    family = {}
    for name in NAMES:
        tensors = {}
        for weight, numbers in base.items():
            changed = numbers * (1 + 0.01 * torch.randn_like(numbers))
            tensors[weight], tensors[f"{weight}_scale_inv"] = fp8.quantize(changed)
        family[name] = publish(folder / name, tensors, shards=1)
    return family


@pytest.mark.parametrize(
    "weights", [{"v3-0324": 0.7, "r1": 0.3}, {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5}], ids=["two", "three"]
)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp8", "bf16"])
def test_lambda_is_found_where_parents_differ_by_less_than_a_step(tmp_path, large, weights, dtype):
    """FP8 has steps of 6 to 12 %: nearly all codes are the base's, whatever λ is.  The scales tell."""
    tensors = assembled({"base": "v3-0324", "weights": weights}, large)
    found = Audited(publish(tmp_path / "published", converted(tensors, dtype) if dtype else tensors), large)
    assert not found.deviating
    for row in found.list:
        assert row["found"] == "mixed" and row["grade"] in ("bytes", "values")
        for name in NAMES:
            assert row[f"lambda_{name}"] == pytest.approx(weights.get(name, 0), abs=0.002)
    assert found.recovered.entry["weights"] == weights
    assert dtype or abs(found.list[0]["free_r1"] - 0.3) > 0.05  # plain least squares


def test_what_cannot_be_known_is_not_guessed(audited, r1t):
    tensors = {name: tensor for name, tensor in r1t.items() if name != f"{WEIGHT}_scale_inv"}
    tensors["model.norm.weight"] = r1t["model.norm.weight"].to(torch.float8_e5m2)
    found = audited(tensors, R1T)
    assert [name for name, row in found.rows.items() if row["status"] == "cannot tell"] == sorted(
        [WEIGHT, "model.norm.weight"]
    )
    told = report(found.list, found.audit, found.recovered, {"model": "published", "parents": NAMES}, R1T)
    assert told["verdict"] == "cannot tell" and "cannot be compared" in " ".join(told["summary"])


def test_identical_parents_are_undecidable(tmp_path, family):
    """Two copies of one parent: nothing tells which one it was."""
    v3 = {name: family["v3-0324"].tensor(name) for name in family["v3-0324"].files}
    twins = {name: publish(tmp_path / name, v3) for name in ("one", "other")}
    found = Audited(publish(tmp_path / "published", v3), twins)
    assert {row["status"] for row in found.list} == {"undecidable"}
    assert found.recovered.entry is None and found.recovered.undecidable == 221
    told = report(found.list, found.audit, found.recovered, {"model": "published", "parents": ["one", "other"]}, None)
    assert told["verdict"] == "cannot tell"


def test_a_mixture_of_identical_parents_is_not_split(audited, full, tmp_path, family):
    """λ between two parents that are the same are not made up; their sum is found."""
    r1 = {name: family["r1"].tensor(name) for name in family["r1"].files}
    found = Audited(
        publish(tmp_path / "published", full),
        {"v3-0324": family["v3-0324"], "r1": family["r1"], "twin": publish(tmp_path / "twin", r1)},
    )
    assert not found.deviating
    for row in filter(is_fp8, found.list):
        assert row["alike"] == [["v3-0324"], ["r1", "twin"]] and row["lambda_r1"] == pytest.approx(0.3)


def test_named_claims(audited, r1t, full):
    claims = {"router_gate": "v3-0324", "shared_experts": "v3-0324", "routed_experts": "r1"}
    found = audited(r1t)
    for group, parent in claims.items():
        assert check(found.list, {"groups": [group], "from": parent})["verdict"] == "verified"
        wrong = check(found.list, {"groups": [group], "from": "r1-0528"})
        assert wrong["verdict"] == "deviates" and len(wrong["deviating"]) == wrong["weights"] > 0
    assert check(audited(full).list, {"groups": ["routed_experts"], "from": "r1"})["verdict"] == "deviates"


def test_the_published_script_sees_less(audited, r1t):
    """Codes without scales: a changed scale goes unnoticed by allclose, and not by us."""
    scale = f"{WEIGHT}_scale_inv"
    tensors = dict(r1t) | {scale: r1t[scale] * 3}
    found = audited(tensors, R1T, tolerance=Tolerance())
    assert found.deviating == [WEIGHT] and found.rows[WEIGHT]["close"] == ["r1"]
    found = audited(tensors, R1T, tolerance=Tolerance(space="values"))
    assert found.rows[WEIGHT]["close"] == []
    assert found.rows[f"{EXPERTS}.1.up_proj.weight"]["close"] == ["r1"]


def test_a_wrong_claim_is_refuted_and_the_right_one_told(audited, full):
    found = audited(full, {"base": "v3-0324", "weights": {"v3-0324": 0.71, "r1": 0.29}})
    assert set(found.deviating) >= {row["tensor"] for row in found.list if is_fp8(row)}
    assert found.recovered.entry["weights"] == {"v3-0324": 0.7, "r1": 0.3}


def test_parents_that_do_not_fit_are_refused(tmp_path, family, r1t):
    cut = publish(tmp_path / "cut", {name: t for name, t in r1t.items() if ".layers.3." not in name})
    with pytest.raises(AoeError, match=r"lacks tensor model\.layers\.3"):
        Audited(publish(tmp_path / "published", r1t), {"v3-0324": family["v3-0324"], "cut": cut})
    two, plan = {name: family[name] for name in ("v3-0324", "r1-0528")}, plan_of(R1T, family)
    with pytest.raises(AoeError, match="reads r1, which is none of the audit's parents"):
        Audit(publish(tmp_path / "published", r1t), two, plan)


def fp8_weights(tensors):
    return [name for name in tensors if f"{name}_scale_inv" in tensors]


def of_parents(family, name):
    """A weight of V3-0324 and of R1, in float32."""
    for parent in ("v3-0324", "r1"):
        yield value({key: family[parent].tensor(key) for key in (name, f"{name}_scale_inv")}, name)


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


@pytest.mark.parametrize("rounded", [True, False], ids=["parents and sums", "sums"])
@pytest.mark.parametrize("claim", [FULL, None])
def test_sums_in_bf16_are_within_rounding(audited, family, full, rounded, claim):
    """Another program's arithmetic: rounded to BF16 before it is quantized."""
    tensors = dict(full)
    for name in fp8_weights(full):
        ours, theirs = of_parents(family, name)
        if rounded:
            ours, theirs = ours.bfloat16(), theirs.bfloat16()
        total = (ours * 0.7 + theirs * 0.3).bfloat16()
        tensors[name], tensors[f"{name}_scale_inv"] = fp8.quantize(total.float())
    found = audited(tensors, claim)
    assert not found.deviating and found.recovered.entry["weights"] == FULL["weights"]
    assert {row["grade"] for row in found.list if is_fp8(row)} == {"rounding"}


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


def test_parents_that_are_alike_in_most_of_a_weight(tmp_path, family):
    """R1 differs from V3-0324 in the last rows only, beyond what a sample holds."""
    name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
    changed = {tensor: family["r1"].tensor(tensor) for tensor in family["r1"].files}
    last = changed[name].view(torch.uint8)[-20:]
    for tensor in (name, f"{name}_scale_inv"):
        changed[tensor] = family["v3-0324"].tensor(tensor)
    changed[name].view(torch.uint8)[-20:] = last
    models = dict(family) | {"r1": publish(tmp_path / "r1", changed)}
    models["r1"].name = "r1"
    entry = {"base": "v3-0324", "weights": {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5}}
    found = Audited(publish(tmp_path / "published", assembled(entry, models)), models)
    assert not found.deviating and found.recovered.entry == entry


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


@pytest.mark.parametrize(
    "entry",
    [
        {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"names": ["model.norm.weight"]}},
        {"base": "v3-0324", "weights": {"v3-0324": 0.41, "r1": 0.259, "r1-0528": 0.331}, "subset": {"layers": ["0-2"]}},
        {"base": "v3-0324", "weights": {"r1-0528": 0.5, "r1": 0.3, "v3-0324": 0.2}},
        {**THRESHOLD, "threshold": {"delta": 0.01, "space": "normalized"}},
        {"base": "r1-0528", "weights": {"r1": 1}, "subset": {"layers": ["2-3"]}},
        {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.5}, "convex": False},
        {"base": "v3-0324", "weights": {"v3-0324": 2 / 3, "r1": 1 / 3}},
    ],
    ids=["outside", "layers", "order", "normalized", "other base", "not convex", "thirds"],
)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp8", "bf16"])
def test_any_recipe_is_had_back(audited, family, entry, dtype):
    tensors = assembled(entry, family)
    found = audited(converted(tensors, dtype) if dtype else tensors)
    assert not found.deviating
    rebuilt = assembled(found.recovered.entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


def test_swapped_experts_of_a_bf16_export_are_found(audited, r1t):
    tensors = converted(r1t, torch.bfloat16)
    one, other = (f"{EXPERTS}.{number}.up_proj.weight" for number in (1, 6))
    tensors[one], tensors[other] = tensors[other], tensors[one]
    found = audited(tensors, R1T)
    assert found.deviating == [one, other]
    assert (found.rows[one]["found"], found.rows[one]["note"]) == ("moved", f"r1's {other}")


def test_one_parent_alone_is_verified(audited, family):
    tensors = {name: family["v3-0324"].tensor(name) for name in family["v3-0324"].files}
    assert {row["status"] for row in audited(tensors, names=["v3-0324"]).list} == {"verified"}


def test_a_weight_of_another_size_deviates(audited, r1t):
    found = audited(dict(r1t) | {"lm_head.weight": r1t["lm_head.weight"][1:]}, R1T)
    assert found.deviating == ["lm_head.weight"] and found.rows["lm_head.weight"]["found"] == "reshaped"


def test_every_deviation_has_its_sentence(audited, full):
    tensors = dict(full) | {WEIGHT: full[WEIGHT].clone()}
    tensors[WEIGHT].view(torch.uint8)[7, 11] ^= 1
    for claim in (FULL, None):
        (told,) = deviations(audited(tensors, claim).list)
        assert "0.7 v3-0324 + 0.3 r1" in told["what"] and "in 1 of 32,768 values" in told["what"]


@pytest.mark.parametrize("factor", [2, 0.5, 1.5, -1, 1.05])
@pytest.mark.parametrize("entry", [R1T, FULL], ids=["copies", "full"])
def test_a_multiplied_weight_is_found(audited, family, entry, factor):
    scale = f"{WEIGHT}_scale_inv"
    tensors = assembled(entry, family)
    found = audited(dict(tensors) | {scale: tensors[scale] * factor})
    assert found.deviating == [WEIGHT]
    assert len(deviations(found.list)) == 1


def test_one_mixture_within_rounding_among_copies_is_found(audited, family, r1t):
    torch.manual_seed(0)
    ours, theirs = of_parents(family, WEIGHT)
    noisy = (0.2 * ours + 0.8 * theirs) * (1 + 0.004 * torch.randn(ours.shape).clamp(-1, 1))
    tensors = dict(r1t)
    tensors[WEIGHT], tensors[f"{WEIGHT}_scale_inv"] = fp8.quantize(noisy)
    assert audited(tensors).deviating == [WEIGHT]


def test_lambda_of_many_digits_in_one_group(audited, family):
    """They are found nearly; nobody was at work there."""
    many = {"v3-0324": 1 - 0.3183098861837907, "r1": 0.3183098861837907}
    override = {"subset": {"groups": ["attention"]}, "weights": many}
    found = audited(assembled({**FULL, "overrides": [override]}, family))
    assert not found.deviating
    for row in found.list:
        if row["group"] == "attention":
            assert row["lambda_r1"] == pytest.approx(many["r1"], abs=1e-3)
