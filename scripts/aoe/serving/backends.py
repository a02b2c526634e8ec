"""Which of its implementations vLLM computes with, as a server's log says.

vLLM chooses kernels by GPU, model and release.  What is in no line that is known here is missing, not guessed.
"""

import re

# vLLM 0.25 (CUDA, ROCm) and 0.32 (CPU); the first group of a pattern names the implementation
LINES = {
    "attention": [
        r"Using (?:AttentionBackendEnum\.)?(\w+)(?: attention)? backend(?:\.| out of| \(selected)",
        r"Using (\w+) attention backend",
    ],
    "MLA prefill": [r"Using (\w+) MLA prefill backend"],
    "experts": [r"Using (\w+) (?:\w+ )?MoE backend"],
    "linear layers": [r"Selected (\w+) for \w+"],
    "sampler": [r"Using (FlashInfer) for top-p", r"(FlashInfer top-p/top-k sampling disabled)"],
    "all-reduce": [r"Using (\[[^\]]*\]) all-reduce backends"],
}


def backends_in(log: str) -> dict[str, list[str]]:
    """Return {what: [implementation, …]}, in the order in which the text of a server's log names them."""
    found = {what: _named(patterns, log) for what, patterns in LINES.items()}
    return {what: names for what, names in found.items() if names}


def _named(patterns, log):
    names = (match[1] for pattern in patterns for match in re.finditer(pattern, log))
    return list(dict.fromkeys(names))
