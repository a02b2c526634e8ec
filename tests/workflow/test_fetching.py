"""Models that are fetched: locked, outlined, downloaded, verified and merged, from a Hub on loopback."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.clones import SMALL
from support.hub import Fault

pytestmark = pytest.mark.workflow
MODELS = ("v3-0324", "r1", "r1-0528")


@pytest.fixture
def study(clone, hub):
    """A study whose models are repositories of the hub, not locked yet; returns what changes it further."""
    for model in MODELS:
        hub.add_folder(f"mini/{model}", clone.folder / "resources/mini" / model)

    def write(**changes):
        models = {model: {"label": model, "source": f"hf://mini/{model}"} for model in MODELS}
        clone.study("fetched", **{**SMALL, "lock": "fetched.lock.json", "models": models, **changes})

    write()
    return write


def call(clone, *words, check=True):
    return clone.snakemake("--config", "study=fetched", "--", *words, check=check)


def lock(clone):
    call(clone, "lock")
    shutil.copy(clone.folder / "results/fetched/lock.json", clone.folder / "fetched.lock.json")
    return json.loads((clone.folder / "fetched.lock.json").read_text(encoding="utf-8"))["models"]


def folder_of(clone, locked, model):
    return clone.folder / "inputs/mini" / model / locked[model]["commit"][:12]


def transfers(hub):
    """The requests for files, on the Hub and its storage."""
    return [path for _, _, path, _ in hub.requests if "/resolve/" in path or "signature" in path]


def said(done):
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_study_from_the_hub(clone, hub, study):
    locked = lock(clone)
    assert locked["r1"]["repo"] == "mini/r1"
    assert "git" in locked["r1"]["files"]["config.json"]
    call(clone, "fetch")
    for model in MODELS:
        folder = folder_of(clone, locked, model)
        for file in (clone.folder / "resources/mini" / model).iterdir():
            assert (folder / file.name).read_bytes() == file.read_bytes()
        assert not list(folder.glob("*.partial"))
    asked = len(transfers(hub))
    call(clone, "verify", "results/fetched/merged/r1t/recipe.json")
    recipe = json.loads((clone.folder / "results/fetched/merged/r1t/recipe.json").read_text(encoding="utf-8"))
    assert recipe["parents"]["r1"]["revision"] == f"mini/r1@{locked['r1']['commit']}"
    again = call(clone, "fetch", "verify", "results/fetched/merged/r1t/recipe.json")
    assert "Nothing to be done" in again.stderr
    assert len(transfers(hub)) == asked  # nothing of it needs the network
    # a lost file is fetched again, an altered one is found; what was built on the same revision stays
    folder = folder_of(clone, locked, "r1")
    (folder / "model-00002-of-000005.safetensors").unlink()
    merged = clone.folder / "results/fetched/merged/r1t/model-00002-of-000005.safetensors"
    built = merged.stat().st_mtime_ns
    call(clone, "verify", "results/fetched/merged/r1t/recipe.json")
    assert len(transfers(hub)) == asked + 3  # head, and get by way of a redirect
    assert merged.stat().st_mtime_ns == built
    shard = folder / "model-00003-of-000005.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    text = said(call(clone, "verify", check=False))
    assert "model-00003-of-000005.safetensors has the SHA-256" in text
    shard.unlink()
    call(clone, "verify", "results/fetched/merged/r1t/recipe.json")
    assert merged.stat().st_mtime_ns == built


def test_a_study_that_says_what_to_expect_needs_no_lock_to_be_planned(clone, hub, study):
    expected = {"config": "resources/mini/r1/config.json", "shards": 5}
    models = {m: {"label": m, "source": f"hf://mini/{m}", "expected": expected} for m in MODELS}
    study(models=models, lock="locks/fetched.lock.json")
    lock = clone.folder / "locks/fetched.lock.json"
    target = "results/fetched/merged/r1t/recipe.json"
    planned = said(clone.snakemake("--dry-run", "--config", "study=fetched", "--", target))
    costs = said(call(clone, "cost"))
    assert not hub.requests and not lock.exists()  # nobody was asked
    assert "download of r1 " in costs and "jobs of download" in costs
    done = said(call(clone, target))
    assert "locks/fetched.lock.json does not exist yet: locking what the study's sources have now." in done
    locked = json.loads(lock.read_text(encoding="utf-8"))["models"]
    for model, fetched in (("v3-0324", 5), ("r1", 4)):  # of R1 only what holds routed experts
        files = list(folder_of(clone, locked, model).glob("*.safetensors"))
        assert len(files) == fetched
        for file in files:
            assert file.read_bytes() == (clone.folder / "resources/mini" / model / file.name).read_bytes()
    shards = r"^merge +5$"
    assert re.search(shards, planned, re.MULTILINE) and re.search(shards, done, re.MULTILINE)
    before = lock.read_bytes()
    assert "Nothing to be done" in said(call(clone, target)) and lock.read_bytes() == before
    # a lock that is broken is no reason to write another
    lock.write_text("{", encoding="utf-8")
    broken = said(call(clone, target, check=False))
    assert "is broken" in broken and lock.read_text(encoding="utf-8") == "{"


def test_only_what_a_recipe_needs_is_fetched(clone, hub, study):
    part = {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"groups": ["routed_experts"], "layers": [1]}}
    study(variants={"part": {**part, "publish": True}})
    locked = lock(clone)
    call(clone, "results/fetched/merged/part/recipe.json")
    shards = sorted(path.name[6:11] for path in folder_of(clone, locked, "r1").glob("*.safetensors"))
    holding = [
        name[6:11]
        for name, facts in locked["r1"]["files"].items()
        if 1 in facts.get("holds", {}).get("routed_experts", [])
    ]
    assert shards == sorted(holding)
    assert 0 < len(shards) < 5
    # the same bytes as from the whole
    clone.study("whole", **{**SMALL, "variants": {"part": {**part, "publish": True}}})
    clone.snakemake("--config", "study=whole", "--", "results/whole/merged/part/recipe.json")
    for file in (clone.folder / "results/whole/merged/part").glob("*.safetensors"):
        assert (clone.folder / "results/fetched/merged/part" / file.name).read_bytes() == file.read_bytes()


def test_parents_that_do_not_fit_end_before_their_weights(clone, hub, study):
    files = hub.repos["model", "mini/r1"].commits[hub.repos["model", "mini/r1"].refs["main"]]
    index = json.loads(files["model.safetensors.index.json"].read_text(encoding="utf-8"))
    del index["weight_map"]["model.norm.weight"]
    hub.add("mini/r1", {**files, "model.safetensors.index.json": json.dumps(index).encode()})
    lock(clone)
    text = said(call(clone, "fetch", check=False))
    assert "r1 lacks tensor model.norm.weight" in text
    found = [path for path in (clone.folder / "inputs").rglob("*.safetensors") if path.parent.name != ".outline"]
    assert not found


def test_a_moved_branch_and_a_file_uploaded_anew(clone, hub, study):
    locked = lock(clone)
    repo = hub.repos["model", "mini/r1"]
    old = repo.refs["main"]
    files = repo.commits[old]
    moved = hub.commit(repo, {**files, "generation_config.json": b"{}"})
    # the locked commit is read, wherever the branch points
    call(clone, "results/fetched/downloaded/r1/generation_config.json.json")
    folder = folder_of(clone, locked, "r1")
    assert (folder / "generation_config.json").read_bytes() == files["generation_config.json"].read_bytes()
    text = said(call(clone, "lock"))
    assert "Not pinned by the study, but by this lock: mini/v3-0324@main is" in text
    assert f"mini/r1@main is {moved}" in text
    assert f"r1: mini/r1 has moved from the commit {old} to {moved}." in text
    assert "r1: generation_config.json has changed (125 bytes, 2 now)." in text
    # another file under the locked commit
    repo.commits[old] = {**files, "tokenizer_config.json": b"{}"}
    text = said(call(clone, "results/fetched/downloaded/r1/tokenizer_config.json.json", check=False))
    assert "tokenizer_config.json of mini/r1 was uploaded anew under the locked commit" in text
    # a commit that is gone
    del repo.commits[old]
    text = said(call(clone, "results/fetched/downloaded/r1/tokenizer.json.json", check=False))
    assert "The repository mini/r1 has no revision" in text


def test_a_gated_repository(clone, hub, study, monkeypatch):
    hub.repos["model", "mini/r1"].gated = True
    text = said(call(clone, "lock", check=False))
    assert f"The repository mini/r1 is gated: ask for access at {hub.url}/mini/r1, then set HF_TOKEN" in text
    monkeypatch.setenv("HF_TOKEN", hub.token)
    locked = lock(clone)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "study=fetched", "--", "verify"],
        cwd=clone.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    commands = set()
    while process.poll() is None:
        commands.add(subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, encoding="utf-8").stdout)
    assert process.returncode == 0
    assert any("download" in command for command in commands)
    assert not any(hub.token in command for command in commands)
    assert hub.token not in process.stdout.read()
    assert (folder_of(clone, locked, "r1") / "config.json").exists()
    for path in filter(Path.is_file, clone.folder.rglob("*")):
        assert hub.token.encode() not in path.read_bytes(), path
        assert path.suffix != ".log" or "signature" not in path.read_text(encoding="utf-8"), path
    # the token goes to the Hub, never to the storage
    asked = [(host, "Authorization" in headers or "authorization" in headers) for _, host, _, headers in hub.requests]
    assert any(sent for host, sent in asked if hub.url.endswith(host))
    assert not any(sent for host, sent in asked if hub.storage_url.endswith(host))


def test_a_repository_that_is_not_there(clone, hub, study):
    models = {model: {"label": model, "source": f"hf://mini/{model}"} for model in ("v3-0324", "r1-0528")}
    study(models={**models, "r1": {"label": "r1", "source": "hf://mini/r7"}})
    assert "There is no repository mini/r7" in said(call(clone, "lock", check=False))


def test_a_killed_run_goes_on(clone, hub, study):
    locked = lock(clone)
    shard = "model-00001-of-000005.safetensors"
    call(clone, "results/fetched/outline.json")
    repo = hub.repos["model", "mini/r1"]
    repo.faults = [Fault("storage", stall=30) for _ in range(20)]
    target = f"results/fetched/downloaded/r1/{shard}.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "study=fetched", "--", target],
        cwd=clone.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = folder_of(clone, locked, "r1")
    while not [path for path in folder.glob(f"{shard}.*.partial") if path.stat().st_size] and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, 9)
    process.wait()
    (partial,) = folder.glob(f"{shard}.*.partial")
    begun = partial.stat().st_size
    assert 0 < begun < locked["r1"]["files"][shard]["size"]
    repo.faults, hub.requests[:] = [], []
    clone.snakemake("--config", "study=fetched", "--nolock", "--", target)
    assert f"bytes={begun}-" in [headers.get("Range", headers.get("range")) for *_, headers in hub.requests]
    assert (folder / shard).read_bytes() == (clone.folder / "resources/mini/r1" / shard).read_bytes()


def test_no_more_than_the_configured_number_are_fetched_at_once(clone, hub, study):
    locked = lock(clone)
    call(clone, "results/fetched/outline.json")
    hub.repos["model", "mini/r1"].faults = [Fault("storage", slow=0.1) for _ in range(5)]
    hub.most_at_once = 0
    records = [f"results/fetched/downloaded/r1/{file}.json" for file in locked["r1"]["files"] if "safetensors" in file]
    clone.snakemake("--cores", "8", "--config", "study=fetched", "downloads=2", "--", *records)
    assert hub.most_at_once == 2


def test_too_little_room(clone, hub, study):
    lock(clone)
    path = clone.folder / "fetched.lock.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["models"]["r1"]["files"]["model-00001-of-000005.safetensors"]["size"] = 10**15
    path.write_text(json.dumps(content), encoding="utf-8")
    hub.requests.clear()
    text = said(call(clone, "fetch", check=False))
    assert "What this run fetches needs 1,000,0" in text
    assert not hub.requests


def test_models_from_a_folder_and_a_dataset(clone, hub, study):
    hub.add("someone/questions", {"data/test.jsonl": b'{"question": 1}\n', "README.md": b"#"}, kind="dataset")
    models = {
        "v3-0324": {"label": "V3", "path": "resources/mini/v3-0324"},
        "r1": {"label": "R1", "source": "file:resources/mini/r1"},
        "r1-0528": {"label": "R1-0528", "source": "hf://mini/r1-0528", "path": "fetched here"},
    }
    dataset = {"source": "hf://datasets/someone/questions", "files": ["data/*"]}
    study(models=models, datasets={"questions": dataset})
    lock(clone)
    call(clone, "verify")
    content = json.loads((clone.folder / "fetched.lock.json").read_text(encoding="utf-8"))
    assert list(content["datasets"]["questions"]["files"]) == ["data/test.jsonl"]
    (found,) = (clone.folder / "inputs/someone/questions").rglob("test.jsonl")
    assert found.read_bytes() == b'{"question": 1}\n'
    (shard,) = (clone.folder / "inputs/r1").glob("*/model-00001-of-000005.safetensors")
    assert shard.read_bytes() == (clone.folder / "resources/mini/r1" / shard.name).read_bytes()
    assert (clone.folder / "fetched here/config.json").exists()


QUESTION = {"question_id": 81, "category": "writing", "turns": ["1+2=?"]}


@pytest.fixture
def mt_bench(hub):
    """MT-Bench as it is published, but for its number of questions: a Space, and files of the web elsewhere."""
    prompts = [
        {"name": name, "system_prompt": "judge", "prompt_template": "{question} {answer}"}
        for name in ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    ]
    space = hub.add("lmsys/mt-bench", {"data/mt_bench/question.jsonl": _lines(QUESTION), "app.py": b""}, kind="space")
    reference = {"question_id": 81, "choices": [{"turns": ["3"]}]}
    data = {"judge_prompts.jsonl": _lines(*prompts), "mt_bench/reference_answer/gpt-4.jsonl": _lines(reference)}
    other = hub.add("lm-sys/FastChat", data)
    return {
        "sources": [
            {
                "source": f"hf://spaces/lmsys/mt-bench@{space.refs['main']}",
                "files": ["data/mt_bench/question.jsonl"],
            },
            {"source": f"{hub.url}/lm-sys/FastChat/resolve/{other.refs['main']}/", "files": list(data)},
        ],
        "expected": {"data/mt_bench/question.jsonl": 90, **dict.fromkeys(data, 90)},
    }


def _lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


ASKING_MT_BENCH = {
    "benchmarks": {"mt_bench": {"dataset": "mt", "seed": 1, "max_tokens": 256}},
    "judge": {"model": "v3-0324", "max_tokens": 256},
}


def ask_mt_bench(study, dataset):
    scores = {"intelligence": ["mt_bench"], "reference": "r1", "resamples": 100, "seed": 1}
    expected = {"config": "resources/mini/r1/config.json", "shards": 5}
    models = {m: {"label": m, "source": f"hf://mini/{m}", "expected": expected} for m in MODELS}
    study(models=models, datasets={"mt": dataset}, scores=scores, **ASKING_MT_BENCH)


def test_a_dataset_of_several_sources(clone, hub, study, mt_bench):
    ask_mt_bench(study, mt_bench)
    said(call(clone, "results/fetched/questions.json"))  # locks, fetches, verifies, reads
    entry = json.loads((clone.folder / "fetched.lock.json").read_text(encoding="utf-8"))["datasets"]["mt"]
    assert {facts["from"].split("/")[0] for facts in entry["files"].values()} == {"hf:", "http:"}
    (folder,) = (clone.folder / "inputs/mt").iterdir()
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.jsonl")} == set(mt_bench["expected"])
    assert json.loads((clone.folder / "results/fetched/questions.json").read_text(encoding="utf-8")) == {"mt_bench": 1}
    answers = "results/fetched/answers/r1/mt_bench.eval"
    planned = said(clone.snakemake("--dry-run", "--config", "study=fetched", "--", answers))
    assert re.search(r"^answer +1$", planned, re.MULTILINE)
    assert not re.search(r"^questions ", planned, re.MULTILINE)
    other = json.loads(json.dumps(mt_bench).replace("FastChat", "Other"))
    ask_mt_bench(study, other)
    text = said(clone.snakemake("--dry-run", "--config", "study=fetched", check=False))
    assert "study's source of mt is http" in text and "lock anew" in text


def test_what_the_judge_will_miss_ends_the_run_before_an_answer(clone, hub, study, mt_bench):
    repo = hub.repos["model", "lm-sys/FastChat"]
    repo.commits[repo.refs["main"]]["judge_prompts.jsonl"] = _lines({"name": "single-v1", "system_prompt": "j"})
    ask_mt_bench(study, mt_bench)
    text = said(call(clone, "results/fetched/answers/r1/mt_bench.eval", check=False))
    assert "mt_bench cannot be asked with the dataset mt: " in text
    assert "judge_prompts.jsonl: record 1 has no field 'prompt_template'" in text
    assert not (clone.folder / "results/fetched/logs/answer").exists()


def test_nothing_is_locked_of_incomplete_inputs(clone, hub, study, mt_bench):
    """The patterns that a study had of MT-Bench: two of three matched nothing, and nobody was told."""
    source = mt_bench["sources"][0]["source"]
    ask_mt_bench(study, {"source": source, "files": ["*/mt_bench/question.jsonl", "*/judge_prompts.jsonl"]})
    text = said(call(clone, "lock", check=False))
    assert "datasets.mt: the pattern '*/judge_prompts.jsonl' matches no file of lmsys/mt-bench at" in text
    assert not (clone.folder / "results/fetched/lock.json").exists()
    hub.repos["space", "lmsys/mt-bench"].gated = True
    ask_mt_bench(study, mt_bench)
    text = said(call(clone, "results/fetched/questions.json", check=False))
    assert f"mt-bench is gated: ask for access at {hub.url}/spaces/lmsys/mt-bench, then set HF_TOKEN" in text
    assert not (clone.folder / "fetched.lock.json").exists()


def test_a_stall_is_dropped_after_the_configured_seconds(clone, hub, study):
    lock(clone)
    call(clone, "results/fetched/outline.json")
    hub.repos["model", "mini/r1"].faults = [Fault("storage", stall=100)]
    record = "results/fetched/downloaded/r1/model-00001-of-000005.safetensors.json"
    begun = time.monotonic()
    clone.snakemake("--config", "study=fetched", "stall_seconds=2", "--", record)
    assert time.monotonic() - begun < 60
    hub.requests.clear()
    assert "Nothing to be done" in clone.snakemake("--config", "study=fetched", "stall_seconds=9", "--", record).stderr
