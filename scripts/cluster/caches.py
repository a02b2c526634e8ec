"""Folders for what programs compile and fetch: not the home folder, which is small on many clusters."""

import os
from collections.abc import Mapping
from pathlib import Path

# variable -> its folder below the one for all; "" is that one
PLACES = {
    "XDG_CACHE_HOME": "cache",
    "XDG_DATA_HOME": "data",
    "HF_HOME": "huggingface",
    "VLLM_CACHE_ROOT": "vllm",
    "VLLM_CONFIG_ROOT": "vllm/config",
    "FLASHINFER_WORKSPACE_BASE": "",  # FlashInfer's folder there is .cache/flashinfer
    "TRITON_HOME": "triton",  # Triton's folder there is .triton
    "TRITON_CACHE_DIR": "triton/cache",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "torch/inductor",
    "TORCH_EXTENSIONS_DIR": "torch/extensions",
    "DG_JIT_CACHE_DIR": "deep_gemm",
    "TILELANG_CACHE_DIR": "tilelang",
    "CUDA_CACHE_PATH": "cuda",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "CONDA_PKGS_DIRS": "conda",
    "PIP_CACHE_DIR": "pip",
}


def cache_variables(folder: str | Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return {variable: path} of those that ``environment`` does not set itself; ``folder`` need not exist yet.

    The Hub's token stays where `hf auth login` puts it.
    """
    base = Path(folder).expanduser().absolute()
    hub = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "~"), ".cache"), "huggingface"
    )
    places = {name: str(base / place) for name, place in PLACES.items()}
    places["HF_TOKEN_PATH"] = os.path.join(os.path.expanduser(hub), "token")
    return {name: place for name, place in places.items() if name not in environment}
