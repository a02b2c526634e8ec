"""Is this node fit for the server that is about to start?  Asked in seconds, before any weights are read.

What cannot work is a problem, and ends the job in one sentence.  What may not work, or will be slow, is a warning: a
node on which the server would have started is never refused.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.nodes import gpus as node_gpus
from aoe.nodes.gpus import GIB
from aoe.nodes.probing import Node, probe

ROCM_GLIBC = (2, 35)  # of vLLM's wheels for ROCm, whose tags do not say it
LONGEST_SOCKET_FOLDER = 70  # bytes: a socket's path has at most 107, of which vLLM's name takes 37
LEAST_SHARED, GOOD_SHARED = 16, 1 * GIB  # MiB, of several processes that compute together
LEAST_DISK, GOOD_DISK = 16, 2 * GIB  # MiB, of scratch space and caches
GOOD_OPEN_FILES = 4096
SECOND_LOOK = 10  # seconds until a node with a problem is looked at again: what ended just now lets go of its memory
OFF = ("0", "false", "")


@dataclass(frozen=True)
class Wanted:
    """What a server will ask of each of its nodes.

    flavour: ``cpu``, ``cuda`` or ``rocm``; gpus: of the job, on one node; options: vLLM's; environment: the server's
    variables; nodes: that it is spread over; mem_mb: host memory; gpu_model: what the cluster calls the GPU, or None;
    fp8: whether the weights are served in FP8.
    """

    flavour: str
    gpus: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    mem_mb: int = 0
    gpu_model: str | None = None
    fp8: bool = False

    @property
    def workers(self) -> int:
        """Processes that compute together on one node."""
        sizes = (int(self.options.get(f"{kind}-parallel-size", 1)) for kind in ("tensor", "pipeline", "data"))
        return max(1, math.prod(sizes) // self.nodes)

    def is_on(self, variable: str, default: str = "1") -> bool:
        """Return whether a switch of vLLM's is on."""
        return str(self.environment.get(variable, default)).lower() not in OFF


@dataclass(frozen=True)
class Finding:
    """One ``sentence``: what is missing and how to mend it; ``fatal``: no server can start."""

    sentence: str
    fatal: bool


def check(wanted: Wanted, patience: float = SECOND_LOOK) -> None:
    """Print what this node has, and warnings.  Raises AoeError with everything that keeps the server from starting."""
    node, found = look(wanted, patience)
    print("\n".join(described(node)))
    for finding in found:
        print(f"{'Problem' if finding.fatal else 'Warning'}: {finding.sentence}")
    if problems := [finding.sentence for finding in found if finding.fatal]:
        raise AoeError(f"The node {node.host} cannot serve: {' '.join(problems)}")


def look(wanted: Wanted, patience: float = SECOND_LOOK) -> tuple[Node, list[Finding]]:
    """Return (the Node, its Findings); a node with a problem is looked at once more, after so many seconds."""
    wanted = replace(wanted, environment={**os.environ, **wanted.environment})
    node = probe(wanted.environment, wanted.flavour)
    found = findings(node, wanted)
    if any(finding.fatal for finding in found):
        time.sleep(patience)
        node = probe(wanted.environment, wanted.flavour)
        found = findings(node, wanted)
    return node, found


def findings(node: Node, wanted: Wanted) -> list[Finding]:
    """Return all Findings on a Node for what is Wanted, problems first."""
    rules = [*(() if wanted.flavour == "cpu" else node_gpus.RULES), _memory, _glibc, _folders, _limits, _shared_memory]
    found = [Finding(*finding) for rule in rules for finding in rule(node, wanted)]
    return sorted(found, key=lambda finding: not finding.fatal)


def described(node: Node) -> Iterator[str]:
    """Yield a Node in lines for a log."""
    gpus = "not listed" if node.gpus is None else ", ".join(map(_of_gpu, node.gpus)) or "none"
    built_for = f"CUDA {node.cuda}" if node.cuda else f"ROCm {node.hip}" if node.hip else "CPUs"
    yield f"Node {node.host}: GPUs {gpus}; driver {node.driver or 'none'}; PyTorch for {built_for}"
    yield (
        f"glibc {_release(node.glibc)}; C compiler {node.compiler or 'none'}; nvcc {node.nvcc or 'none'}; free memory "
        f"{node.memory} MiB, shared {node.shared_memory} MiB"
    )
    for name, path, free in node.folders:
        yield f"{name} {path}: {'not writable' if free is None else f'{free} MiB free'}"


def served_in_fp8(checkpoint: Path | str, options: Mapping[str, Any]) -> bool:
    """Return whether vLLM computes a checkpoint (a folder) in FP8: its config says so, and no option overrides that."""
    overrides = options.get("hf-overrides") or {}
    try:
        overrides = json.loads(overrides) if isinstance(overrides, str) else overrides
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8")) | overrides
    except (OSError, ValueError):
        return False
    return (config.get("quantization_config") or {}).get("quant_method") == "fp8"


def _memory(node, wanted):
    if node.memory < wanted.mem_mb:
        yield (
            f"{node.memory} MiB of memory are free, and the job was to have {wanted.mem_mb} MB; end what else runs "
            "here, or lower serving.mem_mb.",
            False,
        )


def _glibc(node, wanted):
    needed = ROCM_GLIBC if wanted.flavour == "rocm" else node.glibc_wanted
    if needed and node.glibc < needed:
        yield (
            f"The node's glibc is {_release(node.glibc)}, and vLLM was built for {_release(needed)} or newer; use "
            "nodes with a newer system, or a container (config/README.md).",
            True,
        )


def _folders(node, wanted):
    for name, path, free in node.folders:
        # caches are a convenience, but for Triton's: it runs what it has written there
        needed = name == "TMPDIR" or (name == "TRITON_CACHE_DIR" and wanted.flavour != "cpu")
        if free is None:
            yield f"{path} cannot be written to; let {name} name a folder that can.", needed
        elif free < LEAST_DISK:
            yield f"{path} is full ({free} MiB are free); make room, or let {name} name another folder.", needed
        elif free < GOOD_DISK:
            yield f"{path} has {free} MiB left; kernels and scratch files may take more ({name}).", False
        if name == "TMPDIR" and len(os.fsencode(path)) > LONGEST_SOCKET_FOLDER:
            yield (
                f"The path {path} is too long for vLLM's sockets ({LONGEST_SOCKET_FOLDER} bytes at most); let "
                "VLLM_RPC_BASE_PATH in serving.environment name a shorter one.",
                not wanted.environment.get("VLLM_RPC_BASE_PATH"),
            )


def _limits(node, wanted):
    if 0 <= node.open_files < GOOD_OPEN_FILES:
        yield (
            f"No more than {node.open_files} files may be open at once (ulimit -n); ask for a higher limit.",
            False,
        )
    if wanted.nodes > 1 and node.locked_memory >= 0:
        yield (
            f"{node.locked_memory >> 10} KiB of memory may be locked (ulimit -l): over InfiniBand, servers over "
            "several nodes want it unlimited.",
            False,
        )


def _shared_memory(node, wanted):
    if wanted.workers < 2:
        return
    if node.shared_memory is None or node.shared_memory < LEAST_SHARED:
        has = "cannot be written to" if node.shared_memory is None else f"has {node.shared_memory} MiB left"
        yield (
            f"/dev/shm {has}, and {wanted.workers} processes exchange data there; make room, or give a container more "
            "(Docker: --shm-size).",
            True,
        )
    elif node.shared_memory < GOOD_SHARED:
        yield (
            f"/dev/shm has {node.shared_memory} MiB left, which is little for {wanted.workers} processes that compute "
            "together.",
            False,
        )


def _release(numbers):
    return ".".join(map(str, numbers))


def _of_gpu(gpu):
    known = gpu.total and gpu.free is not None
    return (gpu.name or "unknown") + (f" with {gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free" if known else "")
