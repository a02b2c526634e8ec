#!/usr/bin/env bash
# The default index holds vLLM for CUDA only.
set -euo pipefail
: "${VLLM_ROCM_INDEX:?must name the package index of vLLM 0.25.1 for the ROCm of this cluster (see vLLM, installation on AMD GPUs)}"
pip install --no-input --extra-index-url "$VLLM_ROCM_INDEX" vllm==0.25.1 transformers==5.17.0
python -c "import torch; assert torch.version.hip, 'this is no PyTorch for ROCm: VLLM_ROCM_INDEX names another index'"
