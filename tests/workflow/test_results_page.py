"""results/README.md describes every file and folder that a study can have, and no others."""

import re

import pytest
from support.clones import ROOT

pytestmark = pytest.mark.workflow
# what a run leaves beside its rules' outputs
BESIDE = {
    *("report.html", "crate.zip", "lock.json", "cost.txt", "preflight.html", "preflight/", "fetching.json"),
    *("logs/", "benchmarks/", "receipts/", "verdicts/", "code/"),
}


def described(heading):
    """The names in the first column of the tables below a heading."""
    text = (ROOT / "results/README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def outputs(clone, study, *targets, **settings):
    """What rules make in a study's folder: files, and the folders of others, with a slash."""
    config = [f"{key}={value}" for key, value in {"study": study, **settings}.items()]
    table = clone.snakemake(*targets, "--summary", "--config", *config).stdout
    paths = re.findall(rf"^results/{study}/([^/\t]+/?)", table, re.MULTILINE)
    assert paths
    return set(paths)


def test_every_result_is_described(clone):
    """mini-gpu measures latency; paper fetches, has a judge and runs programs; rounding tests its roundings.

    A prediction from some shards is a target of its own.
    """
    names = described("A study's folder")
    assert len(names) == len(set(names))
    studies = ("mini-gpu", "paper", "rounding")
    found = set().union(BESIDE, *(outputs(clone, study) for study in studies))
    assert set(names) == found | outputs(clone, "mini", "prediction", prediction_shards=2)


def test_what_lies_beside_outputs_is_named_in_the_code():
    places = [ROOT / "Makefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "scripts").rglob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in places)
    assert [name for name in BESIDE if name.strip("/") not in text] == []
