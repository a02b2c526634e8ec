"""Access: why a study's models and datasets cannot be had is said in a sentence, before anything is fetched."""

import pytest
from aoe import AoeError
from aoe.acquiring.access import check_access

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"#"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_what_can_be_had_is_asked_for_by_its_listing_and_a_byte_a_pattern(hub):
    repo = hub.add("o/n", FILES)
    check_access("r1", "models", "hf://o/n@main")
    asked = [(path.split("/")[1], headers.get("Range", headers.get("range"))) for _, _, path, headers in hub.requests]
    assert asked == [("api", None), ("o", "bytes=0-0"), ("o", "bytes=0-0")]
    hub.commit(repo, {**FILES, "new": b""})
    check_access("r1", "models", "hf://o/n@main", commit=next(iter(repo.commits)))
    assert any(next(iter(repo.commits)) in path for _, _, path, _ in hub.requests[3:])


@pytest.mark.parametrize("token", [None, "hf_somebody_elses"])
@pytest.mark.parametrize(("kind", "page"), [("models", "o/n"), ("datasets", "datasets/o/n")])
def test_a_gate_is_found_although_everybody_may_list_the_files(hub, monkeypatch, kind, page, token):
    hub.add("o/n", FILES, kind=kind.removesuffix("s"), gated=True)
    source = f"hf://{page}@main"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AoeError, match=f"o/n is gated: ask for access at {hub.url}/{page}, then set HF_TOKEN"):
        check_access("it", kind, source, ["config.json"])
    monkeypatch.setenv("HF_TOKEN", hub.token)
    check_access("it", kind, source, ["config.json"])


@pytest.mark.parametrize(
    ("source", "patterns", "commit", "sentence"),
    [
        ("hf://o/none", None, None, "There is no repository o/none"),
        ("hf://o/n@v9", None, None, "has no revision v9"),
        ("hf://o/n@main", None, COMMIT, f"has no revision {COMMIT}"),
        ("hf://o/n", ["config.json", "*.bin"], None, r"models\.r1: the pattern '\*\.bin' matches no file of o/n"),
        ("hf://o/n", ["empty"], None, None),
    ],
)
def test_what_is_missing_is_named(hub, source, patterns, commit, sentence):
    hub.add("o/n", {**FILES, "empty": b""})
    if sentence is None:
        check_access("r1", "models", source, patterns, commit)
        return
    with pytest.raises(AoeError, match=sentence):
        check_access("r1", "models", source, patterns, commit)


def test_a_folder_is_not_hashed(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jsonl").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("aoe.acquiring.sources.facts_of", None)
    check_access("q", "datasets", f"file:{tmp_path}", ["data/*.jsonl"])
    with pytest.raises(AoeError, match=r"datasets\.q: the pattern 'b' matches no file of the folder"):
        check_access("q", "datasets", f"file:{tmp_path}", ["b"])
    with pytest.raises(AoeError, match="cannot be read"):
        check_access("q", "datasets", f"file:{tmp_path}/none", ["b"])


def test_each_of_several_sources_is_asked(hub):
    hub.add("o/n", {"data/question.jsonl": b"{}"}, kind="space")
    commit = hub.repos["space", "o/n"].refs["main"]
    web = f"{hub.url}/spaces/o/n/resolve/{commit}/data/"
    sources = [
        {"source": f"hf://spaces/o/n@{commit}", "files": ["data/question.jsonl"]},
        {"source": web, "files": ["question.jsonl"]},
        {"source": f"{web}question.jsonl"},
    ]
    check_access("mt", "datasets", sources)
    with pytest.raises(AoeError, match=r"answered HTTP 404 for answers\.jsonl of http"):
        check_access("mt", "datasets", [*sources, {"source": web, "files": ["answers.jsonl"]}])
