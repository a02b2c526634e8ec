"""The shortest recipe that reproduces a published model, from the rows of its weights.

A recipe is a subset S, one mixture for most of it, others for parts of it, and perhaps a threshold δ below which
weights were left alone.  Of the mixtures that each weight allows (aoe.audit.mixtures), the shortest recipe is made
(aoe.audit.recipes).
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aoe.audit import Row, Weights
from aoe.audit.attribution import is_undecidable
from aoe.audit.comparison import BYTES, ROUNDING, VALUES
from aoe.audit.fitting.search import SIMPLE
from aoe.audit.methods import USUAL, ModelMethod
from aoe.audit.mixtures import allowed_mixtures
from aoe.audit.recipes import Entry, length, shortest_recipe
from aoe.checkpoints.architecture import Place, TensorGroup
from aoe.merging.recipe import read_recipe
from aoe.norms import in_audit_order
from aoe.numerics.kernels import FP8, Arithmetic

MIXED = ("mixed", "claimed")
EXPLAINED = ("copied", "equal", *MIXED)
ReproducesBy = Callable[[str, Weights, ModelMethod], bool]  # see aoe.audit.attribution.Audit.reproduces
FEWEST = 8  # weights of a group that can tell how it was made


@dataclass(frozen=True)
class Recovered:
    """The recipe of a model, and what it reproduces.

    ``entry``: the recipe as a study writes it, or None; ``mixtures``: weight -> {parent: λ} by the recipe, of the
    weights that it reproduces; ``undecidable``: the number of weights that every recipe would reproduce;
    ``thresholds``: norm -> [low, high) of the δ that would do, if the recipe has one; ``exact``: group -> whether
    mixtures have to give its values, or may differ from them by rounding; ``method``: of the model, the same for all
    its mixtures; ``foreign``: weights that only another method explains.
    """

    entry: Entry | None
    mixtures: dict[str, Weights]
    undecidable: int
    thresholds: dict[str, tuple[float, float]]
    exact: dict[str, bool]
    method: ModelMethod = USUAL
    foreign: frozenset[str] = frozenset()


def recover(rows: Sequence[Row], names: Sequence[str], reproduces: ReproducesBy) -> Recovered:
    """Find the shortest recipe that reproduces a model.

    rows: of aoe.audit.attribution, dicts; names: the parents', the base first; reproduces: a function of (weight,
    {parent: λ}, ModelMethod), whether that gives what was published.
    """
    made = model_method(rows)
    mixed = [row for row in rows if row["found"] in MIXED]
    others = [row for row in mixed if not _is_made_so(row, made, reproduces)]
    foreign = {row["tensor"] for row in others}
    found = _recover(
        [_as_made(row, made, row["tensor"] in foreign) for row in rows],
        names,
        lambda weight, weights: reproduces(weight, weights, made),
        names[:1] if made.arithmetic == Arithmetic.DELTAS else names,  # the differences are from the base
    )
    entry = found.entry and {**found.entry, **made.entry()}
    # what is not FP8 may have been summed otherwise all through a model: no recipe says so, but nothing was altered
    unscaled = [
        row | ({} if row["tensor"] in foreign else {"method": str(made)}) for row in mixed if row["dtype"] != FP8
    ]
    usual_there = _main_method(unscaled)
    foreign -= {row["tensor"] for row in others if row["dtype"] != FP8 and row["method"] == usual_there}
    return replace(found, entry=entry, method=made, foreign=frozenset(foreign - found.mixtures.keys()))


def _as_made(row, made, foreign):
    """A row as the model's method has it: what is foreign is not explained, another method's intervals do not count."""
    if row["found"] in MIXED and row["method"] != str(made):
        row = {key: value for key, value in row.items() if not key.startswith(("low_", "high_"))}
    return row | ({"found": "unexplained"} if foreign else {})


def model_method(rows: Sequence[Row]) -> ModelMethod:
    """Return the method by which most of a model was combined; FP8 weights tell the methods apart, if there are any."""
    mixed = [row for row in rows if row["found"] in MIXED]
    mixed = [row for row in mixed if row["dtype"] == FP8] or mixed
    return ModelMethod.read(_main_method([row for row in mixed if row["grade"] in (BYTES, VALUES)] or mixed))


def _main_method(rows):
    """The method of most of some weights, as it is written."""
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes[row["method"]] += row["elements"]
    return max(sorted(sizes), key=lambda text: sizes[text], default="")


def _is_made_so(row, made, reproduces):
    """Whether a method gives a mixed weight, too, if that was found by another one."""
    own = ModelMethod.read(row["method"])
    if own == made or (row["grade"] == ROUNDING and own.rounding == made.rounding and not made.rounding.by_chance):
        return True  # within rounding, sums in float32 and BF16 are not told apart
    return reproduces(row["tensor"], {name: row[f"lambda_{name}"] for name in row["order"]}, made)


def _recover(rows, names, reproduces, bases):
    readable = [row for row in rows if row["found"] in (*EXPLAINED, "unexplained")]
    undecidable = [row["tensor"] for row in readable if is_undecidable(row) and row["found"] in EXPLAINED]
    decided = [row for row in readable if not is_undecidable(row)]
    exact = exact_groups(decided)
    allowed = allowed_mixtures(decided, names, reproduces, exact)
    decided = [row for row in decided if allowed[row["tensor"]]]
    if not decided:
        return Recovered(None, {}, len(undecidable), {}, exact)
    # of several recipes of one length, the one whose base gave the most
    kept = {name: sum(row["elements"] for row in decided if ((name, 1.0),) in allowed[row["tensor"]]) for name in names}
    entries = [shortest_recipe(decided, allowed, base) for base in sorted(bases, key=lambda name: -kept[name])]
    limited = list(_with_thresholds(decided, allowed, names))
    entry = min([*entries, *(entry for entry, _ in limited)], key=lambda entry: (length(entry), _has_idle_base(entry)))
    # other norms may tell the weights that were left alone from the others as shortly
    as_short = [(e["threshold"]["space"], gap) for e, gap in limited if length(e) == length(entry)]
    thresholds = dict(reversed(as_short)) if "threshold" in entry else {}
    mixtures = _mixtures(entry, decided, allowed, names)
    mixtures |= {weight: {entry["base"]: 1.0} for weight in undecidable}
    return Recovered(entry, mixtures, len(undecidable), thresholds, exact)


def _has_idle_base(entry):
    """Whether nothing but names and formats would come from the base; as short, but odd to read."""
    return "subset" not in entry and entry["base"] not in entry["weights"]


def exact_groups(rows: Sequence[Row]) -> dict[str, bool]:
    """Return group -> whether most of it is there to the last bit: copied, or a mixture of λ that can be written down.

    Elsewhere rounding has to explain some weights, as the model was made with another arithmetic, or λ are only nearly
    known.  A group of few weights is judged by the whole model.
    """
    sizes: defaultdict[str | None, Counter[bool]] = defaultdict(Counter)
    counts = Counter(row["group"] for row in rows)
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


def _with_thresholds(rows, allowed, names):
    """Yield (recipe, [low, high) of its δ) of the recipes that leave weights alone by a threshold."""
    base, *others = names
    for space in (norm.name for norm in in_audit_order()):
        for size in range(1, len(others) + 1):
            for parents in itertools.combinations(others, size):
                norms = {
                    row["tensor"]: max(row.get(f"{space}_{parent}", math.nan) for parent in parents) for row in rows
                }
                if gap := _gap(rows, allowed, base, norms):
                    entry = shortest_recipe(
                        rows, allowed, base, {weight for weight in norms if norms[weight] <= gap[0]}
                    )
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
