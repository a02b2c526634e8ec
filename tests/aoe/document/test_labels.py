"""Labels are any text: figures, documents and model cards show them as they are, or say what cannot be shown."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from aoe import AoeError, AoeWarning
from aoe.document import drawing, lettering
from aoe.files.tables import write_table
from aoe.merging.publishing import model_card
from aoe.studies.study import read_study
from launcher.schemas import read_schema

ROOT = Path(__file__).parents[3]
LONG = "m" + "0123456789abcdef" * 15
ODD = ["NA", "V3 ($0.27 in, $1.10 out)", "R1 $x_{$", "_hidden", "{v3} a^b_c\\frac{1}{2}%#&@~", '<b>"x"</b>--><script>']
ODD += ["#let x = [*a* _b_] // `c`", "- = + /", "اسم", "深度求索-V3", "🤖", LONG, "many words " * 20 + "end"]
WITHOUT_FONT = {"深度求索-V3": "深", "🤖": "🤖"}
VARIANTS = ["v3", "r1", "NA", "null", "1e3", "007"]
SWEEPS = {"True": VARIANTS[:5], "none": VARIANTS[1:]}
POINTS = {
    sweep: [{"lambda2": i / 4, "delta": float(i), "variant": variant} for i, variant in enumerate(variants)]
    for sweep, variants in SWEEPS.items()
}


class Files(list):
    """Named files, as Snakemake hands them to a script."""

    def __init__(self, folder, **names):
        super().__init__(str(folder / name) for name in names.values())
        vars(self).update({key: str(folder / name) for key, name in names.items()})


@pytest.fixture(autouse=True)
def no_fonts_of_this_machine(monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)


def run(script, folder, output, params, **inputs):
    """Run a rule's script in this process."""
    rule = SimpleNamespace(
        input=Files(folder, **inputs),
        output=output,
        params=SimpleNamespace(**params),
        log=Files(folder, job="log.txt"),
        wildcards=SimpleNamespace(study="odd"),
    )
    runpy.run_path(str(ROOT / f"scripts/{script}.py"), init_globals={"snakemake": rule})


def drawn(script, folder, params, monkeypatch, endings=("svg", "pdf", "png", "csv"), **inputs):
    """{ending: path} of a figure, and its texts with their boxes and the figure's."""
    found = []
    saved = Figure.savefig

    def savefig(figure, path, **how):
        if not found:
            figure.draw_without_rendering()
            renderer = figure.canvas.get_renderer()
            found.append([(t.get_text(), t.get_window_extent(renderer), figure.bbox) for t in texts_of(figure)])
        saved(figure, path, **how)

    monkeypatch.setattr(Figure, "savefig", savefig)
    output = Files(folder, **{ending: f"figure.{ending}" for ending in endings})
    run(script, folder, output, params, **inputs)
    return output, found[0]


def texts_of(figure):
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, *(axes.get_legend().get_texts() if axes.get_legend() else [])]
    return [text for text in texts if text.get_text()]


def write_results(folder, label):
    """The tables of a study whose every label is an odd one."""
    rows = []
    for number, variant in enumerate(VARIANTS):
        row = {"variant": variant, "label": label if variant == "v3" else f"{label}{number}"}
        row |= {"weights": "1 v3", "subset": "all", "delta": 0.0, "tokens_per_answer": 9.0, "questions": 18}
        for name in ("arithmetic_percent", "intelligence", "cost", "closing"):
            row |= {name: 0.1 * number + 0.2, f"{name}_low": 0.1 * number + 0.1, f"{name}_high": 0.1 * number + 0.3}
        rows.append(row)
    write_table(pd.DataFrame(rows), folder / "summary.csv")
    fits, curves = [], []
    for sweep in SWEEPS:
        for measure in ("cost", "closing"):
            fit = {"midpoint": 0.5, "width": 0.1, "bottom": 0, "top": 1, "residual": 0}
            fits.append({"sweep": sweep, "measure": measure, **fit, "midpoint_low": 0.4, "midpoint_high": 0.6})
            curves += [
                {"sweep": sweep, "measure": measure, "lambda2": x, "value": x, "low": x, "high": x} for x in (0, 1)
            ]
    write_table(pd.DataFrame(fits), folder / "transitions.csv")
    write_table(pd.DataFrame(curves), folder / "transition_curves.csv")
    speed = [
        {"variant": variant, "at_once": at_once, "tokens_an_answer": 9.0}
        | {f"{name}{end}": 1.0 for name in MEASURED for end in ("", "_low", "_high")}
        for variant in VARIANTS
        for at_once in (1, 8)
    ]
    write_table(pd.DataFrame(speed), folder / "latency.csv")
    origins = [{"layer": 0, "group": "attention", "origin": parent, "share": 0.5} for parent in ("v3", "r1")]
    mixture = {"lambda_v3": 0.5, "lambda_r1": 0.5}
    write_table(pd.DataFrame([row | mixture for row in origins]).astype({"layer": "Int64"}), folder / "map.csv")


MEASURED = ("seconds_an_answer", "answers_per_second", "joules_an_answer")
TABLES = {"summary": "summary.csv", "transitions": "transitions.csv", "curves": "transition_curves.csv"}
PAPER_VALUES = [(0.5, "paper")]
# figure -> (settings, tables); audit_map is no figure of the document, and has a script of its own
FIGURES = {
    "figure4": ({"named": VARIANTS[:4], "sweeps": POINTS}, TABLES),
    "figure6": ({"measure": "closing", "sweeps": POINTS}, TABLES),
    "figure7b": ({"measure": "cost", "points": POINTS["True"], "base": "v3", "space": "codes"}, TABLES),
    "figure8": ({"variants": ["v3", "NA", "r1"], "benchmarks": ["arithmetic"]}, TABLES),
    "figure9": ({"reference": "v3"}, {"table": "latency.csv"}),
    "audit_map": ({"settings": {"parents": ["v3", "r1"]}}, {"table": "map.csv"}),
}


def draw(name, folder, settings, monkeypatch, **tables):
    """``drawn``, of a figure or of an audit's map."""
    if name == "audit_map":
        return drawn(name, folder, settings, monkeypatch, ("svg", "pdf", "png"), **tables)
    return drawn("figure", folder, {"figure": name, "settings": settings}, monkeypatch, **tables)


@pytest.mark.parametrize("label", [ODD[i] for i in (2, 4, 5, 9, 11)], ids=["dollar", "braces", "html", "cjk", "long"])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_show_every_label_inside_of_the_picture(tmp_path, name, label, monkeypatch, capfd):
    write_results(tmp_path, label)
    settings, tables = FIGURES[name]
    labels = {variant: label if variant == "v3" else f"{label}{i}" for i, variant in enumerate(VARIANTS)}
    settings = settings | {"labels": labels, "reference_label": label, "paper_values": PAPER_VALUES}
    output, texts = draw(name, tmp_path, settings, monkeypatch, **tables)
    if len(label) < 12:
        assert any(label in text for text, _, _ in texts), texts
    for text, box, whole in texts:
        inside = whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1 and whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 1
        assert inside, (text, box, whole)
    told = capfd.readouterr().err
    if label in WITHOUT_FONT:
        assert re.search(r"^Warning: .*no font.*\(.*" + WITHOUT_FONT[label], told)
        assert told.count("Warning") == 1
    else:
        assert not told
    assert "<script>" not in Path(output.svg).read_text("utf-8")


def test_each_sweep_has_a_look_of_its_own_as_long_as_there_are_any():
    looks = [look for _, look in drawing.styles([f"sweep {i}" for i in range(drawing.STYLES_APART)])]
    assert len({(color, marker) for color, marker, _ in looks}) == drawing.STYLES_APART >= 40
    with pytest.warns(AoeWarning, match="43 sweeps are more than the 42 styles"):
        assert len(drawing.styles([f"sweep {i}" for i in range(43)])) == 43


def test_many_sweeps_have_a_legend_that_fits(tmp_path, monkeypatch):
    write_results(tmp_path, "R1")
    sweeps = {f"sweep-{i}": POINTS["True"] for i in range(12)}
    fits = [{"sweep": s, "measure": "cost", "midpoint": 0.5, "midpoint_low": 0.4, "midpoint_high": 0.6} for s in sweeps]
    write_table(pd.DataFrame(fits), tmp_path / "transitions.csv")
    settings = {"measure": "cost", "sweeps": sweeps, "reference_label": "R1", "paper_values": []}
    _, texts = draw("figure5", tmp_path, settings, monkeypatch, **TABLES)
    shown = [text for text, _, _ in texts]
    assert [text for text in shown if text.startswith("sweep-")] == list(sweeps)
    assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for _, box, whole in texts)


def test_a_published_curve_stands_beside_the_measured_one(tmp_path, monkeypatch):
    write_results(tmp_path, "R1")
    curve = {"sweep": "True", "points": [[0.5, 0.25], [1, 0.9]], "whose": "Wu"}
    settings = {
        "measure": "closing",
        "sweeps": POINTS,
        "reference_label": "R1",
        "paper_values": [],
        "paper_curves": [curve],
    }
    output, texts = draw("figure6", tmp_path, settings, monkeypatch, **TABLES)
    assert "published (Wu)" in [text for text, _, _ in texts]
    shown = pd.read_csv(output.csv).set_index(["sweep", "lambda2"]).published
    assert shown["True"].dropna().to_dict() == {
        place: value for place, value in curve["points"] if place in shown["True"]
    }
    assert {sweep for sweep, _ in shown.dropna().index} == {"True"}


@pytest.mark.parametrize("text", ["a" * 250, "a " * 90 + "z", "深" * 99, "Some-words/with_" * 9, "x " * 30 + "y" * 60])
def test_long_labels_are_wrapped_and_keep_both_ends(text):
    for width, lines in ((24, 2), (14, 3), (5, 1)):
        rows = lettering.wrapped(text, width, lines).split("\n")
        assert len(rows) <= lines and all(lettering.ems(row) <= width for row in rows)
        assert rows[0][0] == text[0] and rows[-1][-1] == text.strip()[-1]


def test_labels_that_are_shortened_alike_are_numbered():
    texts = ["a" * 99 + middle + "a" * 99 for middle in "bc"]
    assert [text[:3] for text in lettering.distinct([*texts, "d"], 9)] == ["(1)", "(2)", "d"]


def test_fonts_of_the_machine_have_the_letters_that_ours_lacks(monkeypatch):
    import matplotlib

    # any font that has letters which DejaVu Sans has not: this one, of mathematics, is matplotlib's own
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/STIXNonUni.ttf"
    font = lettering.FT2Font(str(path))
    letter = next(
        chr(code) for code in font.get_charmap() if code > 0xE000 and not lettering._own_font().get_char_index(code)
    )
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(path)])
    assert lettering.fonts_for({"a", letter, "深"}) == ([font.family_name], ["深"])
    assert lettering.fonts_for({"a", " ", "\u200d"}) == ([], [])


@pytest.mark.parametrize("label", ODD, ids=range(len(ODD)))
def test_model_cards_show_labels_as_they_are(label):
    recipe = {"label": f"{label}\nx", "base": "NA", "weights": {"NA": 1}, "subset": {"names": ["*_a_*|b"]}}
    parents = {"NA": {"revision": "sha256:aa", "files": {}, "repo": "x/007"}}
    card = model_card({"variant": "null", "recipe": recipe, "parents": parents, "plan": ["1 | x"], "tool": "us"})
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == ["x/007"]
    (heading,) = [line for line in card.split("\n") if line.startswith("# ")]
    assert re.sub(r"\\([^A-Za-z0-9\s])", r"\1", heading) == f"# {' '.join(label.split())} x"
    assert not re.search(r"(?<!\\)[<>$*`|]", heading)
    assert "\\*\\_a\\_\\*\\|b" in card and "| NA | 1 | `sha256:aa` |" in card


STUDY = """
title: "{title}"
lock: x.json
models:
  NA: {{label: "{title}", path: resources/mini/r1}}
  "007": {{label: "", path: resources/mini/r1}}
variants: {{"null": {{base: NA, weights: {{NA: 1}}, publish: true}}}}
audits: {{"1e3": {{model: "null", parents: [NA, "007"]}}}}
"""


def read(folder, title):
    (folder / "odd.yaml").write_text(STUDY.format(title=title), encoding="utf-8")
    return read_study("odd", folder, read_schema("study"))


def test_labels_are_on_one_line_and_never_empty(tmp_path):
    study = read(tmp_path, "a\\n b\\u2028c \\ud83e\\udd16")
    assert study.content["title"] == study.label("NA") == "a b c 🤖"
    assert study.label("007") == "007" and study.label("null") == "null"


@pytest.mark.parametrize("said, told", [("\\0", "U+0000"), ("\\e", "U+001B"), ("\\ud83e", "lone surrogate")])
def test_what_no_page_can_show_is_refused(tmp_path, said, told):
    with pytest.raises(AoeError, match="at title: .*" + re.escape(told)):
        read(tmp_path, f"a{said}b")
