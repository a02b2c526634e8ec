"""The requests of a run's jobs to Slurm, once Snakemake has planned them."""

from typing import Any

from cluster.partitions import JobRequest


def requests_of(dag: Any, retries: int, most_minutes: int | None = None) -> list[JobRequest]:
    """Return the requests that Snakemake will submit: of every rule one job, of every group the one of most members.

    dag: Snakemake's; retries: how often a job that failed is submitted again; most_minutes: what the site gives a job
    without GPUs, None if it does not say.
    """
    largest: dict[str, tuple[int, Any]] = {}
    for job in dag.needrun_jobs():
        group = dag.get_job_group(job)
        what, size = (f"group {group.groupid}", len(list(group.jobs))) if group else (f"rule {job.name}", 1)
        if not job.is_local and size > largest.get(what, (0, None))[0]:
            largest[what] = size, group or job
    return [_request(what, job, retries + 1, most_minutes) for what, (_, job) in largest.items()]


def _request(what, job, attempts, most_minutes):
    job.attempt = attempts
    last = job.resources
    job.attempt = 1
    first = job.resources
    kind, *model, number = f"{first.get('gres') or 'none:0'}".split(":")
    gpus = int(number) * first.get("nodes", 1) if kind == "gpu" else first.get("gpu", 0)
    return JobRequest(
        what=what,
        partition=first.get("slurm_partition"),
        minutes=first.get("runtime", 0),
        last_minutes=last.get("runtime", 0),
        most_minutes=None if gpus else most_minutes,
        memory_mb=first.get("mem_mb", 0),
        last_memory_mb=last.get("mem_mb", 0),
        cores=job.threads,
        gpus=gpus,
        gpu_model=model[0] if model else first.get("gpu_model"),
        nodes=first.get("nodes", 1),
    )
