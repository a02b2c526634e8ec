"""Sources of the Hub: what of them is the repository, and what the revision."""

import pytest
from aoe import AoeError
from aoe.acquiring.fetching import fetch
from aoe.acquiring.sources import open_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("hf://o/n", "o/n", "main"),
        ("hf://o/n@v1.0", "o/n", "v1.0"),
        ("hf://o/n@v1.0/", "o/n", "v1.0"),
        ("hf://o/n@refs/pr/3", "o/n", "refs/pr/3"),
        ("hf://datasets/o/n@refs/convert/parquet", "o/n", "refs/convert/parquet"),
        ("hf://o/n@release/v1", "o/n", "release/v1"),
        ("hf://o/n@release%2Fv1", "o/n", "release/v1"),
        ("hf://spaces/o/n@a/b/c", "o/n", "a/b/c"),
        ("hf://o/n@mainly/x", "o/n", "mainly/x"),
        ("hf://o/n@x/refs/pr/3", "o/n", "x/refs/pr/3"),
        ("hf://o/n@a@b", "o/n", "a@b"),
        ("hf://o/n@a#b", "o/n", "a#b"),
        ("hf://o/n@50%", "o/n", "50%"),
        ("hf://o/n@한국어", "o/n", "한국어"),
        ("hf://o/n@0123abc", "o/n", "0123abc"),
        (f"hf://o/n@{COMMIT}", "o/n", COMMIT),
        (f"hf://o/n@{COMMIT.upper()}", "o/n", COMMIT),
    ],
)
def test_the_revision_is_all_that_follows_the_first_at_sign(text, repo, revision):
    source = open_source(text)
    assert (source.repo, source.revision, source.asked) == (repo, revision, revision)
    assert source.commit == (COMMIT if revision == COMMIT else None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hf://o/n@", "has no revision after the @"),
        ("hf://o/n@a b", "cannot be a branch or tag"),
        ("hf://o/n@a%20b", "cannot be a branch or tag"),
        ("hf://o/n@v1..2", "cannot be a branch or tag"),
        ("hf://o/n@v1:2", "cannot be a branch or tag"),
        ("hf://o/n@/v1", "cannot be a branch or tag"),
        ("hf://o/n@a//b", "cannot be a branch or tag"),
        ("hf://o/n@main/data", r"nothing can follow the revision main, .* name a dataset's files in `files`"),
        ("hf://o/n@refs/pr/3/data", "nothing can follow the revision refs/pr/3"),
        (f"hf://o/n@{COMMIT}/data", f"nothing can follow the revision {COMMIT}"),
        ("hf://o/n/data", "without a folder or file of the repository"),
        ("hf://n@v1", "no address of a repository"),
    ],
)
def test_what_cannot_be_a_revision_is_refused(text, sentence):
    with pytest.raises(AoeError, match=f"^models.r1 has the source '.*{sentence}"):
        open_source(text, "models.r1")


def test_a_branch_with_a_slash_is_locked_and_fetched(hub, tmp_path):
    repo = hub.add("o/n", {"a.json": b"{}"})
    repo.refs["release/v1"] = repo.refs["main"]
    source = open_source("hf://o/n@release/v1")
    assert source.snapshot().keys() == {"a.json"} and source.commit == repo.refs["main"]
    fetch(source, "a.json", source.snapshot()["a.json"], tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("revision", "hint"),
    [("0123abc", "with all of its 40 digits"), ("v1/data", "the revision as a whole, and no folder")],
)
def test_a_revision_that_is_not_there_is_told_with_a_hint(hub, revision, hint):
    hub.add("o/n", {"a.json": b"{}"})
    with pytest.raises(AoeError, match=f"has no revision {revision} .*{hint}"):
        open_source(f"hf://o/n@{revision}").snapshot()
