"""What a study has to say of its servers, since vLLM would else choose it by GPU, model and release.

Another choice gives other answers (DeepGEMM rounds FP8 scales to powers of two, so that another model is served than
was merged), or compiles for an hour, or needs a compiler that nodes do not have (FlashInfer).
"""

from collections.abc import Mapping
from typing import Any

CHOICES = ("attention-backend", "moe-backend")
PINS = {
    "cpu": ((), ()),
    "cuda": (CHOICES, ("VLLM_USE_DEEP_GEMM", "VLLM_USE_FLASHINFER_SAMPLER")),
    "rocm": (CHOICES, ("VLLM_ROCM_USE_AITER",)),
}


def family_of(flavour: str) -> str:
    """Return a flavour's kind of GPUs, ``cpu``, ``cuda`` or ``rocm``; cuda12 is vLLM for another CUDA."""
    return flavour.rstrip("0123456789")


def unpinned(serving: Mapping[str, Any]) -> str | None:
    """Return the first key of a study's section ``serving`` that is missing, as the study would write it, or None."""
    options, variables = PINS[family_of(serving["flavour"])]
    given = dict(serving["options"])
    if given.get("attention-config", {}).get("backend"):
        given["attention-backend"] = given["attention-config"]["backend"]
    missing = [f"serving.options.{option}" for option in options if option not in given]
    missing += [f"serving.environment.{name}" for name in variables if name not in serving.get("environment", {})]
    return missing[0] if missing else None
