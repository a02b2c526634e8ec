"""Models that were made by other arithmetics and roundings: verified, and the method named."""

import pytest
import torch
from aoe.audit.methods import ModelMethod
from aoe.audit.report import deviations, report
from aoe.numerics import fp8
from aoe.numerics.kernels import Arithmetic, Rounding
from support.published import (
    FULL,
    NAMES,
    THREE,
    WAYS,
    WEIGHT,
    Audited,
    assembled,
    converted,
    of_parents,
    publish,
    value,
)

OF_THREE = {"base": "v3-0324", "weights": {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5}}
EXPERTS_ONLY = {**FULL, "subset": {"groups": ["routed_experts"]}}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name].reshape(-1).view(torch.uint8), other[name].reshape(-1).view(torch.uint8)) for name in one
    )


def told(found, claim=None):
    return report(found.list, found.audit, found.recovered, {"model": "published", "parents": NAMES}, claim)


CASES = [(FULL, way) for way in WAYS]
CASES += [(OF_THREE, WAYS[i]) for i in (1, 2, 4, 7)]
CASES += [(EXPERTS_ONLY, WAYS[i]) for i in (0, 3, 5)]
CASES += [(THREE, WAYS[i]) for i in (1, 3)]
# of sums of differences from the base, the base counts even where its λ is 0
CASES += [(entry, WAYS[9]) for entry in (OF_THREE, EXPERTS_ONLY, {**OF_THREE, "weights": {"r1": 0.4, "r1-0528": 0.6}})]


@pytest.mark.parametrize(("entry", "way"), CASES, ids=str)
def test_a_model_of_any_method_is_verified_and_its_method_named(audited, family, way, entry):
    """Without a claim; the recipe that is found builds the same bytes."""
    tensors = assembled({**entry, **way}, family)
    found = audited(tensors)
    assert not found.deviating
    assert {row["method"] for row in found.list} <= {"", str(found.recovered.method)}
    stated = {
        key: found.recovered.entry[key] for key in ("arithmetic", "rounding", "seed") if key in found.recovered.entry
    }
    assert stated == way
    assert found.recovered.entry == {**entry, **way}
    assert same(assembled(found.recovered.entry, family), tensors)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_claim_that_names_the_method_is_verified(audited, family, way):
    found = audited(assembled({**OF_THREE, **way}, family), {**OF_THREE, **way})
    assert not found.deviating and found.found() == {"claimed", "copied"}
    assert all(row["claim_grade"] in ("bytes", "values") for row in found.list)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_claim_without_a_method_is_verified_and_the_method_named(audited, family, way):
    found = audited(assembled({**FULL, **way}, family), FULL)
    assert not found.deviating
    summary = " ".join(told(found, FULL)["summary"])
    assert found.recovered.method.words() in summary and found.recovered.method.words()


@pytest.mark.parametrize(
    ("way", "claim"),
    [
        ({}, {"arithmetic": "bfloat16"}),
        ({}, {"rounding": "none"}),
        ({"arithmetic": "bfloat16"}, {"arithmetic": "stored"}),
        ({"rounding": "stochastic", "seed": 3}, {"rounding": "stochastic", "seed": 4}),
        ({"rounding": "stochastic", "seed": 3}, {"rounding": "balanced", "seed": 3}),
    ],
    ids=str,
)
def test_a_claim_of_another_method_is_refuted(audited, family, way, claim):
    found = audited(assembled({**FULL, **way}, family), {**FULL, **claim})
    assert set(found.deviating) >= {row["tensor"] for row in found.list if row["dtype"] == "F8_E4M3"}
    assert told(found, FULL)["verdict"] == "deviates"
    assert found.recovered.entry == {**FULL, **way}


@pytest.mark.parametrize(
    ("way", "claimed"), [*((way, True) for way in WAYS), *((way, False) for way in WAYS[:5])], ids=str
)
def test_one_altered_bit_is_found_whatever_the_method(audited, family, way, claimed):
    tensors = assembled({**FULL, **way}, family)
    tensors[WEIGHT].view(torch.uint8)[7, 10] ^= 1
    for claim in ({**FULL, **way}, FULL) if claimed else (None,):
        found = audited(tensors, claim)
        assert found.deviating == [WEIGHT]
        (said,) = deviations(found.list)
        assert "in 1 of 32,768 values" in said["what"]


@pytest.mark.parametrize("way", WAYS[1:4], ids=str)
def test_one_altered_scale_is_found_whatever_the_method(audited, family, way):
    tensors = assembled({**FULL, **way}, family)
    tensors[f"{WEIGHT}_scale_inv"].view(torch.int32)[0, 0] += 1
    for claim in ({**FULL, **way}, FULL, None):
        assert audited(tensors, claim).deviating == [WEIGHT]


@pytest.mark.parametrize("way", WAYS[:4], ids=str)
def test_exports_in_bf16_of_models_of_any_method(audited, family, way):
    tensors = assembled({**FULL, **way}, family)
    found = audited(converted(tensors, torch.bfloat16))
    assert not found.deviating
    assert same(assembled(found.recovered.entry, family), tensors)


@pytest.mark.parametrize("parents", [2, 3])
@pytest.mark.parametrize("claimed", [True, False], ids=["claim", "no claim"])
def test_sums_of_bf16_tensors_by_torch(audited, family, parents, claimed):
    """As other programs merge: in BF16, never quantized again."""
    entry = FULL if parents == 2 else OF_THREE
    tensors = {}
    for name in family["v3-0324"].weights:
        terms = [_value(family[parent], name).bfloat16() * share for parent, share in entry["weights"].items()]
        total = terms[0] + terms[1] if parents == 2 else torch.stack(terms).sum(dim=0)
        copied = family["v3-0324"].stored(name).dtype == "F32"
        tensors[name] = total.float() if copied else total
    found = audited(tensors, entry if claimed else None)
    assert not found.deviating
    assert found.recovered.entry == {**entry, "arithmetic": "bfloat16", "rounding": "none"}


@pytest.mark.parametrize("claimed", [True, False], ids=["claim", "no claim"])
def test_codes_and_scales_mixed_as_stored_by_torch(audited, family, full, claimed):
    """Every tensor of the files by itself, as a program does that knows nothing of scales."""
    tensors = {}
    for name in full:
        ours, theirs = (family[parent].tensor(name) for parent in FULL["weights"])
        tensors[name] = (ours.float() * 0.7 + theirs.float() * 0.3).to(ours.dtype)
    found = audited(tensors, FULL if claimed else None)
    assert not found.deviating
    assert found.recovered.entry == {**FULL, "arithmetic": "stored"}


def by_torch(family, full, mixed=lambda ours, theirs: ours * 0.7 + theirs * 0.3):
    """FP8 weights rounded by chance, with torch's random numbers; the others as in ``full``."""
    torch.manual_seed(0)
    tensors = dict(full)
    for name in [name for name in full if f"{name}_scale_inv" in full]:
        total = mixed(*of_parents(family, name))
        _, scale = fp8.quantize(total)
        unit = value({name: torch.ones_like(full[name].float()), f"{name}_scale_inv": scale}, name)
        wanted = total / unit
        step = 2.0 ** (torch.frexp(wanted.abs().clamp(min=2**-6)).exponent - 4)
        rounded = torch.floor(wanted / step + torch.rand_like(wanted)) * step
        tensors[name], tensors[f"{name}_scale_inv"] = rounded.clamp(-448, 448).to(torch.float8_e4m3fn), scale
    return tensors


@pytest.mark.parametrize("claim", [FULL, None], ids=["claim", "no claim"])
def test_a_rounding_by_unknown_random_numbers(audited, family, full, claim):
    found = audited(by_torch(family, full), claim)
    rows = [row for row in found.list if row["dtype"] == "F8_E4M3"]
    assert {row["status"] for row in rows} == {"verified"}
    assert {row["method"] for row in rows} == {"stochastic, seed unknown"}
    assert {row["grade"] for row in rows} == {"rounding"}
    assert found.recovered.entry == {**FULL, "rounding": "stochastic"}
    assert "bytes cannot be verified" in " ".join(told(found, claim)["summary"])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ours, theirs: ours * 0.7 + theirs * 0.3 + 0.2 * (theirs - ours).abs(),
        lambda ours, theirs: ours * 0.7 + theirs * 0.3 + 0.02 * ours.std() * torch.randn_like(ours),
    ],
    ids=["biased", "noisy"],
)
def test_not_everything_is_explained_by_chance(audited, family, full, wrong):
    tensors, altered = by_torch(family, full), by_torch(family, full, wrong)
    for name in (WEIGHT, f"{WEIGHT}_scale_inv"):
        tensors[name] = altered[name]
    for claim in (FULL, None):
        assert WEIGHT in audited(tensors, claim).deviating


def test_a_weight_of_another_method_deviates_and_says_so(audited, family, full):
    tensors = dict(full)
    other = assembled({**FULL, "arithmetic": "bfloat16"}, family)
    for name in (WEIGHT, f"{WEIGHT}_scale_inv"):
        tensors[name] = other[name]
    for claim in (FULL, None):
        found = audited(tensors, claim)
        assert found.deviating == [WEIGHT]
        assert "summed in bfloat16, unlike the rest" in deviations(found.list)[0]["what"]


def test_a_seed_beyond_those_that_are_tried_is_verified_by_its_claim(audited, family):
    entry = {**FULL, "rounding": "stochastic", "seed": 12345}
    assert not audited(assembled(entry, family), entry).deviating
    found = audited(assembled(entry, family))
    assert {row["method"] for row in found.list if row["dtype"] == "F8_E4M3"} == {"stochastic, seed unknown"}


def test_a_shard_of_small_weights_is_judged_with_the_others(tmp_path, family):
    """Shards are audited apart: one of norms alone does not tell the method."""
    tensors = assembled({**FULL, "rounding": "stochastic", "seed": 5}, family)
    published = publish(tmp_path / "published", tensors, shards=40)
    for claim in (FULL, None):
        found = Audited(published, family, claim, apart=True)
        assert not found.deviating


@pytest.mark.parametrize("way", [{"arithmetic": "bfloat16"}, {"rounding": "balanced", "seed": 1}], ids=str)
def test_a_short_vector_that_allows_many_mixtures_gets_none_of_its_own(audited, family, way):
    """Some norms have few numbers that differ, so that the usual method gives them as well, by other λ."""
    entry = {"base": "v3-0324", "weights": {"v3-0324": 0.6, "r1": 0.4}, **way}
    assert audited(assembled(entry, family)).recovered.entry == entry


def test_methods_are_written_and_read():
    for arithmetic in Arithmetic:
        for rounding in Rounding:
            for seed in (0, 7, None) if rounding.by_chance else (None,):
                method = ModelMethod(arithmetic, rounding, seed)
                assert ModelMethod.read(str(method)) == method
    assert not str(ModelMethod()) and ModelMethod(Arithmetic.BFLOAT16).words() == "summed in bfloat16"


def _value(checkpoint, name):
    return value({key: checkpoint.tensor(key) for key in (name, f"{name}_scale_inv") if key in checkpoint.files}, name)
