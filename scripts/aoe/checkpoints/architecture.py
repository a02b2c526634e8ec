"""Which part of a model a tensor belongs to, decided from its name and the model's config.

aoe.checkpoints.patterns has the patterns of names that architectures share, and aoe.checkpoints.architectures those of
single architectures, which come first.  Every tensor of a multi-token-prediction (MTP) layer belongs to the group
``mtp``, whatever its name, and every tensor of another modality's tower to ``vision``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aoe.checkpoints import patterns
from aoe.checkpoints.architectures import definitions
from aoe.checkpoints.formats import weight_of
from aoe.checkpoints.keys import is_dense, layers_of, linear_layers, mtp_layers_of, text_config
from aoe.checkpoints.parts import TensorGroup
from aoe.checkpoints.patterns import EXPERT, GATE, IN_LAYERS, LAYER, MAIN, MTP, PARAMETER

NAMED = 3  # names of tensors without a known place that a sentence has


@dataclass(frozen=True)
class Place:
    """A tensor's place in the model: group, layer (None outside the layers), routed expert (or None), kind.

    A layer is one of the language model: those of other modalities' towers have none.  Layers of MTP follow the
    others, wherever their names put them.  ``kind`` is the projection or parameter without its place, such as
    ``down_proj`` or ``kv_a_proj_with_mqa``.
    """

    group: TensorGroup
    layer: int | None
    expert: int | None
    kind: str


class Architecture:
    """The places of one model's tensors.  config: its config.json.  Raises AoeError if that names no layers at all."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.model_type = config.get("model_type")
        self.layers, self.linear = layers_of(config), linear_layers(config)
        self.mtp_layers = mtp_layers_of(config)
        self.is_inside = text_config(config) is not config  # the language model, inside another one
        self.is_dense = is_dense(config)
        known = definitions().get(self.model_type) if isinstance(self.model_type, str) else None
        self.patterns = [
            (re.compile(pattern), group) for pattern, group in (*(known.patterns if known else ()), *patterns.PATTERNS)
        ]
        self._found: dict[str, tuple[TensorGroup, int | None, str]] = {}

    def place(self, tensor: str) -> Place:
        """Return the Place of a tensor; a scale has its weight's place, and what no pattern places is in ``other``."""
        expert = EXPERT.search(tensor)
        # experts differ in their number only, and are nine tenths of a model's tensors
        name = f"{tensor[: expert.start(1)]}0{tensor[expert.end(1) :]}" if expert else tensor
        if name not in self._found:
            self._found[name] = *self._group(weight_of(name)), _kind(name)
        group, layer, kind = self._found[name]
        return Place(group, layer, int(expert[1]) if expert else None, kind)

    def _group(self, weight):
        """(group, layer) of a weight."""
        if mtp := MTP.match(weight):
            return TensorGroup.MTP, self.layers + int(mtp[1]) if mtp[1] else None
        numbered = LAYER.match(weight)
        before, layer = (numbered[1], int(numbered[2])) if numbered else ("", None)
        group = self._match(weight)
        if group == TensorGroup.VISION:
            return group, None
        is_main = MAIN.sub("", before) == ""
        if layer is not None and not is_main and (self.is_inside or layer >= self.layers):
            return TensorGroup.OTHER, None  # a stack of layers of its own, such as a tower's
        if layer is not None and layer >= self.layers:
            return TensorGroup.MTP, layer
        if layer is None and self.is_inside:  # a module of another model may hold anything
            group = self._match(f"{MAIN.sub('', weight).split('.')[0]}.weight")
        if layer is None and group in IN_LAYERS:
            return TensorGroup.OTHER, None
        if group == TensorGroup.ATTENTION and layer in self.linear:
            return TensorGroup.LINEAR_ATTENTION, layer
        return group, layer

    def _match(self, name):
        group = next((group for pattern, group in self.patterns if pattern.search(name)), TensorGroup.OTHER)
        is_mlp = group == TensorGroup.ROUTER_GATE and self.is_dense and re.search(GATE, name)
        return TensorGroup.DENSE_MLP if is_mlp else group


def _kind(name):
    """The last word of a name that is no parameter's."""
    words = [word for word in PARAMETER.sub("", name).split(".") if not word.isdecimal()]
    return words[-1] if words else name


def remarks(model: str, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return sentences on what tensors of a model may have another place than their names say.

    shapes: {tensor: its shape}.
    """
    architecture = Architecture(config)
    return [
        *unplaced(model, architecture, shapes),
        *stacked(model, architecture, shapes),
        *beyond(model, architecture, shapes),
    ]


def unplaced(model: str, architecture: Architecture, tensors: Iterable[str]) -> list[str]:
    """Return a sentence on the tensors of a model that are in the group ``other``; none if there are none."""
    found = sorted(tensor for tensor in tensors if architecture.place(tensor).group == TensorGroup.OTHER)
    if not found:
        return []
    names = _named(found)
    have, belong = (f"{len(found):,} tensors have", "belong") if len(found) > 1 else ("a tensor has", "belongs")
    where = f"the architecture {architecture.model_type}" if architecture.model_type else "its architecture"
    return [f"{model}: {have} no known place in {where}, and {belong} to the group `other`: {names}."]


def stacked(model: str, architecture: Architecture, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a sentence on stacks of matrices in the group ``dense_mlp``, which may be routed experts.

    shapes: {tensor: its shape}.
    """
    stacks = (tensor for tensor, shape in shapes.items() if len(shape) == 3 and min(shape) > 1)
    found = sorted(tensor for tensor in stacks if architecture.place(tensor).group == TensorGroup.DENSE_MLP)
    if not found:
        return []
    return [
        f"{model}: the group `dense_mlp` has stacks of matrices, which may be all experts of a layer: {_named(found)}. "
        "If they are, docs/how-to/add-an-architecture.md says how to correct their group."
    ]


def beyond(model: str, architecture: Architecture, tensors: Iterable[str]) -> list[str]:
    """Return a sentence on layers after the last one that a config states, if it does not state them as MTP."""
    numbered = filter(None, map(LAYER.match, tensors))
    found = sorted({int(one[2]) for one in numbered if architecture.place(one.string).group == TensorGroup.MTP})
    found = [layer for layer in found if layer >= architecture.layers]
    if len(found) <= architecture.mtp_layers:
        return []
    stated = f"{architecture.layers} layers and {architecture.mtp_layers} of multi-token prediction"
    return [
        f"{model}: config.json states {stated}, but the weights have layers up to {found[-1]}; those from "
        f"{architecture.layers} on are in the group `mtp`. If they are others, correct the number in config.json."
    ]


def _named(tensors):
    more = f" and {len(tensors) - NAMED} more" if len(tensors) > NAMED else ""
    return ", ".join(tensors[:NAMED]) + more
