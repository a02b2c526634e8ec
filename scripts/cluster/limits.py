"""Whether Slurm would take the jobs of a study: by what its partitions have, and by sbatch's word on the account."""

import subprocess
from collections.abc import Mapping
from typing import Any

from aoe import AoeError
from cluster.partitions import JobRequest, problems, read_partitions

ACCOUNT = "slurm_account in profiles/slurm/config.yaml"


Amounts = Mapping[str, Any]  # {"cpus", resource: amount} of a rule's job


def refusals(first: Mapping[str, Amounts], last: Mapping[str, Amounts]) -> list[tuple[str, str]]:
    """Return [(rule, sentence)] of the jobs that Slurm would refuse.

    first, last: rule -> its Amounts at a job's first and last attempt; see launcher.preflight.stages.requested_by.
    """
    try:
        partitions = read_partitions()
    except AoeError as error:
        return [(rule, str(error)) for rule in first]
    found: list[tuple[str, str]] = []
    answers: dict[tuple, str | None] = {}
    for rule, amounts in first.items():
        sentences = problems([request_of(rule, amounts, last[rule])], partitions)
        if not sentences:
            place = amounts.get("slurm_partition"), amounts.get("slurm_account")
            if place not in answers:
                answers[place] = refusal(*place)
            sentences = [sentence for sentence in [answers[place]] if sentence]
        found += [(rule, sentence) for sentence in sentences]
    return found


def request_of(rule: str, first: Amounts, last: Amounts) -> JobRequest:
    """Return what a rule's job asks Slurm for at its first and last attempt."""
    nodes = first.get("nodes", 1)
    of_each = str(first.get("gres", "gpu:0")).split(":")  # several nodes ask for GPUs of each
    return JobRequest(
        what=f"rule {rule}",
        partition=first.get("slurm_partition"),
        minutes=first.get("runtime", 0),
        last_minutes=last.get("runtime", 0),
        memory_mb=first.get("mem_mb", 0),
        last_memory_mb=last.get("mem_mb", 0),
        cores=first["cpus"],
        gpus=first.get("gpu") or int(of_each[-1]) * nodes,
        gpu_model=first.get("gpu_model") or (of_each[1] if len(of_each) > 2 else None),
        nodes=nodes,
    )


def refusal(partition: str | None, account: str | None) -> str | None:
    """Say why Slurm would take no job at all for a partition and an account (None: the default one), or None."""
    place = [f"--{name}={value}" for name, value in (("partition", partition), ("account", account)) if value]
    command = ["sbatch", "--test-only", "--time=1", *place, "--wrap", "true"]
    try:
        tried = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"sbatch cannot be called ({error}); call this on a login node of the cluster."
    if tried.returncode == 0:
        return None
    reason = tried.stderr.replace("sbatch: error: ", "").replace("allocation failure: ", "")
    return f"Slurm refuses `{' '.join(command[:-2])}`: {' '.join(reason.split()).rstrip('.')}; look at {ACCOUNT}."
