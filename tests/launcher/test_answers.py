"""What rules read from the questions to the scores."""

from dataclasses import replace

import pytest
from support.runs import flat, wildcards


def test_a_model_an_exported_variant_and_a_plan_are_served(mini):
    assert mini.answers.needed_to_serve("r1").keys() == {"verified", "datasets"}
    assert mini.answers.needed_to_serve("r1t")["merged"] == "results/mini/merged/r1t/recipe.json"
    assert mini.answers.needed_to_serve("full-0.5")["plan"] == "results/mini/plans/full-0.5.json"


def test_a_study_without_datasets_waits_for_no_questions(mini, paper):
    assert "questions" not in mini.answers.needed(wildcards(variant="r1"))
    assert paper.run.datasets
    assert {settings["dataset"] for settings in paper.answers.with_dataset().values()} == set(paper.run.datasets)


def test_params_of_servers_are_plain(mini):
    for function in ("served", "checkpoints", "revisions", "datasets"):
        value = getattr(mini.answers, function)(wildcards(variant="full-0.5"))
        assert flat(value) == value


def test_a_template_that_shows_no_reasoning_ends_the_run(mini, monkeypatch):
    def refusing(*_):
        from aoe import AoeError

        raise AoeError("The template of v3-0324 is another one.")

    monkeypatch.setattr("launcher.answers.check_template", refusing)
    with pytest.raises(SystemExit):
        mini.answers.needed(wildcards(variant="r1t"))


def test_the_template_that_is_looked_at_is_the_one_that_the_variant_has(mini, monkeypatch):
    seen, variants = [], mini.run.study.variants
    monkeypatch.setattr("launcher.answers.check_template", lambda name, folder, *_: seen.append((name, folder)))
    changed = replace(variants["full-0.5"], chat_template_from="r1")
    monkeypatch.setitem(variants, "full-0.5", changed)
    mini.answers.needed(wildcards(variant="full-0.5"))
    monkeypatch.setitem(variants, "full-0.5", replace(changed, chat_template_from=None))
    mini.answers.needed(wildcards(variant="full-0.5"))
    assert seen == [("r1", "resources/mini/r1"), ("v3-0324", "resources/mini/v3-0324")]


def test_grades_come_from_a_judge_and_from_the_sandbox(mini, paper):
    assert mini.answers.grades(wildcards(variant="r1")) == {}
    assert paper.answers.grades(wildcards(variant="r1")) == {
        "mt_bench": "results/paper/judgements.parquet",
        "bigcodebench": "results/paper/programs/r1.parquet",
    }
