"""What architectures are made of: groups of tensors, the kinds of their matrices, and the shapes of common layers."""

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
    """The parts that recipes select by and differences are mapped by; MEANINGS says what is in each."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    LINEAR_ATTENTION = "linear_attention"
    INDEXER = "indexer"
    DENSE_MLP = "dense_mlp"
    ROUTED_EXPERTS = "routed_experts"
    SHARED_EXPERTS = "shared_experts"
    ROUTER_GATE = "router_gate"
    NORMS = "norms"
    LM_HEAD = "lm_head"
    MTP = "mtp"
    VISION = "vision"
    OTHER = "other"


MEANINGS = {
    TensorGroup.EMBEDDINGS: "embeddings of tokens and positions, and what feeds them into layers",
    TensorGroup.ATTENTION: "projections, biases and sinks of attention",
    TensorGroup.LINEAR_ATTENTION: "linear attention, state spaces (Mamba), recurrences, short convolutions",
    TensorGroup.INDEXER: "the part of sparse attention that chooses tokens",
    TensorGroup.DENSE_MLP: "MLPs of layers without experts, or beside them",
    TensorGroup.ROUTED_EXPERTS: "experts that a router chooses among",
    TensorGroup.SHARED_EXPERTS: "experts that every token meets, with their gates",
    TensorGroup.ROUTER_GATE: "routers, with their correction biases",
    TensorGroup.NORMS: "norms everywhere, and what else scales or mixes the residual stream (hyper-connections)",
    TensorGroup.LM_HEAD: "the output matrix",
    TensorGroup.MTP: "multi-token prediction: all tensors of its layers, whatever they are",
    TensorGroup.VISION: "towers and projectors of any other modality: all their tensors",
    TensorGroup.OTHER: "tensors whose place is not known; `lock` and the logs of plans name them",
}

Patterns = tuple[tuple[str, TensorGroup], ...]
Kinds = dict[TensorGroup, tuple[str, ...]]  # group -> the kinds of its weight matrices

MATRICES: Kinds = {  # in the order that figure 2 shows them in
    TensorGroup.ROUTED_EXPERTS: (
        *("gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w3", "w2", "w13", "input_linear"),
        "output_linear",
    ),
    TensorGroup.SHARED_EXPERTS: (
        *("gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w3", "w2", "input_linear", "output_linear"),
    ),
    TensorGroup.DENSE_MLP: (
        *("gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w3", "w2", "fc1", "fc2", "c_fc", "c_proj"),
    ),
    TensorGroup.ATTENTION: (
        *("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "q_proj", "k_proj", "v_proj", "qkv_proj"),
        *("query_key_value", "wq_a", "wq_b", "wkv", "wo_a", "wo_b", "o_proj", "out_proj", "dense"),
    ),
    TensorGroup.LINEAR_ATTENTION: (
        *("in_proj", "in_proj_qkvz", "in_proj_qkv", "in_proj_z", "in_proj_ba", "in_proj_b", "in_proj_a", "q_proj"),
        *("k_proj", "v_proj", "qkv_proj", "x_proj", "dt_proj", "o_proj", "out_proj"),
    ),
    TensorGroup.INDEXER: ("wq_b", "wk", "q_proj", "k_proj", "wkv", "wgate", "weights_proj"),
}


@dataclass(frozen=True)
class Definition:
    """An architecture; its name is the ``model_type`` of config.json, and the name of the file that it is defined in.

    title: as people call it.
    patterns: (regular expression, group) of tensor names without the suffixes of scales, where
    aoe.checkpoints.patterns places some of them wrongly; the first that matches wins.
    layer: a function of (config, number of the layer) that returns the Tensors of that layer; without one, a study
    cannot be planned before its models are locked.
    """

    title: str
    patterns: Patterns = ()
    layer: Layer | None = None


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
