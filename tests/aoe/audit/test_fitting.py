"""The λ of mixtures, from single weights."""

import pytest
import torch
from aoe.numerics import fp8
from support.published import FULL, NAMES, THREE, Audited, assembled, converted, is_fp8, publish


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


def test_lambda_of_many_digits_in_one_group(audited, family):
    """They are found nearly; nobody was at work there."""
    many = {"v3-0324": 1 - 0.3183098861837907, "r1": 0.3183098861837907}
    override = {"subset": {"groups": ["attention"]}, "weights": many}
    found = audited(assembled({**FULL, "overrides": [override]}, family))
    assert not found.deviating
    for row in found.list:
        if row["group"] == "attention":
            assert row["lambda_r1"] == pytest.approx(many["r1"], abs=1e-3)
