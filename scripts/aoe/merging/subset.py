"""Subsets: which tensors of a model a recipe, or a part of one, is about, as data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aoe import AoeError
from aoe.checkpoints.architecture import Place, TensorGroup

LAST = {"layer": 9999, "expert": 99_999}  # no model has as many
WITH_EXPERTS = (TensorGroup.ROUTED_EXPERTS, TensorGroup.MTP)  # groups of tensors that can be one expert's


@dataclass(frozen=True)
class Subset:
    """A set of tensors: those that match every given condition; without a condition, all.

    groups: TensorGroup values; layers: layer numbers; names: shell patterns on tensor names, one of which must match;
    ranges: the layers as they are written, (first, last) of each item; experts: numbers of routed experts of a layer;
    expert_ranges: these as they are written.
    """

    groups: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    experts: tuple[int, ...] = ()
    expert_ranges: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def __contains__(self, tensor_and_place: tuple[str, Place]) -> bool:
        tensor, place = tensor_and_place
        return (
            (not self.groups or place.group in self.groups)
            and (not self.layers or place.layer in self.layers)
            and (not self.experts or place.expert in self.experts)
            and (not self.names or any(fnmatch.fnmatchcase(tensor, pattern) for pattern in self.names))
        )

    def describe(self) -> str:
        """Return the conditions in words: ``routed_experts; layers 3-5, 7; experts 0-127``, or ``all``."""
        numbers = {"layers": self.layers, "experts": self.experts}
        ranges = [f"{what} {', '.join(_ranges(chosen))}" for what, chosen in numbers.items() if chosen]
        return "; ".join(filter(None, [", ".join(self.groups), *ranges, ", ".join(self.names)])) or "all"

    @property
    def is_of_tensors(self) -> bool:
        """Whether the subset tells tensors of one group and layer apart, so that their names have to be known."""
        return bool(self.names or self.experts)

    def parts(self) -> Iterator[tuple[str, Subset]]:
        """Yield (name, Subset) of every group, range of numbers and name pattern alone, with the other conditions."""
        for group in self.groups:
            yield f"the group {group}", replace(self, groups=(group,))
        for first, last in self.ranges:
            what = f"layer {first}" if first == last else f"layers {first}-{last}"
            yield f"the {what}", replace(self, layers=tuple(range(first, last + 1)), ranges=())
        for first, last in self.expert_ranges:
            what = f"expert {first}" if first == last else f"experts {first}-{last}"
            yield f"the {what}", replace(self, experts=tuple(range(first, last + 1)), expert_ranges=())
        for pattern in self.names:
            yield f"the name pattern {pattern!r}", replace(self, names=(pattern,))

    def meets(self, group: str, layers: Collection[int | None]) -> bool:
        """Return whether tensors of a group in some layers (none: outside the layers) can be in the subset."""
        in_layers = not self.layers or any(layer in self.layers for layer in layers)
        in_groups = (not self.groups or group in self.groups) and (not self.experts or group in WITH_EXPERTS)
        return in_groups and in_layers


def read_subset(where: str, entry: Mapping[str, Any]) -> Subset:
    """Return a Subset from {groups: […], layers: [3, "10-20"], experts: ["0-127"], names: ["*.gate_proj.*"]}."""
    groups = entry.get("groups", [])
    for group in groups:
        if group not in list(TensorGroup):
            raise AoeError(f"{where} selects the unknown group {group!r} ({', '.join(TensorGroup)}).")
    layers, experts = (
        tuple(_range(where, what, item) for item in entry.get(f"{what}s", [])) for what in ("layer", "expert")
    )
    names = tuple(entry.get("names", []))
    return Subset(tuple(groups), _numbers(layers), names, layers, _numbers(experts), experts)


def _numbers(ranges):
    return tuple(number for first, last in ranges for number in range(first, last + 1))


def _range(where, what, item):
    found = re.fullmatch("([0-9]+)(?:-([0-9]+))?", str(item))
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise AoeError(f"{where} has the {what} selection {item!r}; write a number or a range such as 3-10.")
    if last > LAST[what]:
        raise AoeError(f"{where} has the {what} selection {item!r}; no model has so many {what}s.")
    return first, last


def _ranges(numbers):
    """[3, 4, 5, 7] -> ["3-5", "7"]."""
    numbers, found = sorted(set(numbers)), []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]
