"""Which part of a Mixture-of-Experts model a tensor belongs to, decided from its name and the model's config.

aoe.checkpoints.architectures has the patterns of every architecture; the first that matches a name decides.  Every
tensor of a multi-token-prediction (MTP) layer belongs to the group ``mtp``, whatever its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aoe import AoeError
from aoe.checkpoints.architectures import definitions
from aoe.checkpoints.formats import SCALE_SUFFIX, weight_of
from aoe.checkpoints.parts import TensorGroup

EXPERT = re.compile(r"\.experts\.(\d+)\.")
PARAMETER = re.compile(rf"(\.weight({SCALE_SUFFIX})?|\.bias)$")


@dataclass(frozen=True)
class Place:
    """A tensor's place in the model: group, layer (None outside the layers), routed expert (or None), kind.

    ``kind`` is the projection or parameter without its place, such as ``down_proj`` or ``kv_a_proj_with_mqa``.
    """

    group: TensorGroup
    layer: int | None
    expert: int | None
    kind: str


class Architecture:
    """The places of one model's tensors.  Raises AoeError for an unknown ``model_type`` or an unplaceable tensor."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or model_type not in definitions():
            known = ", ".join(definitions())
            raise AoeError(f"The architecture {model_type!r} is unknown; known ones are {known}.")
        self.model_type = model_type
        self.layers = config.get("num_hidden_layers")
        if type(self.layers) is not int:
            raise AoeError(f"The model's config.json says {self.layers!r} for num_hidden_layers, which is no number.")
        self._found = {}

    def place(self, tensor: str) -> Place:
        """Return the Place of a tensor; a scale has its weight's place."""
        expert = EXPERT.search(tensor)
        # experts differ in their number only, and are nine tenths of a model's tensors
        name = f"{tensor[: expert.start(1)]}0{tensor[expert.end(1) :]}" if expert else tensor
        if name not in self._found:
            numbered = re.match(r"^model\.layers\.(\d+)\.", name)
            layer = int(numbered[1]) if numbered else None
            kind = PARAMETER.sub("", name).rsplit(".", 1)[-1]
            self._found[name] = self._group(name, layer), layer, kind
        group, layer, kind = self._found[name]
        return Place(group, layer, int(expert[1]) if expert else None, kind)

    def _group(self, tensor, layer):
        if layer is not None and layer >= self.layers:
            return TensorGroup.MTP
        weight = weight_of(tensor)
        for pattern, group in definitions()[self.model_type].patterns:
            if re.search(pattern, weight):
                return group
        raise AoeError(f"The tensor {tensor} has no place in the architecture {self.model_type}.")
