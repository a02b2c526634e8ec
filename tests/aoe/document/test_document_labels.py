"""The document and the entry page of a study whose labels are signs of Typst and HTML, of other scripts, or long."""

import html
import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import typst
from pypdf import PdfReader

ROOT = Path(__file__).parents[3]
LONG = "m" + "0123456789abcdef" * 15
SIGNS = "#x $y$ *z* _w_ @v <u> `t` // s [r] \\q {p} <b>\"o\"</b> & 'n' ~ - 1"
FACTS = {
    **dict.fromkeys(("models", "datasets", "benchmarks", "figures", "machines", "audits", "claims", "missing"), ()),
    **dict.fromkeys(("transitions", "latencies", "norms", "deltas", "steps"), ()),
    **dict.fromkeys(("serving", "judge", "norm", "key")),
    **{key: {} for key in ("verdicts", "sources", "software")},
    "study": "NA",
    "commit": "unknown: the files are no clone of a repository",
    "release": "1",
    "folder": "results/NA",
    "lock": "x",
    "commands": "make",
    "intelligence": "AIME",
}


def facts(label):
    told = ("realized", "delta", "intelligence", "tokens", "cost", "closing")
    row = {"label": label, "weights": f"0.5 {label}", "subset": label, **dict.fromkeys(told, "1")}
    model = {"label": label, "revision": "sha256:" + 64 * "0", "size": "1 MB"}
    found = {"model": label, "parents": label, "verdict": "verified", "summary": [label], "checks": [], "name": "1e3"}
    audit = found | {"recipe": f"label: {label}"}
    unreadable = {
        "answers": 9,
        "unreadable": 1,
        "cut_off": 0,
        "benchmarks": ["MT-Bench"],
        "rows": [[label, "1 of 9", "0"]],
    }
    return FACTS | {
        "unreadable": unreadable,
        "title": label,
        "variants": [row],
        "models": [model],
        "audits": [audit],
        "reference": label,
    }


def made(folder, label, monkeypatch, **more):
    """(the PDF, the page) of a study with these facts."""
    shutil.copytree(ROOT / "report", folder / "report")
    (folder / "paper.json").write_text(json.dumps(facts(label) | more), encoding="utf-8")
    monkeypatch.chdir(folder)
    rule = SimpleNamespace(
        input=SimpleNamespace(facts="paper.json", template="report/paper.typ", style="report/page.css"),
        output=SimpleNamespace(pdf="paper.pdf", html="paper.html"),
        log=["log.txt"],
    )
    runpy.run_path(str(ROOT / "scripts/paper.py"), init_globals={"snakemake": rule})
    return folder / "paper.pdf", (folder / "paper.html").read_text("utf-8")


@pytest.fixture(autouse=True)
def no_fonts_of_this_machine(monkeypatch):
    fonts = typst.Fonts
    monkeypatch.setattr(typst, "Fonts", lambda **_: fonts(include_system_fonts=False))


@pytest.mark.parametrize("label", ["NA", SIGNS, LONG, "اسم"], ids=["name", "signs", "long", "arabic"])
def test_the_document_shows_labels_as_they_are(tmp_path, label, monkeypatch, capfd):
    pdf, page = made(tmp_path, label, monkeypatch)
    assert not capfd.readouterr().err
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]
    assert html.unescape(title) == label
    assert '<b>"o"' not in page
    if label == LONG:  # broken over lines
        text = "".join(p.extract_text() for p in PdfReader(pdf).pages)
        assert LONG in re.sub(r"[\s\u200b]", "", text) and LONG not in text


def test_letters_without_a_font_are_told_in_one_sentence(tmp_path, monkeypatch, capfd):
    _, page = made(tmp_path, "深度求索 🤖", monkeypatch)
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith("Warning: paper.pdf shows boxes") and "(度 求 深 索 🤖)" in told
    assert "fonts-noto-cjk" in told and "<h1>深度求索 🤖" in page


def test_a_study_of_sweeps_says_what_lambda_means(tmp_path, monkeypatch):
    row = [["nearest"], ["+0.477", "at 0.51"], ["0.209"]]
    told = {"groups": ["attention"], "rows": [row], "tests": ["Sweeps full: the roundings still differ."]}
    pdf, page = made(tmp_path, "NA", monkeypatch, **{"lambda": told})
    for text in (html.unescape(page), " ".join(p.extract_text() for p in PdfReader(pdf).pages)):
        text = " ".join(text.split())
        assert "What λ means" in text and "+0.477" in text and "the roundings still differ" in text
        assert "2510.10977" in text


def test_a_study_without_sweeps_does_not(tmp_path, monkeypatch):
    assert "What λ means" not in html.unescape(made(tmp_path, "NA", monkeypatch)[1])
