"""The registry: every figure is complete, in order, and known where it belongs; an incomplete one is refused."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from aoe import AoeError
from aoe.document import paper
from aoe.document.figures import FIGURES, FOLDER, Figure, ResultTables, discover, figures_of, settings_of
from aoe.studies.study import read_study
from launcher.schemas import read_schema
from support.clones import ROOT, SMALL

CLAIMS = yaml.safe_load((ROOT / "config/claims.yaml").read_text(encoding="utf-8"))
SCHEMA = read_schema("study")
NAMES = ["figure2", "figure3", "figure4", "figure5", "figure6", "figure7a", "figure7b", "figure8", "figure9"]
NAMES += ["figure10a", "figure10b", "figure11"]


def study(folder, **changes):
    """The mini study with some of its keys replaced."""
    content = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8")) | changes
    (folder / "odd.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_study("odd", folder, SCHEMA)


def names(study):
    return [figure.name for figure in figures_of(study) if figure.name in NAMES]


def written(name):
    return read_study(name, ROOT / "config/studies", SCHEMA)


def test_the_figures_are_in_the_order_of_their_numbers():
    assert [name for name in FIGURES if name in NAMES] == NAMES
    numbers = [int(re.sub(r"\D", "", name)) for name in FIGURES]
    assert numbers == sorted(numbers)
    assert all(name == figure.name for name, figure in FIGURES.items())
    assert all(figure.module.is_file() for figure in FIGURES.values())


def test_a_study_has_the_figures_that_it_has_data_for(tmp_path):
    assert names(written("mini")) == [name for name in NAMES if name != "figure9"]
    assert names(written("mini-gpu")) == NAMES
    assert names(written("audit")) == []
    changed = SMALL | {"audits": {}}
    assert names(study(tmp_path, **changed)) == ["figure2", "figure3", "figure4", "figure7a", "figure7b"]
    changed["figures"] = {"base": "v3-0324", "other": "r1", "space": "codes", "assembled": "r1t"}
    assert names(study(tmp_path, **changed)) == ["figure2", "figure3", "figure4", "figure8"]


@pytest.mark.parametrize("name", NAMES)
def test_settings_can_be_written_and_fill_the_caption(name):
    figure, found = FIGURES[name], settings_of(FIGURES[name], written("mini-gpu"), CLAIMS)
    assert json.loads(json.dumps(found)).keys() == found.keys()
    caption = figure.described(found)
    assert not re.search("[{}]", caption)
    assert len(caption.split()) > 10


def test_paper_values_are_those_of_the_claims():
    found = settings_of(FIGURES["figure6"], written("mini"), CLAIMS)
    assert found["paper_values"] == [(0.504, "paper"), (0.544, "article")]
    assert "paper_curves" not in found and "paper_curves" not in settings_of(
        FIGURES["figure6"], written("qwen3-fp8"), CLAIMS
    )
    (curve,) = settings_of(FIGURES["figure6"], written("qwen3"), CLAIMS)["paper_curves"]
    assert curve["points"] == CLAIMS["claims"]["wu-think"]["quantity"]["points"] and curve["sweep"] == "full"
    marked = {figure for claim in CLAIMS["claims"].values() for figure in claim.get("mark", {})}
    assert marked <= FIGURES.keys()


def test_a_table_is_read_when_it_is_asked_for(tmp_path):
    (tmp_path / "summary.csv").write_text("variant,cost\nNA,1\n", encoding="utf-8")
    tables = ResultTables([tmp_path / "summary.csv", tmp_path / "absent.parquet"])
    assert list(tables) == ["summary", "absent"]
    assert list(tables["summary"].variant) == ["NA"] and tables["summary"] is tables["summary"]
    with pytest.raises(FileNotFoundError):
        tables["absent"]


def test_the_document_says_which_figures_are_missing(tmp_path):
    def told(asks):
        return {entry["number"]: entry["missing"] for entry in paper.figures(tmp_path, {}, asks)}

    asked = told(asks=True)
    assert list(asked) == ["2", "3", "4", "5", "6", "7a", "7b", "8"]  # figures from 9 on are none of the paper's
    assert asked["7a"] == "the study has no sweep over δ" and asked["8"] == "the study names no assembled model"
    assert set(told(asks=False).values()) == {"the study asks no questions"}


def complete(**changes):
    parts = {"number": "10", "title": "A", "caption": "B", "needs": ("summary.csv",)}
    return parts | {"draw": lambda *_: None, "finding": lambda *_: ""} | changes


@pytest.mark.parametrize("part", ["title", "caption", "needs", "draw", "finding"])
def test_a_figure_without_a_part_is_refused(part):
    with pytest.raises(AoeError, match=f"^Figure 10 has no {part}; docs/how-to/add-a-figure.md"):
        Figure(**complete(**{part: None}))


def test_a_number_is_digits_and_a_letter():
    assert Figure(**complete(number="10b")).module.name == "figure10.py"
    with pytest.raises(AoeError, match="'ten' is not a valid number"):
        Figure(**complete(number="ten"))


PARTS = "caption='B', needs=('summary.csv',), draw=print, finding=print"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("", r"figure10\.py defines no Figure; docs/how-to"),
        (f"F = Figure(number='10', {PARTS})", r"figure10\.py .* complete figure \(.*'title'"),
        (f"F = Figure(number='10', title='', {PARTS})", r"figure10\.py .*\(Figure 10 has no title"),
        (f"F = Figure(number='11', title='A', {PARTS})", r"defines figure 11; move it to figure11\.py"),
        (f"F, G = (Figure(number='10', title=title, {PARTS}) for title in 'AB')", "two figures of the same number"),
    ],
)
def test_a_module_that_is_no_figure_is_refused(tmp_path, monkeypatch, code, told):
    package = f"figures_{tmp_path.name}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "figure10.py").write_text(f"from aoe.document.figures import Figure\n{code}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AoeError, match=told):
        discover(package, folder)


def test_the_registry_imports_nothing_that_is_slow():
    code = f"""
import sys
sys.path.insert(0, {str(FOLDER.parents[2])!r})
import aoe.document.figures
print([name for name in ("matplotlib", "pandas", "numpy", "seaborn", "scipy", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
