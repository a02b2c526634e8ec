"""A change of the library: quick jobs are repeated; what takes long is kept, or repeated if the user says so."""

import json
import os
import re

import pytest
from support.clones import SMALL, Clone

pytestmark = pytest.mark.workflow
STUDY = "changes"
FILES = ["figures/figure2.svg", "merged/r1t/recipe.json", "plans/threshold-0.json", "plans/threshold-8.json"]
DIFFERENCE, MERGE, PLAN = (f"scripts/aoe/merging/{name}.py" for name in ("difference", "merge", "plan"))
AGAIN = {"diff": 5, "differences": 1, "figure2": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A clone in which a variant was written, with all that this takes, and differences were drawn."""
    clone = Clone(tmp_path_factory.mktemp("changes"))
    clone.study(STUDY, **SMALL)
    run(clone)
    return clone


@pytest.fixture
def made(first):
    """That clone, whose code is put back after the test."""
    before = {path: path.read_bytes() for path in (first.folder / "scripts").rglob("*.py")}
    yield first
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def run(clone, *config, dry=False):
    """(what a run says, rule -> number of its jobs); config: more of the configuration."""
    words = [*(["--dry-run"] if dry else []), "--quiet", "host", "--config", f"study={STUDY}", *config]
    done = clone.snakemake(*words, "--", *(f"results/{STUDY}/{file}" for file in FILES))
    said = done.stdout + done.stderr
    jobs = re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)
    return said, {rule: int(number) for rule, number in jobs if rule != "total"}


def add(clone, file, line):
    """Append a line to a file, and date it later than all results."""
    path = clone.folder / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    os.utime(path)


def other_code(clone, file, name):
    """Bind one of a module's names to itself: other code, which does the same."""
    add(clone, file, f"{name} = {name}")


def record(clone, output):
    path = clone.folder / f"results/{STUDY}/code/records/{output}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_comments_repeat_nothing(made):
    for file in (DIFFERENCE, MERGE, PLAN, "scripts/merge.py", "scripts/plan.py", "scripts/diff.py"):
        add(made, file, "# Only a comment.")
    said, jobs = run(made, dry=True)
    assert jobs == {} and "the code has changed" not in said


def test_a_change_repeats_what_is_quick(made):
    """Of what takes long, a plan with a threshold is made of the differences."""
    other_code(made, DIFFERENCE, "shard_differences")
    said, jobs = run(made, dry=True)
    assert jobs == AGAIN
    (sentence,) = re.findall(r"^.*the code has changed.*$", said, re.MULTILINE)
    assert sentence.startswith("plan: the code has changed since 1 result of it was made ")
    assert "(aoe.merging.difference.shard_differences)" in sentence and sentence.endswith(": 1 plan.")


def test_what_takes_long_is_kept_and_can_be_accepted(made):
    shard = next((made.folder / f"results/{STUDY}/merged/r1t").glob("*.safetensors"))
    before, noted = shard.stat(), record(made, f"merged/r1t/{shard.name}")
    other_code(made, MERGE, "Merge")
    said, jobs = run(made)
    assert jobs == {} and shard.stat().st_mtime_ns == before.st_mtime_ns
    assert "merge: the code has changed since 5 results of it were made (aoe.merging.merge.Merge); kept" in said
    assert "accept_code_changes=redo`: 5 merge, 1 complete." in said
    assert "accepted" in run(made, "accept_code_changes=keep", dry=True)[0]
    assert record(made, f"merged/r1t/{shard.name}") == noted, "a dry run changes nothing"
    run(made, "accept_code_changes=keep")
    said, jobs = run(made)
    assert jobs == {} and "the code has changed" not in said
    assert record(made, f"merged/r1t/{shard.name}")["code"] == noted["code"], "who made it stays known"
    other_code(made, MERGE, "Merge")
    assert "merge: the code has changed since 5 results" in run(made, dry=True)[0], "accepted, but not for ever"


def test_results_without_a_record_count_as_made_by_the_present_code(made):
    """Those of a release that noted nothing, neither here nor in Snakemake's own records."""
    for path in (made.folder / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            noted = json.loads(path.read_text(encoding="utf-8"))
            noted["params"] = [text for text in noted["params"] if not re.fullmatch(r"'(code )?[0-9a-f]{16}'", text)]
            path.write_text(json.dumps(noted), encoding="utf-8")
    records = made.folder / f"results/{STUDY}/code"
    records.rename(made.folder / "elsewhere")
    said, jobs = run(made)
    assert set(jobs) >= {"verify_input", "diff", "figure2"} and not set(jobs) & {"plan", "merge", "complete"}
    assert (records / "records/merged/r1t/recipe.json.json").exists()
    said, jobs = run(made, dry=True)
    assert jobs == {} and "the code has changed" not in said
    other_code(made, MERGE, "Merge")
    assert "merge: the code has changed since 5 results" in run(made, dry=True)[0]
    assert run(made, "accept_code_changes=redo", dry=True)[1] == {"merge": 5, "complete": 1}


def test_what_takes_long_is_made_again_if_the_user_says_so(made, tmp_path):
    copy = made.copy(tmp_path / "copy")
    run(copy)  # files that were copied are verified anew
    folder = copy.folder / f"results/{STUDY}"
    shard = next((folder / "merged/r1t").glob("*.safetensors"))
    files = [shard, folder / "plans/threshold-8.json", folder / "plans/threshold-0.json"]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    other_code(copy, MERGE, "Merge")
    other_code(copy, DIFFERENCE, "shard_differences")
    said, jobs = run(copy, "accept_code_changes=redo", dry=True)
    # behind differences that are made anew, the plan has its turn in the same command's second plan
    assert jobs == AGAIN | {"merge": 5, "complete": 1} and "made again" in said
    run(copy, "accept_code_changes=redo")
    after = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    assert [old[0] == new[0] for old, new in zip(before, after, strict=True)] == [False, False, True]
    assert [old[1] == new[1] for old, new in zip(before, after, strict=True)] == [True, True, True]
    for config in ([], ["accept_code_changes=redo"]):
        said, jobs = run(copy, *config, dry=True)
        assert jobs == {} and "the code has changed" not in said
    other_code(copy, MERGE, "Merge")
    assert run(copy, "accept_code_changes=redo", dry=True)[1] == {"merge": 5, "complete": 1}, "a second time, too"


def test_a_forced_run_ends(made):
    """What is forced is made anew by every call: the command must not call itself again."""
    said = made.snakemake(
        "--config", f"study={STUDY}", "--forcerun", "diff", "--", f"results/{STUDY}/differences.parquet"
    )
    assert said.stderr.count("Finished jobid: 0 ") <= 1
    assert "now for what else there is to do" not in said.stdout + said.stderr
