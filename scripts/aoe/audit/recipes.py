"""The shortest recipe, as a study writes it, that gives every weight a mixture which it allows."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from aoe.audit import Row
from aoe.audit.mixtures import Allowed, Mixture
from aoe.merging.subset import as_written

Entry = dict[str, Any]  # a recipe as a study writes it


def shortest_recipe(rows: Sequence[Row], allowed: Allowed, base: str, alone: Collection[str] = frozenset()) -> Entry:
    """Return the shortest recipe with a base.

    Its subset S is all weights, the groups that are not the base's, or whatever else holds the weights that are not.
    rows: of the weights that allow a mixture; alone: the names of weights that a threshold leaves alone.
    """
    rows = [row for row in rows if row["tensor"] not in alone]
    defaults = _defaults(rows, allowed)
    exceptions = [row for row in rows if defaults[row["group"]] not in allowed[row["tensor"]]]
    changed = {group for group, mixture in defaults.items() if mixture != ((base, 1.0),)}
    chosen = changed | {row["group"] for row in exceptions}
    overrides = _exceptions(exceptions, rows, allowed)
    entries = [_entry(base, subset, defaults, rows, overrides) for subset in (set(defaults), chosen)]
    return min([*entries, *_of_one_subset(rows, allowed, base)], key=length)


def _of_one_subset(rows: Sequence[Row], allowed: Allowed, base: str) -> Iterator[Entry]:
    """The recipe whose S is a single subset of some layers or kinds, if there is one that leaves the base the rest."""
    kept = ((base, 1.0),)
    inside = [row for row in rows if kept not in allowed[row["tensor"]]]
    covers = _covers(inside, [row for row in rows if allowed[row["tensor"]] == {kept}])
    if len(covers) != 1 or not inside:
        return
    sizes: Counter[Mixture] = Counter()
    for row in inside:
        sizes.update(dict.fromkeys(allowed[row["tensor"]], row["elements"]))
    main = max(sorted(sizes), key=lambda mixture: sizes[mixture])
    overrides = _exceptions([row for row in inside if main not in allowed[row["tensor"]]], inside, allowed)
    entry = {"base": base, "weights": dict(main)} | ({"subset": covers[0]} if covers[0] else {})
    yield _complete(entry, overrides)


def _exceptions(exceptions, rows, allowed):
    """Overrides for weights that do not allow what most of their group has."""
    overrides = []
    while exceptions:
        (mixture, _), *_ = Counter(m for row in exceptions for m in sorted(allowed[row["tensor"]])).most_common(1)
        inside = [row for row in exceptions if mixture in allowed[row["tensor"]]]
        outside = [row for row in rows if mixture not in allowed[row["tensor"]]]
        overrides += [{"subset": part, "weights": dict(mixture)} for part in _covers(inside, outside)]
        exceptions = [row for row in exceptions if mixture not in allowed[row["tensor"]]]
    return overrides


def _entry(
    base: str, subset: set[str], defaults: dict[str, Mixture], rows: Sequence[Row], overrides: list[Entry]
) -> Entry:
    """A recipe of the groups in ``subset``, one mixture a group, with overrides that come first."""
    sizes: Counter[Mixture] = Counter()
    others: defaultdict[Mixture, list[str]] = defaultdict(list)
    for row in rows:
        sizes[defaults[row["group"]]] += row["elements"] if row["group"] in subset else 0
    main = max(sorted(sizes), key=lambda mixture: sizes[mixture]) if subset else ((base, 1.0),)
    for group in sorted(subset):
        if defaults[group] != main:
            others[defaults[group]].append(group)
    entry: Entry = {"base": base, "weights": dict(main)}
    if subset and subset != set(defaults):
        entry["subset"] = {"groups": sorted(subset)}
    overrides = overrides + [{"subset": {"groups": of}, "weights": dict(mixture)} for mixture, of in others.items()]
    return _complete(entry, overrides)


def _complete(entry, overrides):
    if overrides:
        entry["overrides"] = overrides
    mixtures = [entry["weights"], *(override["weights"] for override in overrides)]
    if any(min(shares.values()) < 0 or abs(math.fsum(shares.values()) - 1) > 1e-9 for shares in mixtures):
        entry["convex"] = False
    return entry


def _defaults(rows: Sequence[Row], allowed: Allowed) -> dict[str, Mixture]:
    """{group: the mixture that most of it allows}; of several, the one that is common elsewhere."""
    everywhere: Counter[Mixture] = Counter()
    groups: defaultdict[str, Counter[Mixture]] = defaultdict(Counter)
    for row in rows:
        for mixture in allowed[row["tensor"]]:
            everywhere[mixture] += row["elements"]
            groups[row["group"]][mixture] += row["elements"]
    return {
        group: max(sorted(sizes), key=lambda mixture: (groups[group][mixture], everywhere[mixture]))
        for group, sizes in groups.items()
    }


def _covers(inside, outside):
    """Subsets, as a study writes them, that hold all weights of ``inside`` and none of ``outside``."""
    covers, left = [], list(inside)
    if not outside:
        return [{}]
    for keys in ((), ("group",), ("group", "kind")):
        taken = {(*_key(row, keys), row["layer"]) for row in outside}
        found: defaultdict[tuple, set[int]] = defaultdict(set)
        merged: defaultdict[tuple[frozenset[int], tuple], set[Any]] = defaultdict(set)
        for row in left:
            if row["layer"] is not None and (*_key(row, keys), row["layer"]) not in taken:
                found[_key(row, keys)].add(row["layer"])
        left = [row for row in left if row["layer"] not in found.get(_key(row, keys), ())]
        for key, layers in found.items():  # groups of the same layers go together, and kinds of the same group
            merged[frozenset(layers), key[:1] if len(keys) > 1 else ()].add(key[-1] if key else None)
        for (common, group), members in merged.items():
            cover = {"groups": [*group] or sorted(members)} if keys else {}
            cover |= {"layers": as_written(common)}
            covers.append(cover | ({"names": _patterns(members, inside)} if group else {}))
    of_experts, left = _covers_of_experts(left, outside)
    return covers + of_experts + ([{"names": sorted(row["tensor"] for row in left)}] if left else [])


def _covers_of_experts(left, outside):
    """(subsets of whole experts, or of kinds of their weights, in some layers; the weights that none of them holds)."""
    covers = []
    for keys in (("group",), ("group", "kind")):
        there = [row for row in (*left, *outside) if row["expert"] is not None]
        taken = {(*_key(row, keys), row["layer"], row["expert"]) for row in outside}
        found: defaultdict[tuple, set[tuple[int, int]]] = defaultdict(set)
        for row in left:
            if row["expert"] is not None and (*_key(row, keys), row["layer"], row["expert"]) not in taken:
                found[_key(row, keys)].add((row["layer"], row["expert"]))
        left = [row for row in left if (row["layer"], row["expert"]) not in found.get(_key(row, keys), ())]
        merged: defaultdict[tuple, set[str]] = defaultdict(set)
        for key, places in found.items():  # kinds of the same experts go together
            merged[key[0], frozenset(places)].update(key[1:])
        for (group, places), kinds in merged.items():
            layers = {row["layer"] for row in there if row["group"] == group}
            names = {"names": _patterns(kinds, there)} if kinds else {}
            for common, experts in _rectangles(places):
                limit = {} if common >= layers else {"layers": as_written(common)}
                covers.append({"groups": [group], **limit, "experts": as_written(experts), **names})
    return covers, left


def _rectangles(places):
    """The fewest [(layers, experts)] that are all of some (layer, expert): by the layers of an expert, or the other way
    round."""
    ways = []
    for first in (0, 1):
        lines: defaultdict[int, set[int]] = defaultdict(set)
        for place in places:
            lines[place[first]].add(place[1 - first])
        alike: defaultdict[frozenset[int], set[int]] = defaultdict(set)
        for number, others in lines.items():
            alike[frozenset(others)].add(number)
        ways.append([(numbers, others) if first == 0 else (others, numbers) for others, numbers in alike.items()])
    return min(ways, key=len)


def _patterns(kinds, rows):
    """Name patterns of kinds of weights: parameters of a module, or of its own name."""
    ends = {row["kind"] for row in rows if row["tensor"].endswith(f".{row['kind']}")}
    return [f"*.{kind}" if kind in ends else f"*.{kind}.*" for kind in sorted(kinds)]


def _key(row, keys):
    return tuple(row[key] for key in keys)


def length(entry: Entry) -> int:
    """Count the things that a recipe says: λ, conditions of subsets, and a threshold, which counts twice."""
    subsets = [entry.get("subset", {}), *(override["subset"] for override in entry.get("overrides", []))]
    mixtures = [entry["weights"], *(override["weights"] for override in entry.get("overrides", []))]
    said = sum(map(len, mixtures)) + sum(len(values) for subset in subsets for values in subset.values())
    return said + 2 * ("threshold" in entry)
