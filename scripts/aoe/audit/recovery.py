"""The shortest recipe that reproduces a published model, from the rows of its weights.

Each weight allows some mixtures: those whose rebuilt bytes, or values, are the published ones.  Where all parents agree
it allows every mixture, and so decides nothing; where its numbers were rounded away, several.  A recipe is a subset S,
one mixture for most of it, others for parts of it, and perhaps a threshold δ below which weights were left alone.
"""

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from aoe.audit.attribution import BYTES, ROUNDING, VALUES, is_undecidable
from aoe.audit.fitting import SIMPLE, orders
from aoe.checkpoints.architecture import Place, TensorGroup
from aoe.merging.recipe import read_recipe

EXPLAINED = ("copied", "equal", "claimed", "mixed")
SPACES = ("codes", "normalized", "frobenius", "relative")  # of δ, the likeliest first: the paper's fit stored codes
MOST_MIXTURES = 64  # a model that needs more was not assembled by a recipe
SAME_LAMBDA = 0.002  # largest difference between λ of one mixture, which rounding makes
FEWEST = 8  # weights of a group that can tell how it was made
WITNESSES = 8  # weights, the most precise ones, that a λ common to all has to reproduce


@dataclass(frozen=True)
class Recovered:
    """``entry``: the recipe as a study writes it, or None; ``mixtures``: weight -> {parent: λ} that it gives to those
    that it reproduces; ``undecidable``: how many every recipe would; ``thresholds``: norm -> [low, high): δ that would
    do, if there is one; ``exact``: group -> whether mixtures have to give its values, not what rounding takes there.
    """

    entry: dict | None
    mixtures: dict
    undecidable: int
    thresholds: dict
    exact: dict


def recover(rows, names, reproduces):
    """The Recovered recipe of a model.

    rows: of aoe.audit.attribution, dicts; names: the parents', the base first; reproduces: a function of (weight,
    {parent: λ}), whether that gives what was published.
    """
    readable = [row for row in rows if row["found"] in (*EXPLAINED, "unexplained")]
    undecidable = [row["tensor"] for row in readable if is_undecidable(row) and row["found"] in EXPLAINED]
    decided = [row for row in readable if not is_undecidable(row)]
    exact = exact_groups(decided)
    allowed = _allowed(decided, names, reproduces, exact)
    decided = [row for row in decided if allowed[row["tensor"]]]
    if not decided:
        return Recovered(None, {}, len(undecidable), {}, exact)
    # of several recipes of one length, the one whose base gave the most
    kept = {name: sum(row["elements"] for row in decided if ((name, 1.0),) in allowed[row["tensor"]]) for name in names}
    entries = [_described(decided, allowed, base) for base in sorted(names, key=lambda name: -kept[name])]
    limited = list(_with_thresholds(decided, allowed, names))
    entry = min([*entries, *(entry for entry, _ in limited)], key=lambda entry: (_length(entry), _has_idle_base(entry)))
    # other norms may tell the weights that were left alone from the others as shortly
    as_short = [(e["threshold"]["space"], gap) for e, gap in limited if _length(e) == _length(entry)]
    thresholds = dict(reversed(as_short)) if "threshold" in entry else {}
    mixtures = _mixtures(entry, decided, allowed, names)
    mixtures |= {weight: {entry["base"]: 1.0} for weight in undecidable}
    return Recovered(entry, mixtures, len(undecidable), thresholds, exact)


def _has_idle_base(entry):
    """Whether nothing but names and formats would come from the base; as short, but odd to read."""
    return "subset" not in entry and entry["base"] not in entry["weights"]


def exact_groups(rows):
    """{group: whether most of it is there to the last bit}: copied, or a mixture of λ that can be written down.

    Elsewhere rounding has to explain some, as the model was made with another arithmetic, or λ are only nearly known.
    A group of few weights is judged by the whole model.
    """
    sizes, counts = defaultdict(Counter), Counter(row["group"] for row in rows)
    for row in rows:
        if row["found"] in EXPLAINED:
            told = _is_exact(row)
            sizes[None][told] += row["elements"]
            sizes[row["group"]][told] += row["elements"]
    return {
        group: (found := sizes[group if count >= FEWEST else None])[True] >= found[False]
        for group, count in counts.items()
    }


def _is_exact(row):
    if row["found"] in ("copied", "equal"):
        return True
    shares = [row[f"lambda_{name}"] for name in row["order"]]
    known = all(min(abs(share * d - round(share * d)) for d in SIMPLE) < 1e-9 for share in shares)
    return known and row["grade"] in (BYTES, VALUES)


def _allowed(rows, names, reproduces, exact):
    """{weight: set of the mixtures that it allows}, of the fewest mixtures that explain all.

    exact: group -> whether a mixture has to give a weight's values.
    """
    own = {row["tensor"]: _own(row, names) for row in rows}
    remaining, mixtures, allowed = dict.fromkeys(own), [], {weight: set() for weight in own}
    by_name = {row["tensor"]: row for row in rows}
    while len(mixtures) < MOST_MIXTURES:
        counts = Counter()
        for weight in remaining:
            counts.update(dict.fromkeys(own[weight], by_name[weight]["elements"]))
        if not counts:
            break
        (common, _), *_ = counts.most_common(1)
        left = [by_name[weight] for weight in remaining]
        sharing = [exact[by_name[weight]["group"]] for weight in remaining if common in own[weight]]
        mixture = _agreed(common, left, reproduces, all(sharing))
        if all(sharing):
            mixture = _ordered(mixture, left, own, reproduces)
        mixtures.append(mixture)
        fits = {weight for weight in own if _fits(by_name[weight], mixture, own[weight], reproduces, exact)}
        for weight in fits:
            allowed[weight].add(mixture)
        fits |= {weight for weight in remaining if common in own[weight]}  # lest it be asked for again
        remaining = {weight: None for weight in remaining if weight not in fits}
    return allowed


def _own(row, names):
    """The mixtures that a weight's row names: ((parent, λ), …) without zeros, in the order of the sum."""
    if row["found"] == "unexplained":
        return []
    if row["sources"]:
        return [((source, 1.0),) for source in row["sources"]]
    mixture = [(name, float(row[f"lambda_{name}"])) for name in row["order"] if row[f"lambda_{name}"]]
    return [tuple(sorted(mixture, key=lambda part: names.index(part[0])) if len(mixture) < 3 else mixture)]


def _fits(row, mixture, own, reproduces, exact):
    exact = exact[row["group"]]
    if mixture in own and not (exact and row["grade"] == ROUNDING):
        return True
    parents = {parent for parent, _ in mixture}
    if any(parents <= set(kin) for kin in row["alike"]) and math.isclose(sum(share for _, share in mixture), 1):
        return bool(parents & set(row["sources"]))
    if len(mixture) == 1 and mixture[0][1] == 1:
        return False  # whose bytes it has, is known
    if len(own) == 1 and parents == {parent for parent, _ in own[0]} and len(parents) == 2:
        (_, (parent, share)) = mixture  # of more parents, one's interval holds only while the others' λ are kept
        if not row.get(f"low_{parent}", -math.inf) - 1e-3 <= share <= row.get(f"high_{parent}", math.inf) + 1e-3:
            return False
    if own and not exact and {parent for parent, _ in own[0]} == parents:
        return all(abs(dict(own[0])[parent] - share) <= SAME_LAMBDA for parent, share in mixture)
    return reproduces(row["tensor"], dict(mixture))


def _agreed(mixture, rows, reproduces, exact):
    """A mixture with the simplest λ that lie within the intervals of all weights that may have it."""
    shares, (base, *others) = dict(mixture), [parent for parent, _ in mixture]
    if not others or not math.isclose(sum(shares.values()), 1):
        return mixture
    near = []  # weight, ((low, high), …) of the others' λ
    for row in rows:
        ends = [(row.get(f"low_{parent}", math.nan), row.get(f"high_{parent}", math.nan)) for parent in others]
        if all(low <= shares[parent] <= high for parent, (low, high) in zip(others, ends, strict=True)):
            near.append((row["tensor"], ends))
    if not near:
        return mixture
    near.sort(key=lambda found: max(high - low for low, high in found[1]))
    ends = np.array([ends for _, ends in near])  # (weights, parents, 2)
    lows, highs = ends[:, :, 0].max(axis=0), ends[:, :, 1].min(axis=0)
    if not np.isfinite([lows, highs]).all():
        return mixture
    candidates = []
    for agreed in (list(map(simplest, lows, highs)), [float(end) for end in (lows + highs) / 2]):
        candidates.append(((base, round(1 - math.fsum(agreed), 12)), *zip(others, agreed, strict=True)))
    right = [sum(reproduces(weight, dict(c)) for weight, _ in near[:WITNESSES]) for c in candidates]
    if exact and max(right) < len(near[:WITNESSES]):
        return mixture
    return candidates[right.index(max(right))]


def _ordered(mixture, rows, own, reproduces):
    """A mixture in the order of the sum that reproduces the most weights; most of them allow every order."""
    if len(mixture) < 3:
        return mixture
    telling = [
        row["tensor"] for row in rows if any(set(m) == set(mixture) and m != mixture for m in own[row["tensor"]])
    ]
    counts = Counter()
    for order in orders(mixture):
        counts[order] = sum(reproduces(weight, dict(order)) for weight in telling[:WITNESSES])
    return max(counts, key=counts.get) if telling else mixture


def simplest(low, high):
    """The number between two that is written most shortly; if they have crossed, their mean."""
    for denominator in [1, *SIMPLE]:
        number = math.ceil(low * denominator - 1e-12) / denominator
        if number <= high:
            return number
    return float(low + high) / 2


def _described(rows, allowed, base, alone=frozenset()):
    """The shortest recipe, as a study writes it, with a base: S is all weights, the groups that are not the base's, or
    whatever else holds what is not.

    alone: weights that a threshold leaves alone.
    """
    rows = [row for row in rows if row["tensor"] not in alone]
    defaults = _defaults(rows, allowed)
    exceptions = [row for row in rows if defaults[row["group"]] not in allowed[row["tensor"]]]
    changed = {group for group, mixture in defaults.items() if mixture != ((base, 1.0),)}
    chosen = changed | {row["group"] for row in exceptions}
    overrides = _exceptions(exceptions, rows, allowed)
    entries = [_entry(base, subset, defaults, rows, overrides) for subset in (set(defaults), chosen)]
    return min([*entries, *_of_one_subset(rows, allowed, base)], key=_length)


def _of_one_subset(rows, allowed, base):
    """The recipe whose S is a single subset of some layers or kinds, if there is one that leaves the base the rest."""
    kept = ((base, 1.0),)
    inside = [row for row in rows if kept not in allowed[row["tensor"]]]
    covers = _covers(inside, [row for row in rows if allowed[row["tensor"]] == {kept}])
    if len(covers) != 1 or not inside:
        return
    sizes = Counter()
    for row in inside:
        sizes.update(dict.fromkeys(allowed[row["tensor"]], row["elements"]))
    main = max(sorted(sizes), key=sizes.get)
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


def _entry(base, subset, defaults, rows, overrides):
    """A recipe of the groups in ``subset``, one mixture a group, with overrides that come first."""
    sizes, others = Counter(), defaultdict(list)
    for row in rows:
        sizes[defaults[row["group"]]] += row["elements"] if row["group"] in subset else 0
    main = max(sorted(sizes), key=sizes.get) if subset else ((base, 1.0),)
    for group in sorted(subset):
        if defaults[group] != main:
            others[defaults[group]].append(group)
    entry = {"base": base, "weights": dict(main)}
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


def _defaults(rows, allowed):
    """{group: the mixture that most of it allows}; of several, the one that is common elsewhere."""
    everywhere, groups = Counter(), defaultdict(Counter)
    for row in rows:
        for mixture in allowed[row["tensor"]]:
            everywhere[mixture] += row["elements"]
            groups[row["group"]][mixture] += row["elements"]
    return {
        group: max(sorted(sizes), key=lambda mixture, sizes=sizes: (sizes[mixture], everywhere[mixture]))
        for group, sizes in groups.items()
    }


def _covers(inside, outside):
    """Subsets, as a study writes them, that hold all weights of ``inside`` and none of ``outside``."""
    covers, left = [], list(inside)
    if not outside:
        return [{}]
    for keys in ((), ("group",), ("group", "kind")):
        taken = {(*_key(row, keys), row["layer"]) for row in outside}
        found, merged = defaultdict(set), defaultdict(set)
        for row in left:
            if row["layer"] is not None and (*_key(row, keys), row["layer"]) not in taken:
                found[_key(row, keys)].add(row["layer"])
        left = [row for row in left if row["layer"] not in found.get(_key(row, keys), ())]
        for key, layers in found.items():  # groups of the same layers go together, and kinds of the same group
            merged[frozenset(layers), key[:1] if len(keys) > 1 else ()].add(key[-1] if key else None)
        for (layers, group), members in merged.items():
            cover = {"groups": [*group] or sorted(members)} if keys else {}
            cover |= {"layers": _written_layers(layers)}
            covers.append(cover | ({"names": [f"*.{kind}.*" for kind in sorted(members)]} if group else {}))
    return covers + ([{"names": sorted(row["tensor"] for row in left)}] if left else [])


def _key(row, keys):
    return tuple(row[key] for key in keys)


def _written_layers(layers):
    """[3, 4, 5, 7] as a study writes it: ["3-5", 7]."""
    runs = []
    for layer in sorted(layer for layer in layers if layer is not None):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return [first if first == last else f"{first}-{last}" for first, last in runs]


def _with_thresholds(rows, allowed, names):
    """Yield (recipe, [low, high) of its δ) of the recipes that leave weights alone by a threshold."""
    base, *others = names
    for space in SPACES:
        for size in range(1, len(others) + 1):
            for parents in itertools.combinations(others, size):
                norms = {
                    row["tensor"]: max(row.get(f"{space}_{parent}", math.nan) for parent in parents) for row in rows
                }
                if gap := _gap(rows, allowed, base, norms):
                    entry = _described(rows, allowed, base, {weight for weight in norms if norms[weight] <= gap[0]})
                    # δ is compared with the differences of the parents that the recipe names, and of no others
                    if set(read_recipe("recovered", entry, names).parents) - {base} == set(parents):
                        yield entry | {"threshold": {"delta": _simplest_threshold(*gap), "space": space}}, gap


def _gap(rows, allowed, base, norms):
    """[low, high) of the δ that tells as many weights as possible that were left alone from those that were not; None
    if there are none of either."""
    kept = ((base, 1.0),)
    highest = min((norms[row["tensor"]] for row in rows if kept not in allowed[row["tensor"]]), default=0.0)
    alone = [norms[row["tensor"]] for row in rows if kept in allowed[row["tensor"]] and norms[row["tensor"]] < highest]
    return (max(alone), highest) if alone else None


def _simplest_threshold(low, high):
    """The number of the fewest digits in [low, high)."""
    for digits in range(1, 18):
        unit = 10.0 ** (math.floor(math.log10(high)) + 1 - digits)
        number = round(math.ceil(low / unit) * unit, 17)
        number = float(f"{number:.{digits}g}")
        if low <= number < high:
            return number
    return low


def _length(entry):
    """How many things a recipe says."""
    subsets = [entry.get("subset", {}), *(override["subset"] for override in entry.get("overrides", []))]
    mixtures = [entry["weights"], *(override["weights"] for override in entry.get("overrides", []))]
    said = sum(map(len, mixtures)) + sum(len(values) for subset in subsets for values in subset.values())
    return said + 2 * ("threshold" in entry)


def _mixtures(entry, rows, allowed, names):
    """{weight: {parent: λ}} by a recipe, of the weights that allow it."""
    recipe, mixtures = read_recipe("recovered", entry, dict.fromkeys(names)), {}
    for row in rows:
        place = Place(TensorGroup(row["group"]), row["layer"], row["expert"], row["kind"])
        weights = recipe.weights_for(row["tensor"], place)
        norms = [row.get(f"{recipe.threshold.space}_{parent}", math.nan) for parent in recipe.parents[1:]]
        if recipe.threshold.delta > 0 and not max(norms, default=0.0) > recipe.threshold.delta:
            weights = {recipe.base: 1.0}
        mixture = tuple((name, weight) for name, weight in weights.items() if weight)
        if mixture in allowed[row["tensor"]]:
            mixtures[row["tensor"]] = dict(mixture)
    return mixtures
