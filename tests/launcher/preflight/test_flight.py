"""The launcher's part of a preflight: how Snakemake is called, and what is made of what it and Slurm say."""

import json

import pytest
from aoe.nodes.readiness import PROBLEM, READY
from cluster import limits as cluster_limits
from cluster.limits import refusals, request_of
from cluster.partitions import Nodes, Partition
from launcher.preflight.flight import check_disk, reason_in, reason_of, with_targets

CALL = ["/usr/bin/python", "/usr/bin/snakemake", "--profile", "slurm", "--config", "study=mini", "--", "preflight"]


def test_the_same_call_is_made_for_other_targets():
    assert with_targets(CALL, ["a.json", "b.json"], "--retries", "0") == [
        *(
            "/usr/bin/python",
            "/usr/bin/snakemake",
            "--retries",
            "0",
            "--profile",
            "slurm",
            "--config",
            "study=mini",
            "--",
        ),
        *("a.json", "b.json"),
    ]
    words = ["python", "-m", "snakemake", "preflight", "--cores", "2"]
    assert with_targets(words, ["a"], "-k") == ["python", "-m", "snakemake", "-k", "a", "--cores", "2"]


FAILED = """\
Error in rule preflight_server, jobid: 1
    message: SLURM sbatch failed. The error message was sbatch: error: invalid partition specified: gpu
    output: results/mini/preflight/server.json
[Sat Nov 28 01:12:21 2026]
Error in rule preflight_node, jobid: 2
    output: results/mini/preflight/node.json
    shell: (command exited with non-zero exit code)
"""


def test_what_snakemake_says_of_a_job_is_found():
    assert reason_of("server", FAILED) == (
        "SLURM sbatch failed. The error message was sbatch: error: invalid partition specified: gpu"
    )
    assert reason_of("node", FAILED).startswith("output: results/mini/preflight/node.json")
    said = "Creating\nCreateCondaEnvironmentException:\n  Could not create it\nbecause seaborn 99 is missing\n"
    assert reason_in(said) == "CreateCondaEnvironmentException: Could not create it because seaborn 99 is missing"
    said = f"{said}Output:\nCollecting\n  File conda.py, line 23\nFound conflicts\nseaborn =99 does not exist\n"
    assert reason_in(said) == "File conda.py, line 23 Found conflicts seaborn =99 does not exist"
    assert reason_in("") == "Snakemake said nothing."


def test_room_is_compared_with_what_is_still_to_come(tmp_path):
    assert check_disk({str(tmp_path): 1 << 20}).status == READY
    far_too_much = check_disk({str(tmp_path): 1 << 60})
    assert far_too_much.status == PROBLEM and "1,073,741,824.0 GiB are still to come" in far_too_much.findings[0][0]
    together = check_disk({str(tmp_path / "a"): 1 << 59, str(tmp_path / "b"): 1 << 59})
    assert "1,073,741,824.0 GiB are still to come into" in together.findings[0][0], "of one file system the sum counts"
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot be written to" in check_disk({f"{tmp_path}/file/below": 1}).findings[0][0]
    assert "not known before it is locked" in check_disk({str(tmp_path): None}).findings[0][0]


FIRST = {
    "answer": {"cpus": 16, "runtime": 1440, "mem_mb": 200_000, "gpu": 8, "gpu_model": "h200", "slurm_partition": "gpu"},
    "merge": {"cpus": 8, "runtime": 20, "mem_mb": 2000, "slurm_partition": "main"},
}
LAST = {rule: amounts | {"runtime": 3 * amounts["runtime"]} for rule, amounts in FIRST.items()}
NODES = {"gpu": Nodes(2, 1_000_000, 64, {"h200": 8}), "main": Nodes(2, 100_000, 16)}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster of two partitions, and an sbatch that takes what is not for the account `nobody`."""
    found = {name: Partition(name, 10_000, None, (kind,)) for name, kind in NODES.items()}
    monkeypatch.setattr(cluster_limits, "read_partitions", lambda: found)
    refuse = 'echo "sbatch: error: Invalid account or account/partition combination specified" >&2; exit 1'
    script = f'case "$*" in *nobody*) {refuse};; esac'
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n{script}\n", encoding="utf-8")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path


def test_a_cluster_that_can_give_what_is_asked_refuses_nothing(slurm):
    assert refusals(FIRST, LAST) == []
    assert (slurm / "calls").read_text(encoding="utf-8").count("called") == 2, (
        "sbatch is asked once for a partition and account"
    )


def test_what_a_partition_cannot_give_is_refused(slurm):
    changed = {"answer": FIRST["answer"] | {"gpu_model": "h100"}, "merge": FIRST["merge"] | {"cpus": 32}}
    found = dict(refusals(changed, LAST))
    assert found.keys() == {"answer", "merge"}
    assert "h100" in found["answer"] and "32 cores" in found["merge"]


def test_an_account_that_is_none_is_refused(slurm):
    changed = {rule: amounts | {"slurm_account": "nobody"} for rule, amounts in FIRST.items()}
    found = dict(refusals(changed, LAST))
    assert all("Invalid account" in sentence and "slurm_account" in sentence for sentence in found.values())
    assert found.keys() == FIRST.keys()


def test_a_server_over_two_nodes_asks_each_for_its_gpus():
    first = {"cpus": 16, "gpu": 0, "gres": "gpu:h200:8", "nodes": 2}
    asked = request_of("answer", first, first)
    assert (asked.gpus, asked.gpu_model, asked.nodes) == (16, "h200", 2)
    assert json.dumps(request_of("merge", {"cpus": 1}, {"cpus": 1}).gpus) == "0"
