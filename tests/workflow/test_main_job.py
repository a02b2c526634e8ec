"""The main job, end to end: real models, real vLLM, every figure."""

import json
import subprocess
from xml.etree import ElementTree

import pandas as pd
import pytest
from inspect_ai.log import read_eval_log
from aoe.checkpoints.checkpoint import Checkpoint
from benchmarks.solver import answers_of
from support.crates import PROFILES, issues, save_contexts

pytestmark = [pytest.mark.workflow, pytest.mark.server]
FIGURES = ["figure2", "figure3", "figure4", "figure5", "figure6", "figure7a", "figure7b", "figure8"]
FIGURES += ["figure10a", "figure10b", "figure11"]


@pytest.fixture(scope="module")
def results(main_job):
    return main_job.folder / "results/mini"


@pytest.fixture(scope="module")
def summary(results):
    return pd.read_csv(results / "summary.csv").set_index("variant")


def test_every_variant_is_summarized(summary, results):
    assert len(summary) >= 20
    realized = ["realized_v3-0324", "realized_r1", "realized_r1-0528", "rounding_noise"]
    assert summary.drop(columns=["label", "weights", "subset", *realized]).notna().all().all()
    mixed = summary[summary[realized].notna().all(axis=1)]
    assert set(summary.index) - set(mixed.index) == {"v3-0324", "r1", "r1-0528", "r1t"}
    assert (mixed[realized[:3]].sum(axis=1) - 1).abs().max() < 2e-4
    assert (summary.questions == 384).all()
    assert {path.name for path in (results / "answers").iterdir()} == set(summary.index)


def test_the_family_behaves_as_the_papers(summary):
    v3, r1, r1_0528, r1t = (summary.loc[name] for name in ("v3-0324", "r1", "r1-0528", "r1t"))
    assert v3.closing <= 0.02 and r1.closing >= 0.98
    assert r1.arithmetic_percent >= 95 and r1_0528.arithmetic_percent >= 95
    assert v3.intelligence < r1t.intelligence
    assert v3.cost < r1t.cost < r1.cost < r1_0528.cost
    assert summary.cut_off.max() < 0.05  # no broken variant: all of them come to an end


def test_the_closing_tag_appears_at_a_threshold(results):
    fitted = pd.read_csv(results / "transitions.csv").set_index(["sweep", "measure"])
    for sweep in ("full", "experts"):
        closing = fitted.loc[(sweep, "closing")]
        assert 0.3 < closing.midpoint_low <= closing.midpoint <= closing.midpoint_high < 1
        assert closing.width < 0.35


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_complete(results, figure):
    assert ElementTree.parse(results / f"figures/{figure}.svg").getroot().tag.endswith("svg")
    assert (results / f"figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert (results / f"figures/{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(results / f"figures/{figure}.csv")) >= 3


def test_the_report_holds_every_figure(results):
    report = (results / "report.html").read_text(encoding="utf-8")
    for figure in FIGURES:
        assert f"{figure}.svg" in report


def test_raw_answers_are_kept_and_can_be_read(results):
    log = read_eval_log(str(results / "answers/r1/dialogue.eval"))
    assert (log.status, len(log.samples)) == ("success", 128)
    assert "api_key" not in log.model_dump_json()
    answers = answers_of(log.samples[0])
    assert len(answers) == 2
    assert all(answer["text"].startswith("<think>\n") and answer["finish"] for answer in answers)


def test_r1t_is_made_of_its_parents_bytes(main_job, results):
    v3, r1 = (Checkpoint(main_job.folder / f"resources/mini/{name}") for name in ("v3-0324", "r1"))
    r1t = Checkpoint(results / "merged/r1t")
    assert set(r1t.files) == set(v3.files)
    for tensor in r1t.files:
        is_routed = ".mlp.experts." in tensor and ".layers.4." not in tensor  # layer 4 is the MTP layer
        assert r1t.bytes(tensor) == (r1 if is_routed else v3).bytes(tensor), tensor
    provenance = json.loads((results / "merged/r1t/recipe.json").read_text(encoding="utf-8"))
    assert set(provenance["parents"]) == {"v3-0324", "r1"}


def test_the_published_variants_were_audited(results):
    for audit in ("r1t", "r1t2"):
        found = json.loads((results / f"audits/{audit}/audit.json").read_text(encoding="utf-8"))
        assert (found["verdict"], found["weights"]) == ("verified", 221)
        assert "<svg" in (results / f"audits/{audit}/audit.html").read_text(encoding="utf-8")


def test_no_server_is_left_and_no_key_was_written(main_job, results):
    assert "VLLM_API_KEY" not in "".join(path.read_text(encoding="utf-8") for path in results.glob("logs/answer/*.log"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, encoding="utf-8", check=True).stdout
    assert str(main_job.folder) not in running


def test_the_crate_is_valid(main_job, results, tmp_path):
    main_job.snakemake("--", "crate")
    contexts = save_contexts(tmp_path / "contexts")
    assert not any(issues(results / "crate.zip", profile, contexts) for profile in PROFILES)


def test_a_second_call_has_nothing_to_do(main_job, results):
    before = (results / "report.html").stat().st_mtime_ns
    done = main_job.run(*main_job.make())
    assert "Nothing to be done" in done.stdout + done.stderr
    assert (results / "report.html").stat().st_mtime_ns == before
