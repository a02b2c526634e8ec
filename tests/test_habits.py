"""What surrounds the code: one version, the packages, CI, templates, hooks."""

import importlib.util
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from aoe import __version__
from support.clones import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FORMS = sorted(set((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def module(path):
    """A program outside of the packages."""
    specification = importlib.util.spec_from_file_location(path.rpartition("/")[2].removesuffix(".py"), ROOT / path)
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


def pythons():
    """The oldest and the newest Python that `make` takes."""
    check = module("envs/machine_check.py")
    return check.OLDEST, check.NEWEST


# the version, and what else is said in several places


def test_there_is_one_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert PROJECT["project"]["version"] == citation["version"] == __version__


def test_the_changelog_ends_in_this_version():
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(date for _, date in headings[1:]), "a version has the date of its release"
    assert [version for version, _ in headings[1:2]] in ([], [__version__])


def test_authors_licence_and_python_are_the_same_everywhere():
    citation, project = yaml.safe_load(read("CITATION.cff")), PROJECT["project"]
    assert project["authors"] == citation["authors"]
    assert project["license"] == citation["license"] == read("LICENSE").split()[0]
    assert project["requires-python"] == ">={}.{}".format(*pythons()[0])


# CI, hooks and templates


def test_ci_calls_the_projects_script():
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    commands = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    assert [command[-1] for command in commands] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert job["timeout-minutes"] == 90
    assert pythons()[0] <= tuple(map(int, python.split("."))) <= pythons()[1]


def test_hooks_run_the_linters_of_the_environment():
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    own = [shlex.split(hook["entry"])[:2] for hook in local["hooks"] if hook["language"] == "system"]
    linters = PROJECT["dependency-groups"]["lint"]
    assert {command for command, *_ in own} <= {f".venv/bin/{linter}" for linter in linters}
    checked = re.findall(r"^\t\$\(BIN\)/((?:ruff|snakefmt|mypy)\b.*)$", read("Makefile"), re.MULTILINE)
    assert len(checked) == len(own) == 4


def test_hooks_see_every_file_of_rules():
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    (pattern,) = [hook["files"] for hook in local["hooks"] if hook["id"] == "snakefmt"]
    names = ["Snakefile", *(str(path.relative_to(ROOT)) for path in (ROOT / "rules").glob("*.smk"))]
    assert len(names) > 5 and all(re.search(pattern, name) for name in names)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_for_issues_is_complete(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content.keys() >= {"name", "description", "labels", "body"}
    fields = [field["id"] for field in content["body"]]
    assert len(fields) == len(set(fields)) > 0
    assert all(field["attributes"]["label"] for field in content["body"])
    for folder in re.findall(r"`(config/[\w/.]+)`", form.read_text(encoding="utf-8")):
        assert (ROOT / folder).exists(), folder


def test_the_catalog_offers_what_there_is():
    usage = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))["usage"]
    deployment = usage["software-stack-deployment"]
    assert deployment == {"conda": True, "apptainer": False, "apptainer+conda": True}
    rules = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
    assert re.search(r"^ +conda:$", rules, re.MULTILINE) and "containerized:" in rules and "report(" in rules
    assert usage["report"] is True and usage["mandatory-flags"]["flags"] == []


def test_the_guide_for_contributors_is_short():
    lines = read("CONTRIBUTING.md").splitlines()
    assert len(lines) <= 120
    assert all(len(line) <= 120 for name in ("CONTRIBUTING.md", "CHANGELOG.md") for line in read(name).splitlines())


# what git keeps of results


def test_git_keeps_the_page_on_results_and_nothing_else_there():
    command = ["git", "check-ignore", "--no-index", "results/README.md", "results/mini/README.md", "results/a.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout.split() == ["results/mini/README.md", "results/a.csv"]
