"""The limits of Slurm's partitions, against the requests of a run's jobs.

sbatch refuses a job that no node of its partition could ever run, or lets it wait for ever: either way after everything
before it was computed.  So requests are compared with the limits before the first job.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from aoe import AoeError

# of every kind of node: partition, longest time, MB, cores, generic resources, number of nodes, most nodes a job
FORMAT = "%P|%l|%m|%c|%G|%D|%s"
CONFIG, SITE = "in profiles/slurm/config.yaml", "in profiles/slurm/site.yaml"


@dataclass(frozen=True)
class Nodes:
    """A kind of node of a partition: how many there are, and what each has; gpus: model ("" if unnamed) -> number."""

    count: int
    memory_mb: int
    cores: int
    gpus: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """A partition: the most minutes and nodes of a job there (None: without limit); kinds: its Nodes."""

    name: str
    minutes: int | None
    most_nodes: int | None
    kinds: tuple[Nodes, ...]
    default: bool = False


@dataclass(frozen=True)
class JobRequest:
    """The request of one job of Slurm.

    what: "rule answer" or "group merge"; partition: as for sbatch, None for the default one, with commas for several of
    which one will do; minutes, memory_mb (of each node): of the first attempt, and last_… of the last one;
    most_minutes: what the site says itself, None if it does not; cores: of each node; gpus: of all nodes together;
    gpu_model: the cluster's name for them, None for any.
    """

    what: str
    partition: str | None = None
    minutes: int = 0
    last_minutes: int = 0
    memory_mb: int = 0
    last_memory_mb: int = 0
    cores: int = 1
    gpus: int = 0
    gpu_model: str | None = None
    nodes: int = 1
    most_minutes: int | None = None


def read_partitions() -> dict[str, Partition]:
    """Ask Slurm for its partitions: {name: Partition}.  Raises AoeError if it cannot be asked."""
    command = ["sinfo", "--noheader", "--exact", "--format", FORMAT]
    try:
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AoeError(f"Slurm cannot be asked for its partitions ({error}); call this where `sinfo` works.") from error
    if listed.returncode:
        raise AoeError(
            f"Slurm does not say what partitions there are ({listed.stderr.strip()}); call this again later."
        )
    return parse_partitions(listed.stdout)


def parse_partitions(text: str) -> dict[str, Partition]:
    """Return {name: Partition} of what sinfo prints with FORMAT, a line for every kind of node in every partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, limit, memory, cores, gres, count, nodes = line.split("|")
        kind = Nodes(int(count), int(memory.rstrip("+")), int(cores.rstrip("+")), _gpus(gres))
        known = found.get(name.rstrip("*"))
        found[name.rstrip("*")] = Partition(
            name=name.rstrip("*"),
            minutes=minutes_of(limit),
            most_nodes=_last_number(nodes),
            kinds=(*(known.kinds if known else ()), *([kind] if kind.count else [])),
            default=name.endswith("*"),
        )
    return found


def minutes_of(limit: str) -> int | None:
    """Return the whole minutes of Slurm's limit, such as `2-12:00:00`, `1:30:00` or `30:00`; None for `infinite`."""
    if not re.fullmatch(r"(?:\d+-)?\d+(?::\d+){0,2}", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes, *_ = [*parts, 0, 0]
        return int(days) * 1440 + hours * 60 + minutes
    hours, minutes, _ = [0] * (3 - len(parts)) + parts if len(parts) > 1 else [0, parts[0], 0]
    return hours * 60 + minutes


def problems(requests: Iterable[JobRequest], partitions: Mapping[str, Partition]) -> list[str]:
    """Return a sentence for every job that its partition can never run; an empty list if everything fits.

    A sentence names the job, the partition and the key to change.  partitions: name -> Partition.
    """
    found: list[str] = []
    for job in requests:
        of_each = [_problem(job, name, partitions) for name in _names(job, partitions)]
        if all(of_each) and of_each[0]:
            found.append(of_each[0])
    return list(dict.fromkeys(found))


def _names(job, partitions):
    if job.partition:
        return job.partition.split(",")
    return [name for name, partition in partitions.items() if partition.default] or [""]


def _problem(job, name, partitions):
    """Why a job cannot be run in the partition of that name, or None."""
    where = f"`gpu_partition` {SITE}" if job.gpus else f"`slurm_partition` {CONFIG}"
    if not name:
        return f"The {job.what} names no partition, and Slurm has no default one: set {where}."
    if name not in partitions:
        return f"The {job.what} is for the partition {name}, and Slurm has {_listed(partitions)}: change {where}."
    if job.most_minutes and job.minutes > job.most_minutes:
        return (
            f"The {job.what} asks for {job.minutes} minutes, and `most_minutes` {SITE} is {job.most_minutes}: "
            f"{_smaller_group(job) or 'set more'}."
        )
    for short, amount, given, key in _limits(job, partitions[name]):
        if short:
            return f"The {job.what} asks for {amount}, and the partition {name} has {given}: {key}, or change {where}."
    if not any(_has_room(job, kind) for kind in partitions[name].kinds):
        return (
            f"The {job.what} asks for {job.cores} cores, {job.memory_mb} MB and {_gpus_a_node(job)} GPUs of a node, "
            f"and no node of the partition {name} has all of them: change {where}."
        )
    return None


def _limits(job: JobRequest, partition: Partition) -> Iterator[tuple[bool, str, object, str]]:
    """(whether it is too little, what is asked for, what there is, what to do) of each thing by itself."""
    kinds, gpu = partition.kinds, "gpu_" if job.gpus else ""
    minutes = float("inf") if partition.minutes is None else partition.minutes
    memory = max((kind.memory_mb for kind in kinds), default=0)
    cores = max((kind.cores for kind in kinds), default=0)
    nodes = sum(kind.count for kind in kinds)
    nodes = nodes if partition.most_nodes is None else min(nodes, partition.most_nodes)
    gpus = max((_gpus_of(kind, job.gpu_model) for kind in kinds), default=0)
    models = sorted({model for kind in kinds for model in kind.gpus if model})
    called, names = (f" called {job.gpu_model}", f"{gpus} ({_listed(models)})") if job.gpu_model else ("", gpus)
    fewer_gpus = f"`gpu_model` {SITE}" if job.gpu_model and not gpus else "`serving.gpus` in the study"
    less_memory = "`serving.mem_mb` in the study" if job.gpus else f"the memory that the rule asks for {CONFIG}"
    fewer_cores = "`serving.threads` in the study" if job.gpus else f"`set-threads` {CONFIG}"
    yield job.nodes > nodes, f"{job.nodes} nodes", nodes, "change `serving.nodes` in the study"
    yield _gpus_a_node(job) > gpus, f"{_gpus_a_node(job)} GPUs{called} of a node", names, f"change {fewer_gpus}"
    yield job.cores > cores, f"{job.cores} cores of a node", cores, f"change {fewer_cores}"
    yield job.memory_mb > memory, f"{job.memory_mb} MB of a node", memory, f"change {less_memory}"
    cap = f"set `{gpu}most_memory_mb: {memory}` {SITE}"
    yield job.last_memory_mb > memory, f"{job.last_memory_mb} MB of a node if it is retried", memory, cap
    cap = f"set `{gpu}most_minutes: {minutes}` {SITE}"
    yield job.minutes > minutes, f"{job.minutes} minutes", minutes, _smaller_group(job) or cap
    yield job.last_minutes > minutes, f"{job.last_minutes} minutes if it is retried", minutes, cap


def _has_room(job, kind):
    """Whether a node of a kind can run its part of a job."""
    enough = kind.memory_mb >= job.memory_mb and kind.cores >= job.cores
    return enough and _gpus_of(kind, job.gpu_model) >= _gpus_a_node(job)


def _gpus_a_node(job):
    return -(-job.gpus // job.nodes)


def _gpus_of(kind, model):
    """The GPUs of a node that are called so; of a kind that names none, and if no name is asked for, all."""
    return kind.gpus.get(model, 0) if model else sum(kind.gpus.values())


def _gpus(gres):
    """{model: number} of sinfo's `gpu:h200:8(S:0-1),shard:4`."""
    found = {}
    for resource in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, *model = resource.split(":")
        if kind == "gpu":
            name = ":".join(model[:-1])
            found[name] = found.get(name, 0) + int(model[-1])
    return found


def _smaller_group(job):
    kind, _, name = job.what.partition(" ")
    return f"give {name} a smaller number among `group-components` {CONFIG}" if kind == "group" else None


def _last_number(limits):
    """Of sinfo's `1-16` or `1-infinite`; None without limit."""
    last = limits.rpartition("-")[2]
    return int(last) if last.isdigit() else None


def _listed(names):
    return ", ".join(names) or "none"
