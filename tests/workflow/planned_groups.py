"""Print what Snakemake will ask Slurm for, as the profile groups jobs: in a clone, `planned_groups.py STUDY SITE`.

SITE: JSON, keys over those of site.yaml.  Printed, one list for every job of Slurm:
{"group merge": [[members, cores, MB, minutes of the first attempt, of the third], …], "rule plan": …}
"""

import json
import sys
from pathlib import Path

import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    GroupSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)
from snakemake.workflow import Workflow


def planned(study, site):
    """What is planned under the profile of the clone that this is called in; site: keys over those of site.yaml."""
    profile = yaml.safe_load(Path("profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    groups = GroupSettings(overwrite_groups=profile["groups"], group_components=profile["group-components"])
    threads = ResourceSettings(cores=profile["cores"], nodes=100, overwrite_threads=profile["set-threads"])
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=threads,
            config_settings=ConfigSettings(
                config=site | {"study": study}, configfiles=[Path("profiles/slurm/site.yaml")]
            ),
            snakefile=Path("Snakefile"),
        )
        dag = workflow.dag(DAGSettings())
        dag.execute_workflow(
            executor="dryrun", group_settings=groups, execution_settings=ExecutionSettings(retries=profile["retries"])
        )
        Workflow.local_exec = False  # as where jobs are submitted; the executor for Slurm is not beside the tests
        graph = workflow._workflow.dag
        found = {}
        for job in {graph.get_job_group(job) or job for job in graph.needrun_jobs(exclude_finished=False)}:
            if not job.is_local:
                name = f"group {job.groupid}" if job.is_group() else f"rule {job.name}"
                found.setdefault(name, []).append(asked(job))
        return found


def asked(job):
    """[members, cores, MB, minutes, minutes of the third attempt] of a job of Slurm."""
    minutes = []
    for attempt in (3, 1):
        job.attempt = attempt
        minutes.append(job.resources["runtime"])
    members = len(list(job.jobs)) if job.is_group() else 1
    return [members, job.threads, job.resources["mem_mb"], *reversed(minutes)]


if __name__ == "__main__":
    print(json.dumps(planned(sys.argv[1], json.loads(sys.argv[2]))))
