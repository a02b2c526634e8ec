"""The shipped studies are planned completely, before anything is locked or fetched; the profile for Slurm fits them."""

import re

import pytest
import yaml
from aoe.document.figures import FIGURES
from support.clones import ROOT

pytestmark = pytest.mark.workflow
PROFILE = ROOT / "profiles/slurm/config.yaml"


def jobs(text):
    return {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


@pytest.mark.parametrize(
    ("study", "planned"),
    [
        (
            "paper",
            {
                "answer": 55,
                "diff": 326,
                "merge": 326,
                "audit_shard": 326,
                "verify_input": 10,
                "programs": 55,
                "judge": 1,
            },
        ),
        ("paper-balanced", {"answer": 25, "diff": 163, "realized": 163, "verify_input": 7, "judge": 1}),
        ("paper-unrounded", {"answer": 25, "diff": 163, "realized": 163, "verify_input": 7, "judge": 1}),
        ("audit", {"audit_shard": 326, "audit_verdict": 2, "verify_input": 5}),
        ("qwen3", {"answer": 25, "diff": 16, "merge": 16, "verify_input": 5}),
    ],
)
def test_a_fresh_clone_plans(clone, study, planned):
    done = clone.snakemake("--dry-run", "--quiet", "host", "--config", f"study={study}")
    assert planned.items() <= jobs(done.stdout).items()
    costs = clone.snakemake("--quiet", "all", "--config", f"study={study}", "--", "cost").stdout
    total = sum(number for rule, number in jobs(done.stdout).items() if rule not in ("all", "total"))
    assert re.search(rf"^jobs, all +{total:,}$", costs, re.MULTILINE)
    for what in ("download, all", "disk, at the peak", "GPU hours"):
        assert re.search(rf"^{what} +[\d,.]+ (GB|h)$", costs, re.MULTILINE), what
    assert not (clone.folder / "inputs").exists() and not list((clone.folder / "config").rglob("*.lock.json"))


def test_a_study_of_fp8_with_scales_in_bf16_is_planned(clone):
    done = clone.snakemake("--dry-run", "--quiet", "host", "--config", "study=qwen3-fp8")
    assert jobs(done.stdout)["answer"] > 0


def test_the_miniature_on_a_gpu_is_the_miniature(clone):
    done = clone.snakemake("--dry-run", "--quiet", "host", "--config", "study=mini-gpu")
    assert {"answer": 23, "latency": 5, "figure9": 1, "paper": 1}.items() <= jobs(done.stdout).items()
    ours, mini = (clone.run("make", "-n", *words).stdout for words in (["gpu", "SDM="], ["run"]))
    assert "gpu=6" in ours and "gpu=1" in ours and "study=mini-gpu" in ours and "gpu=" not in mini


def test_the_paper_has_its_experiments(clone):
    content = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text(encoding="utf-8"))
    assert {"v3-0324", "r1", "r1-0528", "r1t-published", "r1t2-published"} == content["models"].keys()
    for sweep in ("full", "experts"):
        assert {0.504, 0.544} <= set(content["sweeps"][sweep]["lambda2"])
    assert len(content["benchmarks"]) == 5
    assert max(content["sweeps"]["threshold"]["delta"]) > 3  # where the paper sees intelligence decline


def test_the_prediction_is_about_the_papers_sweeps():
    paper, prediction = (
        yaml.safe_load((ROOT / f"config/studies/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("paper", "prediction")
    )
    assert prediction["sweeps"] == paper["sweeps"]
    assert all(paper["models"][name] == entry for name, entry in prediction["models"].items())
    assert {0.499, 0.501} <= set(paper["sweeps"]["full"]["lambda2"])
    for name in ("balanced", "unrounded"):
        content = yaml.safe_load((ROOT / f"config/studies/paper-{name}.yaml").read_text(encoding="utf-8"))
        assert content["models"] == prediction["models"]


def test_the_default_profile_keeps_out_of_the_way():
    """It is loaded beside --profile, whose keys it would override."""
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text(encoding="utf-8"))
    assert not default.keys() & yaml.safe_load(PROFILE.read_text(encoding="utf-8")).keys()


def test_every_line_of_the_profile_is_explained():
    for file in (PROFILE, PROFILE.with_name("site.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        for key in yaml.safe_load(file.read_text(encoding="utf-8")):
            place = next(number for number, line in enumerate(lines) if line.startswith(f"{key}:"))
            above = [line for line in lines[:place] if line]
            assert above[-1].startswith("#"), f"{file.name}: {key}"


def test_the_profile_groups_rules_that_there_are():
    profile = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    text = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "rules").glob("*.smk"))
    there = {*re.findall(r"^ *(?:use )?rule (?:\w+ as )?(\w+)", text, re.MULTILINE), *FIGURES}
    assert profile["groups"].keys() <= there and profile["set-threads"].keys() <= there
    assert profile["group-components"].keys() <= set(profile["groups"].values())
    assert (ROOT / "slurm").resolve() == PROFILE.parent


def test_the_readmes_picture_shows_the_rules_that_there_are(clone):
    """`make docs/rules.svg` draws it."""
    targets = re.search(r"--rulegraph dot -- (\S.*?) *\\", (ROOT / "Makefile").read_text(encoding="utf-8"))[1].split()
    graph = clone.snakemake("--config", "study=paper", "--rulegraph", "dot", "--", *targets).stdout
    drawn = set(re.findall(r"<text [^>]*>([^<]+)</text>", (ROOT / "docs/rules.svg").read_text(encoding="utf-8")))
    assert drawn == set(re.findall(r'label = "(\w+)"', graph)) and len(drawn) > 20
