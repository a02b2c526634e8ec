"""Would Slurm take the jobs of a study?  What its partitions can give is compared, and sbatch asked for the account."""

import subprocess

from aoe import AoeError
from cluster.partitions import Asked, problems, read_partitions

ACCOUNT = "slurm_account in profiles/slurm/config.yaml"


def refusals(asked, asked_last):
    """[(rule, sentence)] of what Slurm would refuse.

    asked, asked_last: rule -> {"cpus", resource: amount} at a job's first and last attempt; see stages.asked_by.
    """
    try:
        partitions = read_partitions()
    except AoeError as error:
        return [(rule, str(error)) for rule in asked]
    found, answers = [], {}
    for rule, amounts in asked.items():
        sentences = problems([as_asked(rule, amounts, asked_last[rule])], partitions)
        if not sentences:
            place = tuple(amounts.get(name) for name in ("slurm_partition", "slurm_account"))
            if place not in answers:
                answers[place] = refusal(*place)
            sentences = filter(None, [answers[place]])
        found += [(rule, sentence) for sentence in sentences]
    return found


def as_asked(rule, first, last):
    """A rule's job for aoe's partitions: what it asks for at its first and last attempt."""
    nodes = first.get("nodes", 1)
    of_each = str(first.get("gres", "gpu:0")).split(":")  # several nodes ask for GPUs of each
    return Asked(
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


def refusal(partition, account):
    """Why Slurm would take no job at all for a partition and an account (None: the default one), or None."""
    place = [f"--{name}={value}" for name, value in (("partition", partition), ("account", account)) if value]
    command = ["sbatch", "--test-only", "--time=1", *place, "--wrap", "true"]
    try:
        asked = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"sbatch cannot be called ({error}); call this on a login node of the cluster."
    if asked.returncode == 0:
        return None
    reason = asked.stderr.replace("sbatch: error: ", "").replace("allocation failure: ", "")
    return f"Slurm refuses `{' '.join(command[:-2])}`: {' '.join(reason.split()).rstrip('.')}; look at {ACCOUNT}."
