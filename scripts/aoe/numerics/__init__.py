"""The arithmetic of assembling and comparing, on CPUs and GPUs."""
