"""What architectures are made of: groups of tensors, the patterns of their names, and the shapes of common layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aoe.checkpoints.formats import scale_of, scale_shape

Config = Mapping[str, Any]  # a model's config.json
Shapes = dict[str, tuple[int, ...]]  # tensor name -> shape
Tensors = dict[str, tuple[str, tuple[int, ...]]]  # tensor name -> (storage format, shape)
Layer = Callable[[Config, int], Tensors]  # the tensors of a layer, by its number


class TensorGroup(StrEnum):
    """The parts that recipes select by and differences are mapped by."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    DENSE_MLP = "dense_mlp"
    ROUTED_EXPERTS = "routed_experts"
    SHARED_EXPERTS = "shared_experts"
    ROUTER_GATE = "router_gate"
    NORMS = "norms"
    LM_HEAD = "lm_head"
    MTP = "mtp"


Kinds = dict[TensorGroup, tuple[str, ...]]  # group -> the kinds of its weight matrices


@dataclass(frozen=True)
class Definition:
    """An architecture; its name is the ``model_type`` of config.json, and the name of the file that it is defined in.

    title: as people call it.
    patterns: (regular expression, group) of tensor names without the scales' suffix; the first that matches wins.
    projections: group -> the kinds of its weight matrices, in the order that figure 2 shows them in.
    experts: the key of the config that has the number of routed experts of a layer.
    layer: a function of (config, number of the layer) that returns the Tensors of that layer; without one, parameters
    are not counted, and a study cannot be planned before its models are locked.
    """

    title: str
    patterns: tuple[tuple[str, TensorGroup], ...]
    projections: Kinds
    experts: str
    layer: Layer | None = None


COMMON = (
    (r"^model\.embed_tokens\.", TensorGroup.EMBEDDINGS),
    (r"^lm_head\.", TensorGroup.LM_HEAD),
    (r"norm\.weight$", TensorGroup.NORMS),
    (r"\.self_attn\.", TensorGroup.ATTENTION),
)
EXPERTS_IN_MLP = (
    (r"\.mlp\.experts\.", TensorGroup.ROUTED_EXPERTS),
    (r"\.mlp\.shared_experts?\.|\.mlp\.shared_expert_gate\.", TensorGroup.SHARED_EXPERTS),
    (r"\.mlp\.gate\.", TensorGroup.ROUTER_GATE),
    (r"\.mlp\.(gate|up|down)_proj\.", TensorGroup.DENSE_MLP),
)
GATED_EXPERTS: Kinds = {
    TensorGroup.ROUTED_EXPERTS: ("gate_proj", "up_proj", "down_proj"),
    TensorGroup.SHARED_EXPERTS: ("gate_proj", "up_proj", "down_proj"),
}
QUERIES_KEYS_VALUES: Kinds = {TensorGroup.ATTENTION: ("q_proj", "k_proj", "v_proj", "o_proj")}
LATENT_ATTENTION: Kinds = {TensorGroup.ATTENTION: ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")}


def in_bf16(shapes: Shapes) -> Tensors:
    """Return tensors that are stored in BF16 in every model."""
    return {name: ("BF16", shape) for name, shape in shapes.items()}


def projections(config: Config, shapes: Shapes) -> Tensors:
    """Return weight matrices: FP8 codes and scales if the config has a ``quantization_config``, else BF16."""
    if "quantization_config" not in config:
        return in_bf16(shapes)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        tensors[name], tensors[scale_of(name)] = ("F8_E4M3", shape), ("F32", scale_shape(*shape))
    return tensors


def gated_mlp(name: str, hidden: int, width: int) -> Shapes:
    """Return the shapes of a dense MLP or an expert.  hidden, width: numbers of its input and output, and inside."""
    return {
        f"{name}.gate_proj.weight": (width, hidden),
        f"{name}.up_proj.weight": (width, hidden),
        f"{name}.down_proj.weight": (hidden, width),
    }
