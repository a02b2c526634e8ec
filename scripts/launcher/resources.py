"""What jobs ask of a cluster: memory and time that grow with every attempt, GPUs as the site names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snakemake.workflow import Workflow


def members(workflow: Workflow, rulename: str) -> int:
    """How many jobs, at the most, go together with one of this rule, itself counted, as a profile groups them."""
    groups, components = workflow.group_settings.overwrite_groups, workflow.group_settings.group_components
    group = groups.get(rulename)
    return list(groups.values()).count(group) * components.get(group, 1) if group else 1


class JobResources:
    """The resources of rules; config: the run's, with the limits of the site."""

    def __init__(self, workflow: Workflow, config: dict[str, Any]) -> None:
        self.workflow, self.config = workflow, config

    def limit(self, what: str, gpus: int = 0) -> float:
        """The most that the cluster gives a job, with GPUs or without; what: `minutes` or `memory_mb`."""
        least = self.config.get(f"most_{what}", float("inf"))
        return self.config.get(f"gpu_most_{what}", least) if gpus else least

    def memory(self, mb: int, gpus: int = 0) -> Callable[..., int]:
        """Every attempt is given more: twice as much for the second, but not more than the cluster's nodes have."""
        return lambda wildcards, attempt: min(mb * attempt, self.limit("memory_mb", gpus))

    def minutes(self, amount: int, gpus: int = 0) -> Callable[..., int]:
        """Time, likewise, but not more than the cluster gives a job.  The members of a group share that: see `turn`."""

        def limited(wildcards: Any, attempt: int, rulename: str) -> int:
            together = members(self.workflow, rulename)
            share = self.limit("minutes", gpus) / together
            return int(min(amount * attempt, share if together == 1 else max(amount, share)))

        return limited

    def turn(self, wildcards: Any, rulename: str) -> int | None:
        """What only one member of a group can have at a time.

        In a job of Slurm they come one after another, whatever cores there are.  So that is what Snakemake has to go
        by when it adds up their time, and takes the most of their cores and memory.
        """
        return 1 if rulename in self.workflow.group_settings.overwrite_groups else None

    def gpus(self, number: int, nodes: int = 1, model: str | None = None) -> dict[str, Any]:
        """The resources that ask Slurm for GPUs, in the way that the site knows.

        number: on all nodes together; model: of the GPUs, else the site's.
        """
        if not number:
            return {"gpu": 0}
        config, model = self.config, model or self.config.get("gpu_model")
        asked = {"slurm_partition": config.get("gpu_partition"), "slurm_account": config.get("gpu_account")}
        # of every node as many, which a total would not say
        if nodes > 1 or config.get("gpu_request") == "gres":
            kind = ":".join(filter(None, ("gpu", model)))
            asked |= {"gpu": 0, "gres": f"{kind}:{number // nodes}", "tasks_per_gpu": 0}
        else:
            asked |= {"gpu": number, "gpu_model": model}
        return {name: value for name, value in asked.items() if value is not None}

    def server(self, serving: dict[str, Any]) -> dict[str, Any]:
        """What a server needs of a cluster; where it takes several nodes, the job starts its own tasks, one on each.

        serving: the study's section.
        """
        nodes, gpus = serving.get("nodes", 1), serving["gpus"]
        return {
            "mem_mb": self.memory(serving["mem_mb"], gpus),
            "disk_mb": 10_000,
            "flavour": serving["flavour"],
            "runtime": self.minutes(serving.get("minutes", 720), gpus),
            "nodes": nodes,
            "start_minutes": serving.get("start_minutes", 60),
            "check_weights": int(serving.get("check_weights", gpus > 0)),
            **self.gpus(gpus, nodes, serving.get("gpu_model")),
            **({"tasks": nodes, "mpi": "srun"} if nodes > 1 else {}),
        }
