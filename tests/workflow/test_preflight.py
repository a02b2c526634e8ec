"""`snakemake preflight`: all is ready where all is there, and a page that says what is wrong where it is not."""

import functools
import json
import os
import re
import signal
import subprocess
import time

import pytest
from support.browser import Browser, contrast
from support.browser import missing as no_browser
from support.clones import SMALL

pytestmark = pytest.mark.workflow
STAGES = ["lock", "fetch", "verify", "diff", "merge", "audit", "answer", "latency", "judge", "programs", "score"]
STAGES += ["figures", "paper"]


def statuses(text):
    """stage -> what the terminal says of it in the end."""
    return dict(re.findall(rf"^[✓!✗–] ({'|'.join(STAGES)}) +(\S.*)$", text, re.MULTILINE))


def check(clone, study, name):
    return json.loads((clone.folder / f"results/{study}/preflight/{name}.json").read_text(encoding="utf-8"))


def look_at(page, sees):
    """A page as people see it, at both widths, by day and by night."""
    if reason := no_browser():
        pytest.skip(reason)
    with Browser() as browser:
        for width in ("desktop", "phone"):
            for dark in (False, True):
                seen = browser.open(page, width, dark)
                assert seen["overflow"] <= 0 and not seen["errors"], (width, seen)
                assert contrast(seen["ink"], seen["paper"]) > 7
                assert all(sentence in seen["text"] for sentence in sees), seen["text"]
                assert all((page.parent / link).exists() for link in seen["links"]), seen["links"]


@pytest.fixture(scope="module")
def on_a_laptop(tmp_path_factory):
    from support.clones import Clone

    clone = Clone(tmp_path_factory.mktemp("preflight"))
    return clone, clone.snakemake("preflight")


@pytest.mark.server
def test_the_mini_study_is_ready(on_a_laptop):
    clone, done = on_a_laptop
    found = statuses(done.stdout)
    assert list(found) == STAGES
    unused = {"fetch", "latency", "judge", "programs"}
    assert {stage for stage in found if found[stage] == "not in this study"} == unused
    assert {found[stage] for stage in found.keys() - unused} == {"ready"}
    server = check(clone, "mini", "server")
    assert list(server["seconds"]) == ["node", "plan", "start", "answers", "stop"]
    assert any(re.fullmatch(r"(8|9|10)\d*% of 16 answers are right\.", fact) for fact in server["facts"])
    assert "Node " in (clone.folder / "results/mini/preflight/server.log").read_text(encoding="utf-8")


@pytest.mark.server
def test_it_leaves_nothing_but_its_own_files(on_a_laptop):
    clone, _ = on_a_laptop
    assert {path.name for path in (clone.folder / "results/mini").iterdir()} == {"preflight", "preflight.html"}


@pytest.mark.server
def test_its_page_is_for_people(on_a_laptop):
    clone, _ = on_a_laptop
    look_at(clone.folder / "results/mini/preflight.html", ["Every stage of the study has what it needs", "✓ ready"])


def faulty(clone, hub):
    """A study that needs what is not there: a gated dataset, a model that was not laid down, more disk than there is, a
    judge without a key, nvcc and a driver; it has no lock."""
    hub.add("them/gated", {"test.jsonl": b"{}\n"}, kind="dataset", gated=True)
    for model in ("v3-0324", "r1"):
        hub.add_folder(f"us/{model}", clone.folder / f"resources/mini/{model}")
    content = clone.content()
    expected = {"config": "resources/deepseek-v3/config.json", "shards": 163}
    models = {
        name: {"label": name, "source": f"hf://us/{name}@main", "expected": expected} for name in ("v3-0324", "r1")
    }
    quiz = {"source": "hf://datasets/them/gated@main", "files": ["*.jsonl"], "expected": {"test.jsonl": 1000}}
    options = {"attention-backend": "FLASH_ATTN_MLA", "moe-backend": "deep_gemm"}
    environment = {"VLLM_USE_DEEP_GEMM": "1", "VLLM_USE_FLASHINFER_SAMPLER": "1"}
    serving = content["serving"] | {"flavour": "cuda", "gpus": 1, "options": options, "environment": environment}
    changes = {"models": models, "datasets": {"aime2024": quiz, "lmsys": quiz}, "serving": serving}
    changes |= {"lock": "config/studies/faulty.lock.json", "scores": content["scores"] | {"intelligence": ["aime2024"]}}
    judge = {"model": "them", "revision": "1", "endpoint": "http://127.0.0.1:9/v1"}
    benchmarks = {"aime2024": {"dataset": "aime2024", "seed": 1}, "mt_bench": {"dataset": "lmsys", "seed": 1}}
    clone.study("faulty", **SMALL | changes | {"judge": judge, "benchmarks": benchmarks})


def test_every_fault_is_said_with_how_to_mend_it(clone, hub, monkeypatch):
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    faulty(clone, hub)
    full = clone.folder / "full"
    full.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", full], capture_output=True
        ).returncode
    )
    try:
        done = clone.snakemake("--config", "study=faulty", f"inputs={full}", "--", "preflight", check=False)
    finally:
        if mounted:
            subprocess.run(["umount", full], check=True)
    assert done.returncode == 1, done.stdout + done.stderr
    found = statuses(done.stdout)
    for stage in ("lock", "fetch", "answer", "judge", "merge"):
        assert found[stage] == "not ready", done.stdout
    for stage in ("verify", "score", "figures", "paper"):
        assert found[stage] == "ready", done.stdout
    text = done.stdout
    assert "The repository them/gated is gated: ask for access" in text
    assert "There is no NVIDIA driver" in text
    assert "The judge's key is missing: set the environment variable JUDGE_API_KEY." in text
    assert not mounted or re.search(r"GiB are still to come into \S+/full, where 0.2 GiB are free", text)
    assert not (clone.folder / "config/studies/faulty.lock.json").exists()
    sees = ["stages cannot work yet", "✗ not ready", "There is no NVIDIA driver", "JUDGE_API_KEY"]
    look_at(clone.folder / "results/faulty/preflight.html", sees)


def test_a_model_that_is_not_there_does_not_keep_the_page_from_being_made(clone):
    content = clone.content()
    (clone.folder / "nothing").mkdir()
    models = content["models"] | {"r1": {"label": "R1", "path": "nothing"}}
    clone.study("absent", models=models)
    target = clone.folder / "results/absent/preflight.html"
    words = ["--config", "study=absent", "--"]
    refused = clone.snakemake(*words, "results/absent/plans/r1t.json", check=False)
    assert refused.returncode and "nothing" in refused.stderr, "everything else ends with it"
    done = clone.snakemake("--omit-from", "preflight_server", *words, "preflight", check=False)
    assert done.returncode == 1 and target.exists()
    assert statuses(done.stdout)["verify"] == "not ready" and "nothing" in done.stdout


def test_an_interrupted_preflight_makes_its_page(clone):
    command = clone.command("--omit-from", "preflight_server", "--", "preflight")
    log = clone.folder / "launcher.log"
    with open(log, "w", encoding="utf-8") as out:
        # tests that run in the background of a shell ignore the signal, and so would their children
        heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(
            command, cwd=clone.folder, stdout=out, stderr=out, start_new_session=True, preexec_fn=heeds
        )
        deadline = time.monotonic() + 120
        while "Running" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline and process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(120) == 1, log.read_text(encoding="utf-8")
    text = log.read_text(encoding="utf-8")
    assert "the preflight was interrupted" in text and "Traceback" not in text, text
    assert list(statuses(text)) == STAGES
    assert (clone.folder / "results/mini/preflight.html").exists()


# on a cluster


@pytest.mark.slurm
@pytest.mark.server
def test_a_cluster_is_ready(cluster):
    clone = cluster.clone("preflight")
    clone.study("small", **SMALL, serving=clone.content()["serving"] | {"gpus": 1})
    clone.adapt(study="small", gpu_partition="gpu", gpu_model="h200", most_minutes=600)
    cluster.run(clone, "preflight")
    assert set(statuses(cluster.log(clone)).values()) == {"ready", "not in this study"}, cluster.log(clone)
    jobs = cluster.slurm.jobs(clone.folder)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    (server,) = [job for job in jobs if job["Comment"].startswith("rule_preflight_server")]
    assert (server["TresPerJob"], server["Partition"]) == ("gres:gpu:h200:1", "gpu")
    assert not any("network" in job["Comment"] for job in jobs), "the launcher has the network"


@pytest.mark.slurm
def test_a_cluster_with_every_fault_says_so(cluster, monkeypatch):
    """GPUs by another name, a partition of too few minutes, an environment that cannot be made, nodes without network,
    and too small a disk."""
    clone = cluster.clone("preflight_faults")
    content = clone.content()
    expected = {"config": "resources/deepseek-v3/config.json", "shards": 163}
    models = {
        name: {"label": name, "source": f"hf://us/{name}@main", "expected": expected} for name in content["models"]
    }
    lock = {"lock": "config/studies/small.lock.json"}
    clone.study("small", **SMALL, **lock, models=models, serving=content["serving"] | {"gpus": 1})
    clone.adapt(study="small", gpu_partition="gpu", gpu_model="h100", network="nodes")
    analysis = clone.folder / "envs/analysis.yaml"
    analysis.write_text(re.sub(r"seaborn .*", "seaborn =99.0", analysis.read_text(encoding="utf-8")), encoding="utf-8")
    profile = clone.folder / "profiles/slurm/config.yaml"
    profile.write_text(
        profile.read_text(encoding="utf-8").replace("slurm_partition: main", "slurm_partition: short"), encoding="utf-8"
    )
    monkeypatch.setitem(cluster.environment, "HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    launcher = cluster.start(clone, "preflight")
    assert launcher.wait() == 1, cluster.log(clone)
    text = cluster.log(clone)
    found = statuses(text)
    assert set(found.values()) == {"not ready", "not in this study"}, text
    for name in ("tensors", "benchmarks", "download", "paper", "serving_cpu", "node"):
        assert check(clone, "small", name)["findings"] == [], "what is not concerned was tried"
    for sentence in (
        r"The rule answer asks for 1 GPUs called h100 of a node, and the partition gpu has 0 \(h200\)",
        r"A server of small models, with the study's settings was not tried: .* h100",
        r"The rule verify_input asks for 240 minutes, and the partition short has 60",
        r"envs/analysis.yaml cannot be made: .*seaborn",
        r"127\.0\.0\.1:9",
        r"GiB are still to come into .* GiB are free; make room, let `inputs`",
    ):
        assert re.search(sentence, text), f"{sentence}\n{text}"
    assert "Traceback" not in text
    assert not cluster.slurm.jobs(clone.folder) or "answer" not in str(cluster.slurm.jobs(clone.folder))
    page = clone.folder / "results/small/preflight.html"
    look_at(page, ["stages cannot work yet", "✗ not ready", "called h100", "cannot be made"])
