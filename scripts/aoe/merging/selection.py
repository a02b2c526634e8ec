"""Selections: does every group, range of layers or experts and name pattern of a subset select a tensor of its model?

A part that selects nothing is a mistake: the study means a layer, an expert or a group that the model does not have.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.lock import UNKNOWN, Locked
from aoe.checkpoints.architecture import Architecture, Place, TensorGroup
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import weight_of
from aoe.checkpoints.inventory import inventory
from aoe.merging.recipe import Recipe
from aoe.merging.subset import Subset, read_subset

Tensors = list[tuple[str | None, Place]]  # weights with their places; a name is None where only its place is known


def check_recipe(where: str, recipe: Recipe, tensors: Tensors) -> None:
    """Raise AoeError, beginning with ``where``, if S, an override, or a part of one selects no tensor of the base.

    tensors: [(name, Place)] of the base's weights; a name is None where only its place is known, and then no name
    pattern is looked at.  An override has to select within S, and what no override before it has.
    """
    inside = check_subset(f"{where} has a subset", recipe.subset, tensors, recipe.base)
    left = inside
    for number, (subset, _) in enumerate(recipe.overrides, start=1):
        what = f"{where} has the override {number}"
        check_subset(what, subset, inside, f"{recipe.base} in its subset" if recipe.subset != Subset() else recipe.base)
        if not _selected(subset, left):
            raise AoeError(
                f"{what} ({subset.describe()}), of which the overrides before it have every tensor; change their order."
            )
        if not subset.is_of_tensors or _are_named(left):
            taken = set(_selected(subset, left))
            left = [tensor for tensor in left if tensor not in taken]


def check_subset(what: str, subset: Subset, tensors: Tensors, model: str) -> Tensors:
    """Return the tensors that a subset selects.  Raises AoeError for a part that selects none."""
    selected = _selected(subset, tensors)
    if not selected:
        raise AoeError(f"{what} ({subset.describe()}) that selects no tensor of {model}{_there_is(subset, tensors)}.")
    for part, alone in subset.parts():
        same = (alone.names, alone.experts) == (subset.names, subset.experts)
        if (same or _are_named(tensors)) and not _selected(alone, selected):
            others = " together with its other conditions" if len(_conditions(subset)) > 1 else ""
            raise AoeError(
                f"{what} ({subset.describe()}) of which {part} selects no tensor of {model}{others}"
                f"{_there_is(subset, tensors)}; correct it or leave it out."
            )
    return selected


def _conditions(subset):
    conditions = (subset.groups, subset.layers, subset.experts, subset.names)
    return [condition for condition in conditions if condition]


def _there_is(subset, tensors):
    """Which layers and experts there are, in words, if a subset selects by these."""
    layers = [place.layer for _, place in tensors if place.layer is not None]
    experts = [place.expert for _, place in tensors if place.expert is not None]
    text = f", which has the layers {min(layers)}-{max(layers)}" if subset.layers and layers else ""
    if subset.experts and experts:
        text += f"{' and' if text else ', which has'} the experts {min(experts)}-{max(experts)}"
    elif subset.experts and any(place.group == TensorGroup.ROUTED_EXPERTS for _, place in tensors):
        text += ", which has the experts of a layer in one piece" if _are_named(tensors) else ""
    return text


def _are_named(tensors):
    return all(name is not None for name, _ in tensors)


def _selected(subset, tensors):
    """The tensors in a subset, whose name patterns and experts count for named tensors only."""
    return [
        (name, place)
        for name, place in tensors
        if ((name, place) in subset if name is not None else subset.meets(place.group, [place.layer]))
    ]


def check_selections(study: Any, locked: Mapping[str, Locked], directories: Mapping[str, Path | str]) -> None:
    """Raise AoeError if a subset of a Study's variants, sweeps or audits has a part that selects nothing.

    locked: name -> Locked; directories: name -> folder.  Tensor names are read of models that lie there, and follow
    from the config that a study expects of the others; where they are not known, name patterns are not looked at.
    """
    known, checked = {}, set()

    def tensors(model, subsets):
        named = any(subset.is_of_tensors for subset in subsets)
        if (model, named) not in known:
            known[model, named] = (named and _named(study.models[model], directories[model])) or _held(locked[model])
        return known[model, named]

    for variant, recipe in study.variants.items():
        subsets = [recipe.subset, *(subset for subset, _ in recipe.overrides)]
        what = recipe.base, *subsets
        if what not in checked and any(subset != Subset() for subset in subsets):
            check_recipe(f"The variant {variant}", recipe, tensors(recipe.base, subsets))
        checked.add(what)  # the points of a sweep share a subset
    for audit, entry in study.audits.items():
        for check, settings in entry.get("checks", {}).items():
            subset = read_check(f"audits.{audit}.checks.{check}", settings)
            there = tensors(entry["parents"][0], [subset])
            check_subset(f"audits.{audit}.checks.{check} is of weights", subset, there, entry["parents"][0])


def read_check(where: str, settings: Mapping[str, Any]) -> Subset:
    """Return the Subset of an audit's named claim, {"from", "groups", "layers", "experts", "names"}."""
    return read_subset(where, {key: value for key, value in settings.items() if key != "from"})


def _held(locked):
    """[(None, Place)] of the groups and layers that a lock says a model's shards hold."""
    held = {
        (group, layer)
        for facts in locked.files.values()
        for group, layers in facts.get("holds", {}).items()
        for layer in [*layers, None]
        if group != UNKNOWN
    }
    return [(None, Place(TensorGroup(group), layer, None, "")) for group, layer in sorted(held, key=str)]


def _named(model, directory):
    """[(name, Place)] of a model's weights, or [] if nobody can tell yet."""
    try:
        if "expected" in model:
            config = json.loads(Path(model["expected"]["config"]).read_text(encoding="utf-8"))
            names: Iterable[str] = inventory(config)
        else:
            checkpoint = Checkpoint(directory)
            config, names = checkpoint.config, checkpoint.files
        return places(Architecture(config), names)
    except (AoeError, OSError, ValueError):
        return []  # what is wrong with the model's files is told where they are read


def places(architecture: Architecture, tensors: Iterable[str]) -> Tensors:
    """Return [(name, Place)] of weights, without their scales."""
    return [(tensor, architecture.place(tensor)) for tensor in tensors if weight_of(tensor) == tensor]
