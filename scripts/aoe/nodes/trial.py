"""A server of the mini family that is started as a study starts its own: same vLLM, same options, same variables.

What these small models cannot do as large ones do is changed, and said.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aoe.nodes.fitness import served_in_fp8

LONGEST = 640  # tokens of a context
MOST_REQUESTS = 64  # at once
# options that say how a larger model is to be treated, and that this one does not know
OF_THE_MODEL = ("speculative-config", "reasoning-parser", "tool-call-parser", "chat-template", "tokenizer")


def trial_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return (options of vLLM for a small model, sentences on what differs from the study's)."""
    changed = {}
    for name, most in (("max-model-len", LONGEST), ("max-num-seqs", MOST_REQUESTS)):
        changed[name] = min(int(options.get(name, most)), most)
    left_out = [name for name in OF_THE_MODEL if name in options]
    kept = {name: value for name, value in options.items() if name not in left_out}
    said = [
        f"{name} is {value} instead of {options.get(name, 'its default')}"
        for name, value in changed.items()
        if str(options.get(name)) != str(value)
    ]
    return kept | changed, [*said, *(f"{name} is left out" for name in left_out)]


def too_narrow(options: Mapping[str, Any], checkpoint: Path | str) -> bool:
    """Return whether a checkpoint's layers cannot be spread over as many GPUs as these options of vLLM say."""
    config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
    ranks, experts = int(options.get("tensor-parallel-size", 1)), bool(options.get("enable-expert-parallel"))
    return most_ranks(config, ranks, served_in_fp8(checkpoint, options), experts) < ranks


def world(options: Mapping[str, Any]) -> int:
    """Return how many processes vLLM computes in, with these options."""
    return math.prod(int(options.get(f"{kind}-parallel-size", 1)) for kind in ("tensor", "pipeline", "data"))


def most_ranks(config: Mapping[str, Any], wanted: int, fp8: bool = False, expert_parallel: bool = False) -> int:
    """Return the largest divisor of ``wanted`` over which vLLM can spread each layer of a DeepSeek-V3 config.

    fp8: parts of weights then have to consist of whole blocks; expert_parallel: experts then stay whole.
    """
    block = config["quantization_config"]["weight_block_size"][0] if fp8 else 1
    heads, expert = config["num_attention_heads"], config["moe_intermediate_size"]
    queries = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    split = [heads * queries, heads * (config["qk_nope_head_dim"] + config["v_head_dim"]), heads * config["v_head_dim"]]
    split += [config["intermediate_size"], config["n_shared_experts"] * expert, *([] if expert_parallel else [expert])]

    def fits(ranks):
        return heads % ranks == 0 and all(size % (ranks * block) == 0 for size in split)

    return max((n for n in range(1, wanted + 1) if wanted % n == 0 and (n == 1 or fits(n))), default=1)
