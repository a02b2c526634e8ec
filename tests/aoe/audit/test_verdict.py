"""Verdicts on whole models and on claims, and the sentences on deviations."""

import torch
from aoe.audit.report import deviations, report
from aoe.audit.verdict import check
from support.published import FULL, NAMES, R1T, WEIGHT, Audited, is_fp8, publish


def test_named_claims(audited, r1t, full):
    claims = {"router_gate": "v3-0324", "shared_experts": "v3-0324", "routed_experts": "r1"}
    found = audited(r1t)
    for group, parent in claims.items():
        assert check(found.list, {"groups": [group], "from": parent})["verdict"] == "verified"
        wrong = check(found.list, {"groups": [group], "from": "r1-0528"})
        assert wrong["verdict"] == "deviates" and len(wrong["deviating"]) == wrong["weights"] > 0
    assert check(audited(full).list, {"groups": ["routed_experts"], "from": "r1"})["verdict"] == "deviates"


def test_a_wrong_claim_is_refuted_and_the_right_one_told(audited, full):
    found = audited(full, {"base": "v3-0324", "weights": {"v3-0324": 0.71, "r1": 0.29}})
    assert set(found.deviating) >= {row["tensor"] for row in found.list if is_fp8(row)}
    assert found.recovered.entry["weights"] == {"v3-0324": 0.7, "r1": 0.3}


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


def test_every_deviation_has_its_sentence(audited, full):
    tensors = dict(full) | {WEIGHT: full[WEIGHT].clone()}
    tensors[WEIGHT].view(torch.uint8)[7, 11] ^= 1
    for claim in (FULL, None):
        (told,) = deviations(audited(tensors, claim).list)
        assert "0.7 v3-0324 + 0.3 r1" in told["what"] and "in 1 of 32,768 values" in told["what"]
