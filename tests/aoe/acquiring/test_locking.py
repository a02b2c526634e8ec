"""A lock is made only of what is complete: every pattern and every expected file is there, and can be read."""

import json

import pytest
from aoe import AoeError
from aoe.acquiring.expected import expected_lock
from aoe.acquiring.fetching import fetch, lock_all
from aoe.acquiring.lock import format_lock, read_lock, resolved
from aoe.acquiring.sources import open_source
from aoe.studies.study import check_schema, read_study
from launcher.schemas import read_schema
from support.clones import ROOT

SCHEMA = read_schema("lock")


def lock(kind="datasets", expected=None, **parts):
    """The Locked entry of sources (source -> files)."""
    sources = [{"source": source, "files": files} for source, files in parts.pop("sources").items()]
    (entry,) = lock_all({"it": {"kind": kind, "sources": sources, "expected": expected}})
    return entry


@pytest.fixture
def mt_bench(hub):
    """The sources of MT-Bench as they are: questions in a Space, the rest in a repository elsewhere."""
    space = hub.add("lmsys/mt-bench", {"data/mt_bench/question.jsonl": b"{}\n", "app.py": b""}, kind="space")
    data = {"data/judge_prompts.jsonl": b"[]\n", "data/mt_bench/reference_answer/gpt-4.jsonl": b"[1]\n"}
    other = hub.add("lm-sys/FastChat", data)
    return {
        f"hf://spaces/lmsys/mt-bench@{space.refs['main']}": ["data/mt_bench/question.jsonl"],
        f"{hub.url}/lm-sys/FastChat/resolve/{other.refs['main']}/data/": [
            "judge_prompts.jsonl",
            "mt_bench/reference_answer/gpt-4.jsonl",
        ],
    }


def test_several_sources_are_one_dataset(hub, mt_bench, tmp_path):
    locked = lock(sources=mt_bench)
    assert list(locked.files) == [file for files in mt_bench.values() for file in files]
    (tmp_path / "lock.json").write_text(format_lock([locked]), encoding="utf-8")
    read = read_lock(
        tmp_path / "lock.json",
        {"models": [], "datasets": ["it"]},
        lambda content: check_schema({"models": {}, **content}, SCHEMA, ""),
    )
    assert read == {"it": locked}
    for file, facts in locked.files.items():
        fetch(open_source(facts["from"]), file, facts, tmp_path / "it" / file)
    assert (tmp_path / "it/mt_bench/reference_answer/gpt-4.jsonl").read_bytes() == b"[1]\n"


def test_two_files_of_one_name_are_refused(hub, mt_bench):
    web = next(source for source in mt_bench if source.startswith("http"))
    sources = {web: ["judge_prompts.jsonl"], f"{web}judge_prompts.jsonl": ["*"]}
    with pytest.raises(AoeError, match=r"datasets\.it: two of its sources have a file judge_prompts\.jsonl"):
        lock(sources=sources)


@pytest.mark.parametrize("pattern", ["*/judge_prompts.jsonl", "question.jsonl"])
def test_a_pattern_that_matches_nothing_ends_the_locking(mt_bench, pattern):
    """As it was with MT-Bench: one of three patterns matched, and the judge's prompts were missed after the answers."""
    (space, files), _ = mt_bench.items()
    with pytest.raises(
        AoeError, match=rf"datasets\.it: the pattern '{pattern[0]}.*' matches no file of lmsys/mt-bench"
    ):
        lock(sources={space: [*files, pattern]})


def test_an_expected_file_that_is_not_there_ends_the_locking(mt_bench):
    (space, files), _ = mt_bench.items()
    with pytest.raises(AoeError, match=r"datasets\.it: the study expects the file data/test\.jsonl, which is not"):
        lock(sources={space: files}, expected={"data/test.jsonl": 10})
    assert lock(sources={space: files}, expected={files[0]: 10}).files


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_a_gate_is_found_while_locking(hub, kind, monkeypatch):
    hub.add("o/n", {"config.json": b"{}", "data.csv": b"a\n1\n"}, kind=kind.removesuffix("s"), gated=True)
    source = "hf://o/n" if kind == "models" else "hf://datasets/o/n"
    with pytest.raises(AoeError, match=r"o/n is gated: ask for access at .*/o/n, then set HF_TOKEN"):
        lock(kind, sources={source: ["*"]})
    assert hub.requests[0][2].startswith("/api/")  # the listing was public
    if kind == "datasets":
        monkeypatch.setenv("HF_TOKEN", hub.token)
        assert len(lock(kind, sources={source: ["*"]}).files) == 2


def test_a_model_has_the_shards_and_the_shape_that_are_expected(hub, tmp_path):
    hub.add_folder("mini/r1", ROOT / "resources/mini/r1")
    path, sources = tmp_path / "config.json", {"hf://mini/r1": None}
    config = json.loads((ROOT / "resources/mini/r1/config.json").read_text(encoding="utf-8"))

    def locked_as(shards, **changes):
        path.write_text(json.dumps({**config, **changes}), encoding="utf-8")
        return lock("models", {"config": str(path), "shards": shards}, sources=sources)

    assert len(locked_as(5).shards) == 5
    with pytest.raises(AoeError, match=r"models\.it: the study expects 3 shards, mini/r1@[0-9a-f]{40} has 5"):
        locked_as(3)
    shape = r"models\.it: its config\.json is of another shape than .*, which the study expects: "
    with pytest.raises(AoeError, match=rf"{shape}model\.layers\.5.* is missing instead of"):
        locked_as(5, num_hidden_layers=config["num_hidden_layers"] + 1)
    with pytest.raises(
        AoeError, match=rf"{shape}model\.embed_tokens\.weight is BF16 \[\d+, \d+\] instead of BF16 \[7,"
    ):
        locked_as(5, vocab_size=7)


def test_branches_are_said_to_be_locked_as_commits(hub, family):
    repo = hub.add_folder("o/v3", family["v3"].directory)
    commit = repo.refs["main"]
    branch, pinned = (lock("models", sources={source: None}) for source in ("hf://o/v3@main", f"hf://o/v3@{commit}"))
    assert resolved([branch, pinned]) == f"Not pinned by the study, but by this lock: o/v3@main is {commit}."
    assert resolved([pinned]) is None


# of studies


@pytest.fixture
def study(tmp_path):
    """Builds a study whose only dataset is as given."""
    schema = read_schema("study")

    def build(dataset):
        content = {
            "title": "T",
            "lock": str(tmp_path / "lock.json"),
            "models": {"m": {"label": "M", "path": "m"}},
            "datasets": {"it": dataset},
            "audits": {"a": {"model": "m", "parents": ["n"]}},
        }
        content["models"]["n"] = {"label": "N", "path": "n"}
        (tmp_path / "s.yaml").write_text(json.dumps(content), encoding="utf-8")
        return read_study("s", tmp_path, schema)

    return build


def test_a_lock_of_other_sources_is_refused(hub, mt_bench, study):
    locked, parts = lock(sources=mt_bench), [{"source": s, "files": f} for s, f in mt_bench.items()]
    folder = study({"sources": parts}).directory("it", locked, "inputs")
    assert folder == f"inputs/it/{locked.short_revision}"
    other = [parts[0], {**parts[1], "source": parts[1]["source"].replace("FastChat", "Other")}]
    moved = [{**parts[0], "source": f"hf://spaces/lmsys/mt-bench@{'0' * 40}"}, parts[1]]
    one = {"source": f"{parts[1]['source']}judge_prompts.jsonl"}
    for wrong in ({"sources": other}, {"sources": moved}, {"source": "hf://spaces/lmsys/mt-bench"}):
        with pytest.raises(AoeError, match=r"study's source of it is .*, but the lock has .*; lock anew"):
            study(wrong).directory("it", locked, "inputs")
    single = lock(sources={one["source"]: ["*"]})
    assert study(one).directory("it", single, "inputs") == f"inputs/it/{single.short_revision}"


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ({"sources": [{"source": "hf://spaces/o/n@main"}]}, "it: o/n, one of its `sources`, needs a commit instead of"),
        ({"sources": [{"source": "file:x"}], "source": "file:y"}, "it has `sources`, each with its own `files`"),
        ({"sources": [{"source": "file:x"}], "files": ["*"]}, "it has `sources`, each with its own `files`"),
        ({"sources": []}, "at datasets.it.sources"),
        ({"sources": [{"files": ["a"]}]}, "'source' is a required property"),
        ({"files": ["*"]}, "neither where it lies"),
    ],
)
def test_sources_that_cannot_be_meant_are_refused(study, dataset, sentence):
    with pytest.raises(AoeError, match=sentence):
        study(dataset)


def test_what_is_expected_of_each_source_is_planned_with(mt_bench, study):
    parts = [{"source": source, "files": files} for source, files in mt_bench.items()]
    expected = {file: 100 for part in parts for file in part["files"]}
    planned = study({"sources": parts, "expected": expected})
    planned.models.clear()
    (entry,) = expected_lock(planned).values()
    assert {file: facts["from"] for file, facts in entry.files.items()} == {
        file: facts["from"] for file, facts in lock(sources=mt_bench).files.items()
    }
    assert planned.directory("it", entry, "inputs").startswith("inputs/it/")
    planned.datasets["it"]["expected"]["other.jsonl"] = 100
    with pytest.raises(AoeError, match=r"expects the file other\.jsonl, which none of its patterns \(`files`\)"):
        expected_lock(planned)


@pytest.mark.parametrize("name", ["paper", "qwen3", "qwen3-fp8", "audit"])
def test_shipped_studies_name_commits(name):
    """But for TNG's models, of which no public source names one."""
    schema = read_schema("study")
    shipped = read_study(name, ROOT / "config/studies", schema)
    sources = [(input_, open_source(part["source"])) for input_, parts in shipped.sources.items() for part in parts]
    loose = {input_ for input_, source in sources if source.repo and not source.commit}
    assert loose <= {"r1t-published", "r1t2-published"}
    assert all("/587d5cfa1609a43d192cedb8441cac3c17db105d/" in str(s) for _, s in sources if not s.repo)
