"""Audits as a user runs them: the study's own variants, and models from elsewhere."""

import json

import pandas as pd
import pytest
import torch
import yaml
from aoe.checkpoints.checkpoint import Checkpoint
from support.published import EXPERTS, R1T, assembled, converted, fused, parents, publish
from support.vocabularies import renumber

pytestmark = pytest.mark.workflow
FULL = {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.3}}


@pytest.fixture
def audited(clone):
    """A function that publishes tensors, locks and audits them; returns the finished process and the result."""

    def run(tensors, study="whatisit", **audit):
        publish(clone.folder / "published", tensors)
        models = {name: {"label": name.upper(), "path": f"resources/mini/{name}"} for name in ("v3-0324", "r1")}
        content = {
            "title": "What is it?",
            "lock": f"config/studies/{study}.lock.json",
            "models": models | {"chimera": {"label": "Somebody's", "path": "published"}},
            "variants": {"said": R1T},
            "audits": {"chimera": {"model": "chimera", "parents": ["v3-0324", "r1"], **audit}},
        }
        (clone.folder / f"config/studies/{study}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        clone.snakemake("--config", f"study={study}", "--", "lock")
        (clone.folder / f"results/{study}/lock.json").rename(clone.folder / content["lock"])
        done = clone.snakemake("--config", f"study={study}", "--", "audit", check=False)
        folder = clone.folder / f"results/{study}/audits/chimera"
        return done, json.loads((folder / "audit.json").read_text(encoding="utf-8")), folder

    return run


def test_the_studys_own_variants_are_what_they_are_said_to_be(clone):
    done = clone.snakemake("--", "audit")
    assert "r1t: verified. 221 of 221 weights are as claimed." in done.stdout
    folder = clone.folder / "results/mini/audits"
    checks = json.loads((folder / "r1t/audit.json").read_text(encoding="utf-8"))["checks"]
    assert {name: check["verdict"] for name, check in checks.items()} == {
        "gates from V3-0324": "verified",
        "shared experts from V3-0324": "verified",
        "routed experts from R1": "verified",
    }
    recovered = yaml.safe_load((folder / "r1t2/recovered.yaml").read_text(encoding="utf-8"))["variants"][
        "r1t2-recovered"
    ]
    assert recovered["weights"] == {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5}
    assert len(pd.read_parquet(folder / "r1t/weights.parquet")) == 221
    again = clone.snakemake("--", "audit")
    assert "audit_shard" not in again.stderr, "only the verdict is told again"

    # the recipe that was found is built, from a study, to the same bytes
    content = clone.content()
    content["variants"] |= yaml.safe_load((folder / "r1t2/recovered.yaml").read_text(encoding="utf-8"))["variants"]
    (clone.folder / "config/studies/mini.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    clone.snakemake("results/mini/merged/r1t2-recovered/recipe.json")
    one, other = (Checkpoint(clone.folder / "results/mini/merged" / name) for name in ("r1t2", "r1t2-recovered"))
    assert all(one.bytes(tensor) == other.bytes(tensor) for tensor in one.files)


def test_parents_whose_tokens_have_other_numbers(clone):
    """They are refused, and, aligned by token, give the bytes of parents whose tokens have the same numbers."""
    models = {"v3-0324": "resources/mini/v3-0324", "odd": "odd"}
    renumber(clone.folder / "resources/mini/r1", clone.folder / "odd")
    half = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "odd": 0.5}, "publish": True}
    content = {
        "title": "Other numbers",
        "lock": "config/studies/tokens.lock.json",
        "models": {name: {"label": name, "path": path} for name, path in models.items()},
        "variants": {"odd-half": half},
        "audits": {"odd-half": {"model": "odd-half", "parents": ["v3-0324", "odd"], "claim": "odd-half"}},
    }
    path = clone.folder / "config/studies/tokens.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = clone.snakemake("--config", "study=tokens", "--", "lock", check=False)
    assert done.returncode and "give 121 ids another meaning" in done.stderr
    assert "`align_embeddings: true`" in done.stderr and "Traceback" not in done.stderr
    half |= {"align_embeddings": True, "chat_template_from": "odd"}
    content["variants"]["odd-half"] = half
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = clone.snakemake("--config", "study=tokens", "--", "lock")
    assert "Of the 128 rows of the embeddings, 121 are other rows of odd, by their token's text" in done.stderr
    (clone.folder / "results/tokens/lock.json").rename(clone.folder / content["lock"])
    done = clone.snakemake("--config", "study=tokens", "--", "audit")
    assert "odd-half: verified. 221 of 221 weights are as claimed." in done.stdout
    made = Checkpoint(clone.folder / "results/tokens/merged/odd-half")
    same = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}}
    for name, tensor in assembled(same, parents()).items():
        assert torch.equal(made.tensor(name).view(torch.uint8), tensor.view(torch.uint8)), name
    for file in ("tokenizer.json", "config.json"):
        assert (made.directory / file).read_bytes() == (clone.folder / models["v3-0324"] / file).read_bytes()
    card = (made.directory / "README.md").read_text(encoding="utf-8")
    assert "tokenizer of v3-0324, chat template of odd" in card and "embeddings of odd, aligned by token" in card
    recovered = yaml.safe_load(
        (clone.folder / "results/tokens/audits/odd-half/recovered.yaml").read_text(encoding="utf-8")
    )
    assert recovered["variants"]["odd-half-recovered"]["align_embeddings"] is True


def test_an_altered_bit_ends_with_a_status_and_a_sentence(audited):
    tensors, weight = assembled(R1T, parents()), f"{EXPERTS}.5.down_proj.weight"
    tensors[weight].view(torch.uint8)[2, 3] ^= 8
    done, found, folder = audited(tensors, claim="said")
    assert done.returncode == 1 and "Not everything is verified: chimera: deviates." in done.stderr
    assert "Traceback" not in done.stderr
    assert found["verdict"] == "deviates" and found["statuses"] == {"verified": 220, "deviates": 1}
    table = pd.read_csv(folder / "deviations.csv")
    assert list(table.tensor) == [weight] and "in 1 of 32,768 values" in table.what[0]
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert weight in page and "deviates" in page and "<svg" in page


def test_a_model_stored_otherwise_is_recognized(audited):
    """BF16, fused experts, a renamed MTP layer, other shards: nothing that any other rule could read."""
    tensors = fused(converted(assembled(FULL, parents()), torch.bfloat16))
    renamed = {name.replace("model.layers.4.", "nextn.0."): tensor for name, tensor in tensors.items()}
    done, found, folder = audited(renamed)
    assert done.returncode == 0, done.stderr
    assert found["verdict"] == "verified" and found["recovered"]["recipe"] == FULL
    table = pd.read_parquet(folder / "weights.parquet")
    assert set(table[table.group == "mtp"].published.str.split(".").str[0]) == {"nextn"}


def test_weights_without_scales_cannot_be_told(audited):
    tensors = assembled(R1T, parents())
    del tensors[f"{EXPERTS}.5.down_proj.weight_scale_inv"]
    done, found, _ = audited(tensors, claim="said")
    assert done.returncode == 1 and found["verdict"] == "cannot tell"


@pytest.mark.parametrize(
    ("audit", "sentence"),
    [
        ({"model": "nobody"}, "audits.chimera.model names 'nobody'"),
        (
            {"parents": ["v3-0324"], "claim": "said"},
            "audits.chimera lacks the parent r1, which the claimed recipe names",
        ),
        ({"parents": ["chimera", "r1"]}, "audits.chimera has chimera as a parent of itself"),
        ({"checks": {"x": {"from": "r2"}}}, "audits.chimera lacks the parent r2, which the check 'x' names"),
    ],
)
def test_a_mistaken_audit_is_told(clone, audit, sentence):
    models = {name: {"label": name, "path": f"resources/mini/{name}"} for name in ("v3-0324", "r1")}
    content = {
        "title": "Mistaken",
        "lock": "resources/mini/lock.json",
        "models": models | {"chimera": {"label": "chimera", "path": "resources/mini/r1"}},
        "variants": {"said": R1T},
        "audits": {"chimera": {"model": "chimera", "parents": ["v3-0324", "r1"], **audit}},
    }
    (clone.folder / "config/studies/mistaken.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = clone.snakemake("--dry-run", "--config", "study=mistaken", "--", "audit", check=False)
    assert done.returncode != 0 and sentence in done.stdout + done.stderr


def test_a_study_without_benchmarks_has_to_audit(clone):
    content = clone.content()
    del content["benchmarks"]
    (clone.folder / "config/studies/half.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = clone.snakemake("--dry-run", "--config", "study=half", check=False)
    sentence = "benchmarks is missing; only a study that does nothing but audits or predictions can do without"
    assert done.returncode != 0 and sentence in done.stdout + done.stderr
