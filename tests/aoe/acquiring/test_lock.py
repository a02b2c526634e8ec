"""Locks: what they say, what of a model is needed, what has changed, and what is refused."""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import save_file
from aoe import AoeError
from aoe.acquiring.fetching import lock_source
from aoe.acquiring.lock import (
    Locked,
    belonging,
    changes,
    check_name,
    check_needed,
    compare,
    format_lock,
    holdings,
    names_beside,
    read_lock,
)
from aoe.acquiring.sources import FolderSource, open_source
from aoe.checkpoints.checkpoint import OUTLINE, Checkpoint
from aoe.merging.recipe import read_recipe
from aoe.studies.study import check_schema
from launcher.schemas import read_schema
from support.checkpoints import CONFIG, stored, weights

SCHEMA = read_schema("lock")
ONE, TWO = ({"size": 3, "sha256": digit * 64} for digit in "ab")


def read(path, models):
    return read_lock(path, {"models": models, "datasets": []}, lambda content: check_schema(content, SCHEMA, path))


def test_a_lock_of_a_folder_reads_as_it_was_written(family, tmp_path):
    locked = lock_source("v3", "models", open_source(f"file:{family['v3'].directory}"))
    (tmp_path / "lock.json").write_text(format_lock([locked]), encoding="utf-8")
    assert read(tmp_path / "lock.json", ["v3"]) == {"v3": locked}
    assert locked.revision.startswith("sha256:")
    assert len(locked.shards) == 2


def test_a_lock_of_a_repository_holds_what_the_hub_states(hub, family, tmp_path):
    repo = hub.add_folder("owner/v3", family["v3"].directory)
    locked = lock_source("v3", "models", open_source("hf://owner/v3"))
    assert locked.revision == f"owner/v3@{repo.refs['main']}"
    assert {len(facts["git"]) for facts in locked.files.values() if "git" in facts} == {40}
    (tmp_path / "lock.json").write_text(format_lock([locked]), encoding="utf-8")
    assert read(tmp_path / "lock.json", ["v3"]) == {"v3": locked}


def test_what_shards_hold(family):
    held = holdings(family["v3"])
    first = held["model-00001-of-00002.safetensors"]
    assert first["attention"] == [0]
    assert first["embeddings"] == []
    assert first["routed_experts"] == [1]
    assert held["model-00002-of-00002.safetensors"]["mtp"] == [2]


def test_what_has_no_place_is_locked_all_the_same(tmp_path):
    """A model that is audited may have other names than its parents."""
    tensors = {f"{name}.x": tensor for name, tensor in stored(weights(0)).items()}
    folder = tmp_path / "odd"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert "other" in holdings(Checkpoint(folder))["model.safetensors"]
    told = []
    locked = lock_source("odd", "models", FolderSource(folder), say=told.append)
    assert "other" in locked.files["model.safetensors"]["holds"]
    (sentence,) = told
    assert re.match(r"odd: [\d,]+ tensors have no known place in the architecture deepseek_v3, .* `other`: ", sentence)


def needed(recipe, model="r1", **holds):
    files = {"config.json": ONE} | {f"{name}.safetensors": {**ONE, "holds": held} for name, held in holds.items()}
    recipe = read_recipe("x", {"base": "v3", **recipe}, ["v3", "r1", "r2"])
    return sorted(Path(name).stem for name in Locked(model, "models", files).needed_by(recipe))


SHARDS = {"a": {"attention": [0, 1], "embeddings": []}, "b": {"routed_experts": [1, 2]}, "c": {"lm_head": []}}


@pytest.mark.parametrize(
    ("recipe", "shards"),
    [
        ({"weights": {"r1": 1}}, "abc"),
        ({"weights": {"r1": 1}, "subset": {"groups": ["routed_experts"]}}, "b"),
        ({"weights": {"r1": 1}, "subset": {"groups": ["routed_experts"], "layers": [3]}}, ""),
        ({"weights": {"r1": 1}, "subset": {"layers": ["0-1"]}}, "ab"),
        ({"weights": {"r1": 1}, "subset": {"experts": [0]}}, "b"),
        ({"weights": {"r1": 1}, "subset": {"experts": [0], "layers": [3]}}, ""),
        ({"weights": {"r1": 1}, "subset": {"experts": [0], "groups": ["attention"]}}, ""),
        ({"weights": {"v3": 0.5, "r2": 0.5}}, ""),
        (
            {"weights": {"v3": 0.5, "r1": 0.5}, "threshold": {"delta": 2, "space": "codes"}, "subset": {"layers": [9]}},
            "abc",
        ),
        (
            {
                "weights": {"v3": 1},
                "overrides": [{"subset": {"groups": ["lm_head"]}, "weights": {"r1": 1}}],
            },
            "c",
        ),
        (
            {
                "weights": {"v3": 1},
                "subset": {"groups": ["attention"]},
                "overrides": [{"subset": {"groups": ["lm_head"]}, "weights": {"r1": 1}}],
            },
            "",
        ),
    ],
)
def test_what_a_recipe_needs_of_a_parent(recipe, shards):
    assert needed(recipe, **SHARDS) == sorted([*shards, "config"])
    assert needed(recipe, model="v3", **SHARDS) == ["a", "b", "c", "config"]


def test_what_nothing_reads_is_not_needed():
    files = dict.fromkeys(["README.md", "figures/a.png", "pytorch_model.bin", "x.gguf", ".gitattributes"], ONE)
    files |= {"consolidated.safetensors": ONE, "m.safetensors": {**ONE, "holds": {}}, "tokenizer.json": ONE}
    assert sorted(Locked("r1", "models", files).needed) == ["m.safetensors", "tokenizer.json"]
    assert len(Locked("questions", "datasets", files).needed) == len(files)


def test_what_belongs_to_a_checkpoint_in_folders_of_its_own(tmp_path):
    belongs = ["additional_chat_templates/tool_use.jinja", "code/sub/modeling.py", "speech_tokenizer/config.json"]
    belongs += ["chat_template.jinja", "tokenizer.model", "processor_config.json", "LICENSE"]
    others = ["original/consolidated.00.pth", "original/params.json", "onnx/model.onnx", "onnx/config.json"]
    others += ["figures/a.png", ".cache/b.json", "code/__pycache__/c.py", "checkpoint-5/d.safetensors", "e.gguf"]
    others += ["checkpoint-5/config.json", "unfinished.partial", "deep/model.bin", "deep/below/config.json"]
    assert belonging(belongs + others) - {"unfinished.partial"} == set(belongs)
    for name in belongs + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "folder").mkdir(mode=0)
    (tmp_path / "code/gone.py").symlink_to(tmp_path / "nowhere")
    assert set(names_beside(tmp_path)) == {*belongs, "e.gguf"}


def test_folders_of_a_checkpoint_are_locked_and_needed(hub, family):
    for name in ("additional_chat_templates/tool_use.jinja", "original/model.pth", "original/params.json"):
        path = family["v3"].directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{{ messages }}", encoding="utf-8")
    hub.add_folder("owner/v3", family["v3"].directory)
    for source in (f"file:{family['v3'].directory}", "hf://owner/v3"):
        locked = lock_source("v3", "models", open_source(source))
        assert [name for name in locked.needed if "/" in name] == ["additional_chat_templates/tool_use.jinja"]


def test_changes_are_told_by_their_kind():
    def locked(commit, files, repo="o/n"):
        return Locked("r1", "models", files, repo, "main", commit)

    old = locked("1" * 40, {"a": ONE, "b": ONE})
    assert changes(old, old) == []
    (anew,) = changes(old, locked("1" * 40, {"a": TWO, "b": ONE}))
    assert "a was uploaded anew under the same commit" in anew
    moved, gone, new = changes(old, locked("2" * 40, {"a": ONE, "c": ONE}))
    assert "has moved from the commit 1111" in moved
    assert "b is gone" in gone
    assert "c is new" in new
    (altered,) = changes(Locked("r1", "models", {"a": ONE}), Locked("r1", "models", {"a": TWO}))
    assert "a was altered" in altered
    assert "locked from a folder before, from o/n now" in changes(Locked("r1", "models", {}), locked("1" * 40, {}))[0]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a\\b", "a\nb", ".."])
def test_names_that_lead_out_of_the_folder_are_refused(name, hub, tmp_path):
    with pytest.raises(AoeError, match="does not lie in the model's folder"):
        check_name(name, "It")
    hub.add("bad/repo", {"config.json": b"{}", name: b"x"})
    with pytest.raises(AoeError, match="The repository bad/repo names the file"):
        open_source("hf://bad/repo").snapshot()
    (tmp_path / "lock.json").write_text(json.dumps({"models": {"r1": {"files": {name: ONE}}}}), encoding="utf-8")
    with pytest.raises(AoeError, match=r"The lock file .* names the file"):
        read(tmp_path / "lock.json", ["r1"])


@pytest.mark.parametrize(
    "content", ["{broken", "[]", '{"models": 3}', '{"models": {"r1": {}}}', '{"models": {"r2": {}}}']
)
def test_a_damaged_lock_does_not_hinder_a_new_one(tmp_path, content):
    (tmp_path / "lock.json").write_text(content, encoding="utf-8")
    (line,) = compare(tmp_path / "lock.json", [Locked("r1", "models", {"a": ONE})])
    assert "r1 cannot be compared with the present lock" in line
    assert compare(tmp_path / "none.json", [Locked("r1", "models", {"a": ONE})]) == []


def test_names_that_cannot_be_handled_are_refused_while_locking():
    with pytest.raises(AoeError, match="braces"):
        check_needed(Locked("q", "datasets", {"data/{x}.jsonl": ONE}), "It")
    check_needed(Locked("q", "models", {"config.json": ONE, "figures/{x}.png": ONE}), "It")
    with pytest.raises(AoeError, match="has no files of q"):
        check_needed(Locked("q", "datasets", {}), "It")
    with pytest.raises(AoeError, match="too long"):
        check_name("a/" + "x" * 240, "It")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read"),
        ("{", "is broken"),
        ('{"models": {"a": {}, "a": {}}}', "is broken .the key 'a' is given twice"),
        ("[" * 100_000, "is broken"),
        ("{}", "'models' is a required property"),
        ('{"models": {"r1": {"files": {}}}}', "at models.r1.files"),
        (
            '{"models": {"r1": {"files": {"a": {"size": -1, "sha256": "%s"}}}}}' % ("a" * 64),
            "at models.r1.files.a.size",
        ),
        ('{"models": {"r1": {"files": {"a": {"size": 1, "sha256": "xyz"}}}}}', "at models.r1.files.a.sha256"),
        ('{"models": {"r1": {"files": {"a": {"size": 1}}}}}', "at models.r1.files.a"),
        ('{"models": {"r2": {"files": {"a": {"size": 1, "git": "%s"}}}}}' % ("a" * 40), "does not have the model 'r1'"),
        ('{"models": {"r1": {"repo": "o/n", "files": {"a": {"size": 1, "git": "%s"}}}}}' % ("a" * 40), "'asked' is"),
    ],
)
def test_broken_locks_are_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "lock.json").write_text(content, encoding="utf-8")
    with pytest.raises(AoeError, match=sentence):
        read(tmp_path / "lock.json", ["r1"])


def test_an_index_that_names_a_shard_that_is_not_there(hub, family):
    repo = hub.add_folder("owner/v3", family["v3"].directory)
    del repo.commits[repo.refs["main"]]["model-00002-of-00002.safetensors"]
    with pytest.raises(AoeError, match=r"names the shard model-00002-of-00002\.safetensors, which owner/v3"):
        lock_source("v3", "models", open_source("hf://owner/v3"))


def test_a_model_of_one_shard_is_known_by_its_header(hub, family, tmp_path):
    checkpoint = family["v3"]
    shard = checkpoint.directory / "model-00001-of-00002.safetensors"
    hub.add("owner/one", {"config.json": checkpoint.directory / "config.json", "model.safetensors": shard})
    locked = lock_source("one", "models", open_source("hf://owner/one"))
    assert locked.files["model.safetensors"]["holds"]["attention"] == [0]
    assert not (checkpoint.directory / OUTLINE).exists()  # nothing was written there
