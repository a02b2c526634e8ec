"""The registry: benchmarks are found by their files, and a file that lacks a part is told."""

import subprocess
import sys
from importlib import import_module, invalidate_caches

import pytest
from aoe import AoeError, benchmarks
from aoe.benchmarks import COMPARED, JUDGE, SANDBOX, graded_by, title_of
from benchmarks import registry
from benchmarks.registry import Judged, Question, Scale, Turn
from support.clones import ROOT

HEAD = "from benchmarks.registry import Benchmark, Compared\n"
BEGIN = HEAD + 'QUIZ = Benchmark("quiz", "Quiz", "a quiz", '
QUIZ = BEGIN + "lambda settings, dataset: [], Compared(str))\n"


@pytest.fixture
def suite(tmp_path, monkeypatch, request):
    """A function that writes a package of files and has the registry read it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"suite_{abs(hash(request.node.name))}"

    def collect(**files):
        (tmp_path / name).mkdir()
        for file, text in {"__init__": "", **files}.items():
            (tmp_path / name / f"{file}.py").write_text(text, encoding="utf-8")
        invalidate_caches()
        return registry.collect(import_module(name))

    return collect


def test_the_suite_has_the_papers_benchmarks_and_the_miniatures():
    names = ["aime2024", "aime2025", "gpqa_diamond", "bigcodebench", "mt_bench", "arithmetic", "dialogue", "ifeval"]
    assert set(registry.names()) >= set(names)
    assert graded_by(names, JUDGE) == ["mt_bench"] and graded_by(names, SANDBOX) == ["bigcodebench"]
    assert len(graded_by(names, COMPARED)) == 6
    assert [title_of(name) for name in names[:3]] == ["AIME-2024", "AIME-2025", "GPQA-Diamond"]
    assert [name for name in names if registry.benchmark(name).turns == 2] == ["mt_bench", "dialogue"]
    assert [name for name in names if not registry.benchmark(name).reads_dataset] == ["arithmetic", "dialogue"]
    assert title_of("cost") == "cost"


def test_a_file_is_a_benchmark(suite):
    assert suite(quiz=QUIZ)["quiz"].graded_by == COMPARED


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"quiz": "x = 1"}, r"\.quiz has no benchmark"),
        (
            {"quiz": BEGIN + "print)"},
            r"\.quiz cannot be used: TypeError: .*grading",
        ),
        (
            {"quiz": BEGIN + "print, None)"},
            r"quiz in .* `grading` one of Compared",
        ),
        (
            {"quiz": BEGIN + "None, Compared(str))"},
            r"`questions` has to be a function",
        ),
        ({"quiz": "import no_such_library"}, r"ModuleNotFoundError: .*no_such_library"),
        ({"quiz": "def"}, r"\.quiz cannot be used: SyntaxError"),
        ({"quiz": QUIZ, "other": QUIZ}, r"\.quiz: another file has a benchmark 'quiz'"),
    ],
)
def test_a_file_without_a_part_is_told(suite, files, sentence):
    with pytest.raises(AoeError, match=sentence):
        suite(**files)


def test_an_unknown_benchmark_is_told_with_those_there_are():
    with pytest.raises(AoeError, match=r"There is no benchmark 'aime'; there are aime2024, aime2025, "):
        registry.benchmark("aime")


def test_the_library_says_that_nothing_is_registered(monkeypatch):
    monkeypatch.setattr(benchmarks, "_registered", [])
    with pytest.raises(RuntimeError, match=r"import benchmarks\.registry first"):
        title_of("aime2024")


def test_a_rating_beyond_the_scale_is_none():
    scale = Scale(lowest=1, highest=5)
    assert [scale.rating(f"[[{number}]]", "stop") for number in (5, 6)] == [5, None]
    scale = Scale(lowest=0, highest=20)
    assert [scale.rating(f"[[{number}]]", "stop") for number in (0, 15, 21)] == [0, 15, None]


def test_a_judge_is_tried_on_every_turn():
    seen = []
    grading = Judged(lambda dataset: lambda turn: seen.append((turn.question, turn.number, turn.asked)))
    grading.check([Question(7, "a", metadata={"follow_ups": ["b"]})], None)
    assert seen == [("7", 1, ["a"]), ("7", 2, ["a", "b"])]
    turn = Turn("7", 1, 2, "", "", {}, ["a", "b"], ["", ""])
    assert grading.shares([turn], {("7", 1, 2): 0.3}) == [0.3] and not grading.readable(turn, {})


def test_snakemake_gets_the_registry_without_large_libraries():
    code = "import sys; from benchmarks import registry; registry.names(); print(*sys.modules)"
    paths = {"PYTHONPATH": str(ROOT / "scripts")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=paths, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    assert not {"torch", "numpy", "pandas", "inspect_ai", "inspect_evals", "openai", "math_verify", "nltk"} & set(
        loaded.split()
    )
