"""The crate of a study: all of it that can be told, nothing that must not be, and the public validator accepts it."""

import hashlib
import json
import shutil
import zipfile

import pytest
import yaml
from rocrate.rocrate import ROCrate
from aoe import AoeError
from aoe.document import crate, crate_metadata
from aoe.document.crate import write_crate
from aoe.document.crate_metadata import HUB
from support.crates import PROFILES, issues, save_contexts

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph")  # the validator's
KEY = "hf_" + 17 * "aB"
STUDY = {
    "title": "A tiny study",
    "lock": "config/studies/tiny.lock.json",
    "models": {"v3": {"label": "V3", "path": "models/v3"}, "r1": {"label": "R1", "source": "hf://owner/r1@main"}},
    "datasets": {"questions": {"source": "hf://datasets/owner/questions@main"}},
}
SHARD = {"size": 9, "sha256": "5" * 64, "holds": {"attention": [0]}}
LOCK = {
    "models": {
        "v3": {"files": {"config.json": {"size": 2, "sha256": "1" * 64}, "model.safetensors": SHARD}},
        "r1": {"repo": "owner/r1", "asked": "main", "commit": "c" * 40, "files": {"model.safetensors": SHARD}},
    },
    "datasets": {
        "questions": {
            "repo": "owner/questions",
            "asked": "main",
            "commit": "d" * 40,
            "files": {"all questions.jsonl": {"size": 3, "git": "2" * 40}},
        }
    },
}
CITATION = {"title": "A workflow", "license": "MIT", "authors": [{"name": "Its maintainers"}]}
RECIPE = {"variant": "r1t", "recipe": {"label": "R1T"}, "parents": {"v3": {}, "r1": {}}}
ASKED = {"eval": {"packages": {"inspect_ai": "0.3"}, "revision": {"commit": "abc1234", "dirty": True}}}
# content of the files of a study, by their names
CONTENT = {
    "Snakefile": "rule all:\n",
    "rules/merge.smk": "rule merge:\n",
    "scripts/merge.py": "merge()\n",
    "README.md": "# A workflow\n",
    "requirements.lock": "numpy==2.3.5\n",
    "CITATION.cff": yaml.safe_dump(CITATION),
    "config/config.yaml": "study: tiny\n",
    "config/studies/tiny.yaml": yaml.safe_dump(STUDY),
    "config/studies/tiny.lock.json": json.dumps(LOCK),
    "results/tiny/summary.csv": "variant,right\nr1t,0.5\n",
    "results/tiny/figures/figure 2.svg": "<svg/>",
    "results/tiny/logs/merge.log": "merged\n",
    "results/tiny/audits/r1t/audit.json": json.dumps({"software": {"numpy": "2.3.5", "machine": "x86_64"}}),
    "results/tiny/answers/v3/machine.json": json.dumps({"machine": {"cores": 2}, "software": {"Python": "3.11.7"}}),
    "results/tiny/merged/r1t/recipe.json": json.dumps(RECIPE),
    "results/tiny/merged/r1t/config.json": "{}",
}
LEFT_OUT = {
    ".snakemake/metadata/x": "",
    ".env": "",
    "scripts/__pycache__/merge.pyc": "",
    "models/v3/model.safetensors": "weights",
    "results/tiny/merged/r1t/model.safetensors": "weights",
    "results/tiny/merged/r1t/model-2.safetensors.partial": "wei",
    "results/tiny/answers/r1/unfinished/0/arithmetic.eval": "unfinished",
    "results/tiny/receipts/v3/config.json": "{}",
    "results/tiny/summary.csv.partial": "var",
}
KEYS = {
    "config/hf_token": "whatever",
    "profiles/slurm/server.pem": "whatever",
    "results/tiny/logs/answer.log": f"the first line\nHF_TOKEN={KEY}\n",
    "results/tiny/logs/judge.log": "called with an-odd-kind-of-secret\n",
}
ANSWERS = "results/tiny/answers/r1t/arithmetic.eval"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "workflow"
    for name, content in {**CONTENT, **LEFT_OUT}.items():
        write(folder / name, content)
    write_answers(folder / ANSWERS, ASKED)
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def write_answers(path, header):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as log:
        log.writestr("header.json", json.dumps(header))


def pack(folder, name="crate.zip", **options):
    """(entities by their ids, contents by their names, sentences) of a study's crate."""
    path = folder / "results/tiny" / name
    said = write_crate(path, "tiny", "9.27.1", folder=folder, **options)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        contents = {name: archive.read(name) for name in archive.namelist()}
    graph = json.loads(contents.pop("ro-crate-metadata.json"))["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph)
    return entities, contents, said


def ids(references):
    return [reference["@id"] for reference in (references if isinstance(references, list) else [references])]


def test_every_file_is_there_and_described(folder):
    entities, contents, said = pack(folder)
    assert set(contents) == {*CONTENT, ANSWERS}
    assert said == [f"{len(contents)} files, {len(entities)} entities, 0.0 MB."]
    for name, content in contents.items():
        assert content == (folder / name).read_bytes()
        entity = entities[name.replace(" ", "%20")]
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert entity["contentSize"] == str(len(content))
        assert "/" in entity["encodingFormat"]
    assert set(ids(entities["./"]["hasPart"])) >= {name.replace(" ", "%20") for name in contents}


def test_the_run_is_described(folder):
    entities, _, _ = pack(folder, agent="Ada")
    run = entities["#run"]
    assert ids(run["instrument"]) == ids(entities["./"]["mainEntity"]) == ["Snakefile"]
    assert entities["https://w3id.org/workflowhub/workflow-ro-crate#snakemake"]["version"] == "9.27.1"
    assert entities["Snakefile"]["identifier"] == "abc1234-dirty"
    assert {"config/studies/tiny.yaml", "config/studies/tiny.lock.json", "#models/v3", "#models/r1"} <= {
        *ids(run["object"])
    }
    assert {"results/tiny/summary.csv", ANSWERS, "#results/tiny/merged/r1t"} <= {*ids(run["result"])}
    assert ids(entities["results/tiny/logs/merge.log"]["about"]) == ["#run"]
    assert run["startTime"] <= run["endTime"] == entities["./"]["datePublished"]
    assert (entities["#operator"]["name"], entities["#machine-1"]["description"]) == ("Ada", "cores: 2")
    assert ids(entities["Snakefile"]["softwareRequirements"]) == [
        "pkg:pypi/inspect-ai@0.3",
        "pkg:pypi/numpy@2.3.5",
        "pkg:generic/python@3.11.7",
        "pkg:pypi/snakemake@9.27.1",
    ]


def test_what_a_job_says_of_itself_goes_before_what_inspect_says(folder):
    write(folder / "results/tiny/answers/r1t/machine.json", json.dumps({"commit": "a" * 40}))
    write_answers(folder / "results/tiny/answers/r1/arithmetic.eval", ASKED)
    entities, _, _ = pack(folder)
    assert entities["Snakefile"]["identifier"] == ["a" * 40, "abc1234-dirty"]


def test_weights_are_named_but_not_inside(folder):
    entities, contents, _ = pack(folder)
    assert not any("safetensors" in name for name in contents)
    for place in ("#models/v3/model.safetensors", f"{HUB}/owner/r1/resolve/{'c' * 40}/model.safetensors"):
        assert (entities[place]["contentSize"], entities[place]["sha256"]) == ("9", "5" * 64)
    questions = entities[f"{HUB}/datasets/owner/questions/resolve/{'d' * 40}/all%20questions.jsonl"]
    assert questions["identifier"] == f"gitoid:blob:sha1:{'2' * 40}"
    assert entities["#models/r1"]["version"] == f"owner/r1@{'c' * 40}"
    merged = entities["#results/tiny/merged/r1t"]
    assert ids(merged["isBasedOn"]) == ["#models/v3", "#models/r1"]
    assert entities["#results/tiny/merged/r1t/model.safetensors"]["contentSize"] == str(len("weights"))
    assert len(merged["hasPart"]) == 3


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("hf://spaces/o/n@0123", f"{HUB}/spaces/o/n/resolve/0123/data/a%20b.jsonl"),
        ("hf://o/n@0123", f"{HUB}/o/n/resolve/0123/data/a%20b.jsonl"),
        ("https://host/folder/data/a%20b.jsonl", "https://host/folder/data/a%20b.jsonl"),
        ("file:/somebodys/folder", None),
    ],
)
def test_files_of_several_sources_have_each_its_address(origin, address):
    assert crate_metadata._address(origin, "data/a b.jsonl") == address


def test_what_looks_like_a_key_is_left_out_and_named(folder, monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "an-odd-kind-of-secret")
    for name, content in KEYS.items():
        write(folder / name, content)
    write_answers(folder / "results/tiny/answers/r1/dialogue.eval", {**ASKED, "model_args": {"api_key": KEY}})
    leaking = [*KEYS, "results/tiny/answers/r1/dialogue.eval"]
    entities, contents, said = pack(folder)
    assert set(contents) == {*CONTENT, ANSWERS}
    assert {sentence.split()[0] for sentence in said[1:]} == {*leaking}
    assert all(name in entities["./"]["description"] for name in leaking)
    assert KEY.encode() not in (folder / "results/tiny/crate.zip").read_bytes()


def test_the_same_files_give_the_same_bytes(folder, tmp_path):
    pack(folder)
    pack(folder, "again.zip", without=[folder / "results/tiny/crate.zip"])
    first = (folder / "results/tiny/crate.zip").read_bytes()
    assert (folder / "results/tiny/again.zip").read_bytes() == first
    (folder / "results/tiny/again.zip").unlink()
    pack(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/results/tiny/crate.zip").read_bytes() == first


def test_an_interrupted_crate_leaves_nothing(folder, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(crate, "_put", fail)
    with pytest.raises(KeyboardInterrupt):
        write_crate(folder / "results/tiny/crate.zip", "tiny", "9.27.1", folder=folder)
    assert not list((folder / "results/tiny").glob("crate*"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "results/tiny"), "has no results; run the study 'tiny'"),
        (lambda folder: (folder / "config/studies/tiny.yaml").unlink(), "There is no study 'tiny'"),
        (lambda folder: (folder / "config/studies/tiny.lock.json").unlink(), "cannot be read"),
        (lambda folder: write(folder / "Snakefile", f"KEY = '{KEY}'\n"), "Snakefile holds what looks like a key"),
        (lambda folder: write(folder / ANSWERS, "PK"), "arithmetic.eval is no finished Inspect log"),
        (
            lambda folder: write(folder / "config/studies/tiny.yaml", json.dumps(STUDY | {"lock": "/lock.json"})),
            "lies outside of the workflow",
        ),
    ],
)
def test_what_cannot_be_packed_is_told_in_one_sentence(folder, tmp_path, broken, said):
    broken(folder)
    with pytest.raises(AoeError, match=said) as told:
        write_crate(tmp_path / "crate.zip", "tiny", "9.27.1", folder=folder)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("crate*"))


@pytest.fixture
def contexts(tmp_path):
    return save_contexts(tmp_path / "contexts")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_public_validator_accepts_it(folder, contexts, profile):
    pack(folder)
    assert issues(folder / "results/tiny/crate.zip", profile, contexts) == []


def test_the_public_validator_recommends_little_more(folder, contexts):
    """It asks where the workflow and its maintainers are found, who publishes the crate, whether the models are on the
    Hub, and for software that has a page in the web."""
    pack(folder)
    recommended = "publisher` property", "organization SHOULD have a URL", "Application SHOULD have a url", HUB
    recommended += ("SoftwareApplication id SHOULD be an absolute URI",)
    for said in issues(folder / "results/tiny/crate.zip", PROFILES[-1], contexts, "RECOMMENDED"):
        assert any(words in said for words in recommended), said


def test_the_public_validator_sees_what_is_missing(folder, contexts, tmp_path):
    pack(folder)
    with zipfile.ZipFile(folder / "results/tiny/crate.zip") as archive:
        archive.extractall(tmp_path / "broken")
    (tmp_path / "broken/results/tiny/summary.csv").unlink()
    metadata = tmp_path / "broken/ro-crate-metadata.json"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace('"instrument"', '"location"'), encoding="utf-8")
    found = " ".join(issues(tmp_path / "broken", PROFILES[-1], contexts))
    assert "results/tiny/summary.csv" in found and "instrument" in found


def test_another_program_reads_it(folder):
    entities, _, _ = pack(folder)
    read = ROCrate(folder / "results/tiny/crate.zip")
    assert {entity.id for entity in read.get_entities()} == set(entities)
    assert read.mainEntity.id == "Snakefile"
