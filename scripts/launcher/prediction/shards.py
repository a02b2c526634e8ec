"""Choose some of a model's shards that stand for all of them, before any is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aoe.acquiring.lock import Locked

MAIN = ("attention", "linear_attention", "routed_experts", "shared_experts")  # groups that a prediction is about

Holds = Mapping[str, Collection[int]]  # of a shard: {tensor group: [layers]}


def chosen_shards(locked: Locked, number: int) -> list[str]:
    """Return so many of a model's shards, in their order: evenly spread, of those that hold the most of MAIN."""
    files = locked.shards
    held = {file: len(_holds(locked, file).keys() & set(MAIN)) for file in files}
    number = min(number, len(files))
    chosen: list[str] = []
    for place in range(number):
        middle = (2 * place + 1) * len(files) / (2 * number) - 0.5
        free = [file for file in files if file not in chosen]
        most = max(held[file] for file in free)
        best = [file for file in free if held[file] == most]
        chosen.append(min(best, key=lambda file: abs(files.index(file) - middle)))
    return sorted(chosen, key=files.index)


def counterparts(locked: Locked, base: Locked, chosen: Sequence[str]) -> list[str]:
    """Return the shards of another model that hold what ``chosen`` shards of the base hold.

    Shards of the same names are taken for cut alike.  Of a model that is cut otherwise, they are all that hold the
    same groups of the same layers.
    """
    if set(chosen) <= set(locked.shards) and len(locked.shards) == len(base.shards):
        return list(chosen)
    wanted = [_holds(base, file) for file in chosen]
    return [file for file in locked.shards if any(_meet(_holds(locked, file), holds) for holds in wanted)]


def _holds(locked: Locked, file: str) -> Holds:
    return locked.files[file].get("holds", {})


def _meet(one: Holds, other: Holds) -> bool:
    """Whether two shards hold the same group of the same layer, or the same group outside of layers."""
    shared = one.keys() & other.keys()
    return any(set(one[group]) & set(other[group]) or not (one[group] or other[group]) for group in shared)
