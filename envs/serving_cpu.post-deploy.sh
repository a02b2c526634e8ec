#!/usr/bin/env bash
# vLLM asks for these, but serves text without them; the default index has them for CUDA only, which PyTorch for CPUs
# fails to load.
set -euo pipefail
pip uninstall --yes --quiet torchvision torchaudio torchcodec triton
