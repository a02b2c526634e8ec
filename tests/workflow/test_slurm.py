"""`snakemake --profile slurm` on a real Slurm, in real environments made from envs/*.yaml: what it asks for, what it
survives."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest
from support.clones import SMALL

pytestmark = [pytest.mark.workflow, pytest.mark.server, pytest.mark.slurm]
RESULTS = ["summary.csv", "transitions.csv", "comparisons.csv", "merged/r1t/model.safetensors.index.json"]
RESULTS += ["merged/r1t/recipe.json"]


def minutes(limit):
    """Slurm's time limit, D-HH:MM:SS, in minutes."""
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = clock.split(":")
    return int(days or 0) * 1440 + int(hours) * 60 + int(minutes)


def of(name, jobs):
    """The jobs of a rule or group."""
    return [job for job in jobs if re.match(rf"rule_{name}(_|$)", job["Comment"])]


def requested(job):
    """{resource: amount} of a job's TRES."""
    return dict(part.split("=") for part in job["TRES"].split(","))


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """The study of a few answers, with an audit, run by the README's command on a cluster; what Slurm recorded of it
    and what the launcher said."""
    clone = cluster.clone("undisturbed")
    content = clone.content()
    audits = {"audits": {"r1t": content["audits"]["r1t"]}}
    clone.study("small", **SMALL, **audits, serving=content["serving"] | {"gpus": 1})
    clone.adapt(gpu_partition="gpu", gpu_model="h200", most_minutes=600)
    cluster.run(clone, "--config", "study=small")
    return clone.folder / "results/small", cluster.slurm.jobs(clone.folder), cluster.log(clone)


def test_a_study_gives_what_it_gives_on_a_laptop(undisturbed, small_job):
    results, *_ = undisturbed
    for file in RESULTS:
        assert (results / file).read_bytes() == (small_job.folder / "results/small" / file).read_bytes(), file
    assert len(list((results / "figures").glob("figure*.svg"))) == 5
    assert json.loads((results / "audits/r1t/audit.json").read_text(encoding="utf-8"))["verdict"] == "verified"
    assert (results / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_every_job_asks_for_what_its_rule_says(undisturbed):
    _, jobs, _ = undisturbed
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    answers = of("answer", jobs)
    assert len(answers) == 6
    for job in answers:
        asked = requested(job)
        assert (asked["cpu"], asked["mem"], job["NumNodes"]) == ("1", "3000M", "1")
        assert job["TimeLimit"] == "10:00:00", "the study says twelve hours, the site gives ten"
        assert (job["TresPerJob"], job["Partition"]) == ("gres:gpu:h200:1", "gpu")
    (verified, *_) = of("verify_input", jobs)
    assert requested(verified)["mem"] == "1000M" and minutes(verified["TimeLimit"]) == 240
    others = [job for job in jobs if job not in answers]
    assert {job["Partition"] for job in others} == {"main"}
    assert not any("gpu" in job.get("TresPerJob", "") for job in others)


def test_short_jobs_go_together(undisturbed):
    """One after another: in the time of all, with the cores and memory of one."""
    _, jobs, log = undisturbed
    given = {"merge": (5 * 20, "2", "2000M"), "diff": (5 * 20, "2", "2000M"), "audit": (5 * 60, "2", "2000M")}
    for group, expected in given.items():
        (job,) = of(group, jobs)
        assert (minutes(job["TimeLimit"]), requested(job)["cpu"], requested(job)["mem"]) == expected, group
    assert len(of("merge", jobs)) == 1, "five shards are one job"
    assert len(of("diff", jobs)) == 1 and len(of("tables", jobs)) == 1
    assert len(of("audit", jobs)) == 1, "so are those of an audit"
    (of_snakemake,) = re.findall(r"^total +(\d+)$", log, re.MULTILINE)
    assert len(jobs) <= 0.6 * int(of_snakemake)


def test_nothing_is_put_into_the_home_folder(undisturbed, cluster):
    """But for the launcher's own cache of sources, which Snakemake looks for before it reads any configuration."""
    results, *_ = undisturbed
    written = [path.relative_to(cluster.home) for path in cluster.home.rglob("*") if not path.is_dir()]
    assert [str(path) for path in written if path.parts[:2] != (".cache", "snakemake")] == []
    caches = results.parents[1] / ".snakemake/caches"
    assert any((caches / "vllm").rglob("*")) and any((caches / "numba").rglob("*"))


class Faults:
    """What befalls the servers of some variants, one after another: the next as soon as the next server is seen."""

    def __init__(self, cluster, clone):
        self.cluster, self.clone, self.launcher = cluster, clone, None
        self.left = {"v3-0324": [self.cancel], "r1": [self.kill], "r1-0528": [self.hang, self.kill_launcher]}
        self.seen, self.hung = set(), []

    def start(self):
        self.launcher = self.cluster.start(self.clone)

    def befall(self):
        """One look at the servers that answer in this clone."""
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or []
            ours = "aoe.serving.vllm_server" in words and process.info["cwd"] == str(self.clone.folder)
            if ours and process.pid not in self.seen:
                self.seen.add(process.pid)
                faults = self.left.get(words[words.index("--served-model-name") + 1])
                # the launcher lives until the hung job has met its limit
                if faults and (faults[0] != self.kill_launcher or self.timed_out()):
                    faults.pop(0)(process)

    def timed_out(self):
        return any(job["JobState"] == "TIMEOUT" for job in self.cluster.slurm.jobs(self.clone.folder))

    def cancel(self, server):
        subprocess.run(["scancel", server.environ()["SLURM_JOB_ID"]], check=True)

    def kill(self, server):
        """The job's own process, whose child the server is."""
        server.parent().kill()

    def hang(self, server):
        """Until the time limit."""
        self.hung = [server, *server.children(recursive=True)]
        for process in self.hung:
            process.suspend()

    def clear(self):
        """Where Slurm has no cgroups, what hangs in a session of its own outlives its job."""
        for process in self.hung:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_launcher(self, _):
        os.killpg(self.launcher.pid, signal.SIGKILL)
        self.launcher.wait()
        self.start()


def test_the_same_command_survives_what_happens_on_a_cluster(cluster, small_job):
    """A cancelled job, one killed, one that hangs until its time limit, too little memory, a killed launcher."""
    clone = cluster.clone("small")
    clone.study("paper", **SMALL)  # the study that `--profile slurm` runs
    profile = clone.folder / "profiles/slurm/config.yaml"
    hanging = "attempt if wildcards.variant == 'r1-0528' else 20"
    limits = f'set-resources: {{answer: {{runtime: "{hanging}"}}, verify_input: {{mem_mb: 100 * attempt ** 2}}}}\n'
    profile.write_text(profile.read_text(encoding="utf-8") + limits, encoding="utf-8")
    faults = Faults(cluster, clone)
    faults.start()
    deadline = time.monotonic() + 1500
    try:
        while faults.launcher.poll() is None:
            assert time.monotonic() < deadline
            faults.befall()
            time.sleep(0.5)
    finally:
        faults.clear()
    assert faults.launcher.returncode == 0, cluster.log(clone)
    assert not any(faults.left.values()), f"these did not happen: {faults.left}"
    for file in RESULTS:
        ours, theirs = clone.folder / "results/paper" / file, small_job.folder / "results/small" / file
        assert ours.read_bytes() == theirs.read_bytes(), file
    jobs, log = cluster.slurm.jobs(clone.folder), cluster.log(clone)
    assert {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT"} <= {job["JobState"] for job in jobs}
    said = [
        path.read_text(encoding="utf-8")
        for path in (clone.folder / ".snakemake/slurm_logs/rule_verify_input").rglob("*.log")
    ]
    assert any("exceeded memory limit" in text for text in said)
    # what failed was given more
    assert {"100M", "400M"} <= {requested(job)["mem"] for job in of("verify_input", jobs)}
    assert {1, 2} <= {minutes(job["TimeLimit"]) for job in of("answer", jobs)}
    assert "which an earlier run in this folder left" in log


def test_a_server_over_two_nodes_answers_as_one(cluster, small_job):
    clone = cluster.clone("two_nodes")
    serving = clone.content()["serving"]
    options = serving["options"] | {"tensor-parallel-size": 2}
    clone.study("paper", **SMALL, serving=serving | {"gpus": 2, "nodes": 2, "options": options})
    cluster.run(clone, "results/paper/scores/r1.parquet", "--default-resources", "slurm_partition=both")
    (answer,) = of("answer", cluster.slurm.jobs(clone.folder))
    assert answer["NumNodes"] == "2" and answer["NodeList"] == "node[1-2]"
    assert answer["TresPerNode"] == "gres:gpu:1"
    server = (clone.folder / "results/paper/logs/answer/r1.server.log").read_text(encoding="utf-8")
    assert "world_size=2" in server


def state(cluster, clone, number=0):
    """Of the job that was submitted in a clone as the first, second, …: its id and state; neither, if there is none."""
    jobs = cluster.slurm.jobs(clone.folder)
    return (jobs[number]["JobId"], jobs[number]["JobState"]) if len(jobs) > number else (None, None)


def wait_for(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_job_that_is_preempted_is_submitted_again(cluster):
    clone = cluster.clone("preempted")
    launcher = cluster.start(clone, "--config", "study=mini", "--", "results/mini/verified/r1.json")
    wait_for(lambda: state(cluster, clone)[1] == "RUNNING")
    subprocess.run(["sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"], check=True)
    assert launcher.wait(180) == 0, cluster.log(clone)
    states = [job["JobState"] for job in cluster.slurm.jobs(clone.folder)]
    assert states == ["PREEMPTED", "COMPLETED"]


def test_jobs_that_slurm_has_forgotten_are_not_waited_for(cluster):
    """One that was done and one that was not, which ended while the launcher did not look."""
    clone = cluster.clone("forgotten")
    files = [f"results/mini/verified/{name}.json" for name in ("r1", "v3-0324")]
    launcher = cluster.start(clone, "--config", "study=mini", "--", *files)
    wait_for(lambda: state(cluster, clone, 1)[1])
    os.killpg(launcher.pid, signal.SIGSTOP)
    cancelled = state(cluster, clone, 1)[0]
    with cluster.slurm.forgetting():
        subprocess.run(["scancel", cancelled], check=True)
        wait_for(lambda: not cluster.slurm.jobs(clone.folder), 180)
    os.killpg(launcher.pid, signal.SIGCONT)
    assert launcher.wait(240) == 0, cluster.log(clone)
    log = cluster.log(clone)
    assert f"Slurm knows nothing of the job {cancelled} any more, and its log does not say that it was done." in log
    assert log.count("Slurm knows nothing of the job") == 1
    assert [job["JobState"] for job in cluster.slurm.jobs(clone.folder)] == ["COMPLETED"], "what was done is not redone"


def test_what_a_partition_cannot_give_is_said_before_the_first_job(cluster):
    clone = cluster.clone("too_much")
    clone.adapt(gpu_partition="gpu", gpu_model="h100", gpu_request="gres")
    serving = clone.content()["serving"]
    clone.study("small", **SMALL, serving=serving | {"gpus": 1})
    words = ["--config", "study=small", "--default-resources", "slurm_partition=short"]
    assert cluster.start(clone, *words).wait() == 1
    log = cluster.log(clone)
    assert (
        "The rule verify_input asks for 240 minutes, and the partition short has 60: set `most_minutes: 60` in "
        "profiles/slurm/site.yaml, or change `slurm_partition` in profiles/slurm/config.yaml."
    ) in log
    assert "The group merge asks for 100 minutes, and the partition short has 60: give merge a smaller number" in log
    assert "The rule answer asks for 1 GPUs called h100 of a node, and the partition gpu has 0 (h200): change" in log
    assert "Traceback" not in log and not cluster.slurm.jobs(clone.folder)


def test_an_image_holds_all_environments_from_the_same_pins(clone, cluster):
    """`--containerize` wants conda, if only to know where it would look for environments."""
    words = ["snakemake", "--quiet", "--config", "study=paper", "--containerize", "apptainer"]
    definition = subprocess.run(
        words, cwd=clone.folder, env=cluster.environment, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    for environment in ("analysis", "benchmarks", "download", "serving_cuda", "tensors"):
        text = (clone.folder / f"envs/{environment}.yaml").read_text(encoding="utf-8")
        pins = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
        assert all(pin in definition for pin in pins), environment
