"""Sweeps: variants over λ2, the weight of the second parent, or over δ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aoe import AoeError
from aoe.checkpoints.tokens.beside import CHOICES
from aoe.merging.recipe import Recipe, read_recipe

OF_RECIPES = (  # keys that a sweep hands to all of its recipes
    *("config", *CHOICES),
    *("arithmetic", "rounding", "seed"),
)


@dataclass(frozen=True)
class Point:
    """One position of a sweep: λ2 (the weight of the second parent), δ, and the variant that stands there."""

    lambda2: float
    delta: float
    variant: str


def sweep_points(
    sweep: str,
    settings: dict[str, Any],
    models: dict[str, Any],
    variants: dict[str, Recipe],
    entries: dict[str, dict[str, Any]],
) -> Iterator[Point]:
    """Yield the points of a sweep, and add their variants to ``variants`` and ``entries``.

    A recipe that another variant already has is not assembled twice.  Raises AoeError if two recipes would have one
    name.
    """
    base, other = settings["base"], settings["other"]
    for lambda2 in dict.fromkeys(settings["lambda2"]):  # a value that is given twice is one point
        for delta in dict.fromkeys(settings.get("delta", [0])):
            name = f"{sweep}-{delta if 'delta' in settings else lambda2:g}"
            entry = {"base": base, "weights": {base: 1 - lambda2, other: lambda2}, "subset": settings.get("subset", {})}
            entry |= {key: settings[key] for key in OF_RECIPES if key in settings}
            if "delta" in settings:
                entry["threshold"] = {"delta": delta, "space": settings["space"]}
            recipe = read_recipe(f"{name} of the sweep {sweep}", entry, models)
            same = [known for known in variants if variants[known].canonical() == recipe.canonical()]
            if not same and name in variants:
                raise AoeError(
                    f"sweeps.{sweep} would give two recipes the name {name}; a sweep over δ has one λ2, and no variant "
                    "has the name of another sweep's point."
                )
            if not same:
                variants[name], entries[name] = recipe, entry
            yield Point(float(lambda2), float(delta), same[0] if same else name)
