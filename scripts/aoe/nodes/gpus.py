"""What aoe.nodes.fitness asks of a node's GPUs, and of what compiles kernels for them.

Every rule takes a Node and what is Wanted, and yields (sentence, whether no server can start).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aoe.nodes.fitness import Wanted
    from aoe.nodes.probing import Node

GIB = 1024  # MiB
OLDEST_DRIVER = {13: 580, 12: 525, 11: 450}  # major release of CUDA -> of the driver [CUDA's release notes, table 2]
OLDEST_CAPABILITY = {13: 7.5, 12: 7.0, 11: 7.0}  # major release of CUDA -> that PyTorch is built for
FP8_CAPABILITY = 8.9  # from which a GPU computes with FP8 itself
HOPPER = 9.0
UTILIZATION = 0.9  # vLLM's gpu-memory-utilization where the study does not say; later releases take a little more


def driver(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for a driver that is new enough for the installed PyTorch."""
    if wanted.flavour == "rocm":
        yield from _amd(node)
        return
    if node.driver is None:
        yield (
            "There is no NVIDIA driver; give the job a GPU (gpu_partition in profiles/slurm/site.yaml), and a "
            "container the option --nv.",
            True,
        )
    if node.cuda == "":
        yield "PyTorch is not built for CUDA; make the environment envs/serving_cuda.yaml anew.", True
    elif node.driver and node.cuda and _leading(node.driver) < OLDEST_DRIVER.get(_leading(node.cuda), 0):
        bridged, oldest = wanted.is_on("VLLM_ENABLE_CUDA_COMPATIBILITY", "0"), OLDEST_DRIVER[_leading(node.cuda)]
        yield (
            f"The driver {node.driver} is older than {oldest}, which CUDA {node.cuda} wants; "
            "use vLLM for an older CUDA (envs/README.md), or CUDA's compatibility libraries "
            "(VLLM_ENABLE_CUDA_COMPATIBILITY in serving.environment).",
            not bridged and "compat" not in wanted.environment.get("LD_LIBRARY_PATH", ""),
        )


def _amd(node):
    if node.driver is None:
        yield (
            "AMD's driver is missing, or closed to this user: /dev/kfd cannot be opened; ask for a GPU, or to be put "
            "into the groups `render` and `video`.",
            True,
        )
    if node.hip == "":
        yield "PyTorch is not built for ROCm; make the environment envs/serving_rocm.yaml anew.", True


def number(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for as many GPUs as the server wants, of the kind that the study was sized for."""
    if node.gpus is None:
        if node.driver:
            yield "GPUs cannot be listed, as nvidia-smi is missing or fails; they were not checked.", False
        return
    if len(node.gpus) < wanted.workers:
        yield (
            f"{len(node.gpus)} GPUs are visible to the job, and the server wants {wanted.workers}; look at "
            "serving.gpus, the parallel sizes in serving.options, and CUDA_VISIBLE_DEVICES.",
            True,
        )
    elif len(node.gpus) < wanted.gpus:
        yield f"{len(node.gpus)} GPUs are visible to the job, which asked for {wanted.gpus}.", False
    model = wanted.gpu_model
    strangers = {gpu.name for gpu in node.gpus if gpu.name and model and not _alike(gpu.name, model)}
    if strangers:
        yield (
            f"The GPU calls itself {' and '.join(sorted(strangers))}, and the study was to run on {model}; look at "
            "gpu_model.",
            False,
        )


def memory(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for as much free memory as vLLM is about to claim, which it checks itself after minutes."""
    share = float(wanted.options.get("gpu-memory-utilization", UTILIZATION))
    for place, gpu in enumerate((node.gpus or ())[: wanted.workers]):
        if gpu.free is not None and gpu.total and gpu.free < share * gpu.total:
            yield (
                f"GPU {place} has {gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free, and the server wants "
                f"{share * gpu.total / GIB:.1f}; end what else runs on it (nvidia-smi shows it), or lower "
                "gpu-memory-utilization in serving.options.",
                True,
            )


def capability(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for a GPU that PyTorch has kernels for, and that computes with FP8 itself."""
    least = _capability(node)
    if least is None or not node.cuda:
        return
    oldest = OLDEST_CAPABILITY.get(_leading(node.cuda), 0)
    if least < oldest:
        yield f"The GPU's compute capability is {least}, and PyTorch wants {oldest}; use a newer GPU.", True
    elif wanted.fp8 and least < FP8_CAPABILITY:
        yield (
            f"The GPU (compute capability {least}) does not compute with FP8: vLLM dequantizes weights on the fly, and "
            "answers differ from those of newer GPUs.",
            False,
        )


def c_compiler(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for a C compiler: Triton compiles what launches its kernels, unless it has done so before."""
    if node.compiler is None:
        yield (
            "Triton finds no C compiler; install gcc, load the cluster's module for it, or let CC name one.",
            "triton cache" not in node.packages,
        )


def nvcc(node: Node, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Ask for CUDA's compiler where a server's start compiles kernels; warn of compilations that take long."""
    if wanted.flavour != "cuda":
        return
    toolkit = "load the cluster's module for CUDA, or"
    samples = "flashinfer" in node.packages and wanted.is_on("VLLM_USE_FLASHINFER_SAMPLER")
    if node.nvcc is None and samples and "flashinfer sampling" not in node.packages:
        yield (
            f"FlashInfer compiles its sampler, and there is no nvcc; {toolkit} put "
            'VLLM_USE_FLASHINFER_SAMPLER: "0" into serving.environment, which costs nothing.',
            True,
        )
    if not wanted.fp8 or (_capability(node) or HOPPER) < HOPPER:
        return
    if "deep_gemm" in node.packages and wanted.is_on("VLLM_USE_DEEP_GEMM"):
        compiles = ", and compiles with nvcc, which is missing" if node.nvcc is None else ""
        yield (
            "DeepGEMM is on: it requantizes FP8 weights, so that other numbers are served than were merged"
            f'{compiles}; put VLLM_USE_DEEP_GEMM: "0" into serving.environment.',
            False,
        )
    chosen = wanted.options.get("enable-expert-parallel") and wanted.options.get("moe-backend", "auto") == "auto"
    if chosen and wanted.workers > 1 and "flashinfer" in node.packages:
        takes = f"needs nvcc; {toolkit}" if node.nvcc is None else "compiles for an hour or more on this node;"
        yield (
            f"With expert parallelism vLLM takes FlashInfer's kernel for experts, which {takes} put moe-backend: "
            "triton into serving.options.",
            node.nvcc is None,
        )


RULES = (driver, number, memory, capability, c_compiler, nvcc)


def _capability(node):
    """The lowest of the GPUs' compute capabilities, or None if the driver does not say."""
    return min((gpu.capability for gpu in node.gpus or () if gpu.capability), default=None)


def _leading(release):
    return int(re.split(r"\D", release, maxsplit=1)[0])


def _alike(name, model):
    """Whether a GPU's own name has all words of a cluster's name for it: NVIDIA H200 is h200, and nvidia_h200, too."""
    own = re.sub(r"[^a-z0-9]", "", name.lower())
    return all(word in own for word in re.split(r"[^a-z0-9]+", model.lower()) if word)
