"""The names of one weight: with other prefixes, other words, packed, or as part of a stack of several weights.

A weight has a key, which is its name without what programs choose differently.  A stack is cut into parts, such as
``experts.gate_up_proj`` into the gate and up projections of every expert, which have keys of their own.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.keys import text_config

# modules around a language model; models that hold nothing else leave some of them out
AROUND = frozenset({"model", "language_model", "text_model", "llm", "thinker", "transformer", "backbone"})
# ends of the names of weights, packed ones first
ENDS = (".weight_packed", ".qweight", ".weight", "_blocks", "_packed", "_weight")
# Mixtral's words, and those of most models with experts
SPELLINGS = {"block_sparse_moe": "mlp", "w1": "gate_proj", "w3": "up_proj", "w2": "down_proj", "w13": "gate_up_proj"}
# what else has other names, by the ends of keys
RULES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(?:embed_out|head)$", "lm_head"),
        (r"(\.\d+)\.share_expert(?=\.)", r"\1.mlp.shared_experts"),
        (r"\.shared_(?:expert|mlp)(?=\.)", ".shared_experts"),
        (r"\.moe\.(gate_proj|up_proj|down_proj)$", r".mlp.experts.\1"),
        (r"\.(?:input_linear|experts\.fc1)$", ".experts.gate_up_proj"),
        (r"\.(?:output_linear|experts\.fc2)$", ".experts.down_proj"),
        (r"\.router(?:\.gate|\.layer)?$", ".gate"),
        (r"\.moe(?=\.)", ".mlp"),
        (
            r"(?:\.gate|\.experts)?(?:\.moe_statics)?\.(?:e_score_correction_bias|expert_bias|router_bias)$",
            ".e_score_correction_bias",
        ),
        (r"\.attention_sink_bias$", ".sinks"),
        (r"\.self_attn\.forget_gate(?=\.)", ".self_attn"),
    )
)
# what is stored in one piece: of all experts, expert by expert, and of other modules; with its parts in order
GATED = ("gate_proj", "up_proj")
OF_EXPERTS = {"gate_up_proj": GATED, **{part: (part,) for part in (*GATED, "down_proj")}}
STACKS = {
    "gate_up_proj": GATED,
    "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa"),
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "conv1d": ("q_conv1d", "k_conv1d", "v_conv1d"),
}
# model types whose stacks of experts are transposed or interleaved, where they are not packed
OF_THEIR_OWN = {"aria", "aria_text", "gpt_oss", "llama4", "llama4_text", "openai_privacy_filter"}
PACKED_STACK = "_blocks"  # the end of the names of packed ones
EXPERT = re.compile(r"^(.*\bexperts)\.(\d+)\.(\w+)$")
STACK_OF_EXPERTS = re.compile(r"^(.*\bexperts)\.(\w+)$")


def spelled(name: str, spellings: Mapping[str, str]) -> str:
    """Return a name with some of its words exchanged."""
    return ".".join(spellings.get(word, word) for word in name.split("."))


def key_of(weight: str) -> str:
    """Return the key of a weight: what its names in all checkpoints have in common."""
    end = next((end for end in ENDS if weight.endswith(end)), "")
    words = weight.removesuffix(end).split(".")
    while len(words) > 1 and words[0] in AROUND:
        del words[0]
    key = ".".join(SPELLINGS.get(word, word) for word in words)
    for pattern, name in () if EXPERT.match(key) else RULES:
        key = pattern.sub(name, key)
    return key


def is_stack(weight: str) -> bool:
    """Return whether a weight may be a stack of several ones, by its name."""
    key = key_of(weight)
    found = STACK_OF_EXPERTS.match(key)
    return found[2] in OF_EXPERTS if found else key.rpartition(".")[2] in STACKS


def expert_of(key: str, number: int) -> str:
    """Return the key of the same part of another expert."""
    return EXPERT.sub(rf"\g<1>.{number}.\g<3>", key)


class Located(NamedTuple):
    """A part of a stack: the stack, the place there, of how many parts, and of how many experts if it is of these.

    A stack of one part is the weight itself.
    """

    weight: str
    place: int = 0
    parts: int = 1
    experts: int = 0


class Names:
    """The weights of a Checkpoint by their keys.

    ``stacks_differ``: whether experts in one piece are in another order than elsewhere.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.stacks_differ = text_config(checkpoint.config).get("model_type") in OF_THEIR_OWN
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in checkpoint.files:
            self._names[key_of(name)].append(name)

    def find(self, key: str) -> str | None:
        """Return the name of a key's only weight; None if there is none, or several."""
        names = self._names.get(key, [])
        return names[0] if len(names) == 1 else None

    def parts(self, weight: str) -> list[str]:
        """Return the keys of the parts of a weight, in order; its own if it is no stack."""
        key = key_of(weight)
        if (found := STACK_OF_EXPERTS.match(key)) and found[2] in OF_EXPERTS:
            parts = OF_EXPERTS[found[2]]
            return [f"{found[1]}.{n}.{part}" for n in range(self._experts(weight)) for part in parts]
        head, _, end = key.rpartition(".")
        return [f"{head}.{part}" for part in STACKS.get(end, ())] or [key]

    def locate(self, key: str) -> Located | None:
        """Return where the part with a key is: a weight, or a place in a stack."""
        if weight := self.find(key):
            return Located(weight)
        if found := EXPERT.match(key):
            stacks, head, number, part = OF_EXPERTS, found[1], int(found[2]), found[3]
        else:
            stacks, number = STACKS, 0
            head, _, part = key.rpartition(".")
        for end, parts in stacks.items():
            if part in parts and (stack := self.find(f"{head}.{end}")):
                experts = self._experts(stack) if found else 0
                place = number * len(parts) + parts.index(part)
                known = not found or number < experts
                return Located(stack, place, max(experts, 1) * len(parts), experts) if known else None
        return None

    def _experts(self, stack):
        """The number of experts in a stack; 0 if it is none."""
        shape = self.checkpoint.stored(stack).shape
        return shape[0] if len(shape) > 2 else 0
