"""Families of sweeps: those that merge the same weights of the same parents, and only round or calculate in other ways.

Figures and tests compare the members of a family with one another.  Nothing in a study file names a family: sweeps
belong together if all their keys but λ2, the rounding and the arithmetic are the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aoe.studies.study import Study

# keys in which members of a family may differ, and what they are where a sweep does not say
ROUNDED = {"rounding": "nearest", "arithmetic": "float32"}
OWN = {"lambda2", "seed", *ROUNDED}

Family = Mapping[str, Any]


def families(study: Study) -> list[Family]:
    """Return the families of sweeps over at least four λ2, in the order of the study file.

    Each is a dict that can be written as JSON: ``name``, ``other`` (the parent whose weight is λ2), and ``sweeps``:
    sweep -> {``rounded``: in words, ``points``: [{lambda2, delta, variant}]}.
    """
    found: dict[str, dict[str, Any]] = {}
    for sweep, points in study.positions(over_lambda2=True).items():
        entry = study.content["sweeps"][sweep]
        merged = {key: value for key, value in entry.items() if key not in OWN}
        found.setdefault(repr(sorted(merged.items())), {})[sweep] = points
    return [_family(study, members) for members in found.values()]


def compares_roundings(found: Iterable[Family]) -> bool:
    """Tell whether any family has several roundings or arithmetics."""
    return any(len(family["sweeps"]) > 1 for family in found)


def rounded_in_words(entry: dict[str, Any]) -> str:
    """Return how a sweep is rounded: ``nearest``, ``unrounded``; with another arithmetic than float32, that too."""
    rounding, arithmetic = (entry.get(key, usual) for key, usual in ROUNDED.items())
    word = "unrounded" if rounding == "none" else rounding
    return word if arithmetic == ROUNDED["arithmetic"] else f"{word}, {arithmetic}"


def roundings(found: Iterable[Family]) -> list[str]:
    """Return in words how the sweeps of some families are rounded, each once, in their order."""
    return list(dict.fromkeys(member["rounded"] for family in found for member in family["sweeps"].values()))


def _family(study: Study, members: dict[str, Any]) -> Family:
    entries = study.content["sweeps"]
    words = {sweep: rounded_in_words(entries[sweep]) for sweep in members}
    if len(set(words.values())) < len(words):  # such as two seeds: names tell them apart
        words = {sweep: sweep for sweep in members}
    return {
        "name": _common_beginning(list(members)) or next(iter(members)),
        "other": entries[next(iter(members))]["other"],
        "sweeps": {sweep: {"rounded": words[sweep], "points": points} for sweep, points in members.items()},
    }


def _common_beginning(names: list[str]) -> str:
    """The words that all names begin with: ``full`` of ``full-nearest`` and ``full-none``; none of unlike names."""
    words = [re.split(r"(?<=[-_.])", name) for name in names]
    common = itertools.takewhile(lambda same: len(set(same)) == 1, zip(*words, strict=False))
    return "".join(same[0] for same in common).rstrip("-_.")
