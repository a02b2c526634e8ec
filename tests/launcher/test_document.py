"""What the document is told of a study, and which files a finished study has."""

from launcher.document import size_in_words
from support.runs import flat


def test_the_study_in_words(mini, paper):
    facts = mini.document.study_facts(None)
    assert flat(facts) == facts
    assert [model["label"] for model in facts["models"]] == [mini.study.label(name) for name in mini.study.models]
    assert facts["judge"] is None
    assert "make run STUDY=mini" in facts["commands"]
    assert paper.document.study_facts(None)["judge"]
    assert 'SDM="--software-deployment-method conda" RESOURCES=gpu=8' in paper.document.study_facts(None)["commands"]


def test_params_are_plain(mini):
    for value in (mini.document.evidence(None), mini.document.settings(None), mini.document.labels()):
        assert flat(value) == value


def test_sizes_in_words():
    assert size_in_words(688_600_000_000) == "689 GB"
    assert size_in_words(12_340_000) == "12.3 MB"


def test_a_finished_study_has_every_file_once(mini, paper):
    for rooms in (mini, paper):
        files = [str(file) for file in rooms.targets.finished()]
        assert len(files) == len(set(files))
        assert all(file.startswith(f"results/{rooms.study.name}/") for file in files)
    assert "results/mini/figures/figure6.svg" in [str(file) for file in mini.targets.finished()]
    assert "judge.csv" in paper.targets.tables
    assert "results/mini/latency.csv" not in [str(file) for file in mini.targets.finished()]


def test_roundings_are_tested_where_there_are_several(mini):
    rounding = type(mini)("rounding")
    for rooms, tested in ((mini, []), (rounding, [f"results/{rounding.study.name}/explained.csv"])):
        files = [str(file) for file in rooms.targets.finished()]
        assert [file for file in files if file.endswith("explained.csv")] == rooms.document.explained() == tested
        assert f"results/{rooms.study.name}/simulated.csv" in files
        assert flat(rooms.document.families) == rooms.document.families
    members = {family["name"]: list(family["sweeps"].values()) for family in rounding.document.families}
    assert members.keys() == {"full", "experts"}
    words = [member["rounded"] for member in members["full"]]
    assert words == ["nearest", "balanced", "stochastic", "unrounded", "nearest, stored"]
    assert {point["lambda2"] for point in members["full"][0]["points"]} >= {0.49, 0.499, 0.5, 0.501, 0.51}
