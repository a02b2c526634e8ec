"""The target `prediction`: from the mini family as it lies there, and from two shards of each parent out of a Hub."""

import re
import shutil
from html import unescape

import pandas as pd
import pytest
from support.clones import SMALL

pytestmark = pytest.mark.workflow
MODELS = ("v3-0324", "r1", "r1-0528")
SWEEPS = {"full": {"base": "v3-0324", "other": "r1", "lambda2": [0, 0.3, 0.49, 0.51, 0.7, 1]}, **SMALL["sweeps"]}


def sentences(page):
    """The text of a page, without its style and its figure."""
    text = re.sub(r"<(style|svg).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", "", text))


def test_the_mini_family_is_predicted_and_nothing_is_merged(clone):
    clone.study("predicted", sweeps=SWEEPS)
    call = ["--config", "study=predicted", "prediction_shards=2", "--", "prediction"]
    clone.snakemake(*call)
    results = clone.folder / "results/predicted"
    assert {path.name for path in results.iterdir()} >= {"prediction.csv", "prediction.html", "prediction"}
    assert not {path.name for path in results.iterdir()} & {"plans", "merged", "answers", "differences"}
    steps = pd.read_csv(results / "prediction/steps.csv").set_index(["rounded", "group"])
    attention = steps.loc["nearest", "attention"]
    assert attention.below < 0.2 and attention.above > 0.7 and attention.width < 0.02
    assert abs(steps.loc["balanced", "attention"].width - 0.8) < 0.02
    text = sentences(results / "prediction.html")
    assert "Read were 2 of 5 shards of V3-0324" in text
    assert "`</think>` must jump at exactly 0.5" in text or "makes no jump of all merged weights" in text
    assert "Over δ (threshold)" in text and "has no jump at 0.5" in text
    assert all((results / f"prediction/figure.{ending}").stat().st_size > 1000 for ending in ("svg", "pdf", "png"))
    assert "Nothing to be done" in clone.snakemake(*call).stderr


def test_two_shards_of_each_parent_are_all_that_is_fetched(clone, hub):
    for model in MODELS:
        hub.add_folder(f"mini/{model}", clone.folder / "resources/mini" / model)
    models = {model: {"label": model, "source": f"hf://mini/{model}"} for model in MODELS}
    clone.study("fetched", **{**SMALL, "sweeps": SWEEPS, "lock": "fetched.lock.json", "models": models})
    clone.snakemake("--config", "study=fetched", "--", "lock")
    shutil.copy(clone.folder / "results/fetched/lock.json", clone.folder / "fetched.lock.json")
    call = ["--config", "study=fetched", "prediction_shards=2", "--", "prediction"]
    clone.snakemake(*call)
    fetched = {
        model: sorted(
            path.name
            for path in (clone.folder / "inputs/mini" / model).rglob("*.safetensors")
            if path.parent.name != ".outline"
        )
        for model in MODELS
    }
    assert len(fetched["v3-0324"]) == 2 and fetched["r1"] == fetched["v3-0324"] and not fetched["r1-0528"]
    codes = pd.read_csv(clone.folder / "results/fetched/prediction/codes.csv").set_index("group")
    assert codes.compared["attention"] > 0 and codes.left_out.sum() > 0  # a weight's scale can lie in another shard
    # a fetched shard that was altered is found
    found = (clone.folder / "inputs/mini/r1").rglob(fetched["r1"][0])
    (path,) = (path for path in found if path.parent.name != ".outline")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = clone.snakemake(*call, check=False)
    assert done.returncode and f"{fetched['r1'][0]} has the SHA-256" in done.stdout + done.stderr
