"""The verdict of an audit's rows, for programs and for people: verified, deviates, or cannot tell, and what exactly."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aoe.audit import CANNOT_TELL, DEVIATES, VERIFIED, Row, Weights
from aoe.audit.attribution import DEVIATIONS, is_undecidable, written
from aoe.audit.comparison import BYTES, GRADES, ROUNDING, VALUES
from aoe.audit.methods import ModelMethod
from aoe.audit.recovery import Recovered
from aoe.checkpoints.architecture import Place, TensorGroup
from aoe.merging.selection import read_check

MIXED = ("mixed", "claimed")
USUAL_WORDS = "summed in float32 and rounded to nearest"
NEARLY = 1e-3  # of λ's sum
UNDECIDABLE, LEFT_OUT = "undecidable", "left out"  # of single weights: right, but no evidence; not there, as is usual


def judge(rows: Sequence[Row], recovered: Recovered, claimed: bool) -> list[Row]:
    """Return the rows with a ``status`` each, and the mixture that the recovered recipe gives them (``recipe``).

    claimed: whether a recipe was; without one, a weight is verified if its parents explain it.  A weight that is the
    same in all parents is ``undecidable``.  Where most mixtures are there to the last bit, one that only rounding would
    explain was tampered with.
    """
    of_mtp = [row["found"] == "missing" for row in rows if row["group"] == TensorGroup.MTP]
    exact = recovered.exact
    rows = [_by_recipe(row, recovered, exact.get(row["group"], True)) for row in rows]
    mixed = Counter(row["claim_grade"] for row in rows if row["found"] in MIXED)
    if claimed and mixed[BYTES] + mixed[VALUES] >= mixed[ROUNDING]:
        exact = {}
    judged = []
    for row in rows:
        grades = (BYTES, VALUES) if exact.get(row["group"], True) else GRADES
        status = _status(row, grades, claimed, all(of_mtp))
        strange = row["tensor"] in recovered.foreign and not (claimed and _has_claimed_method(row))
        other = {"unlike": str(recovered.method)} if strange else {}
        judged.append(row | {"status": DEVIATES if strange and status == VERIFIED else status} | other)
    return judged if claimed else _without_scaled(judged)


def _without_scaled(rows):
    """The rows, where λ that do not sum to 1 deviate, as of a weight that was multiplied, unless most are so."""
    sums = {row["tensor"]: sum(v for key, v in row.items() if key.startswith("lambda_")) for row in rows}
    odd = {row["tensor"] for row in rows if row["found"] in MIXED and abs(sums[row["tensor"]] - 1) > NEARLY}
    explained = sum(row["elements"] for row in rows if row["found"] in (*MIXED, "copied", "equal"))
    if 2 * sum(row["elements"] for row in rows if row["tensor"] in odd) > explained:
        return rows
    return [row | ({"status": DEVIATES, "scaled": sums[row["tensor"]]} if row["tensor"] in odd else {}) for row in rows]


def _has_claimed_method(row):
    """Whether a weight has the claimed mixture by a method that the claim names."""
    words = _words(row)
    return row["found"] == "claimed" and bool(words) and row["claim"].endswith(words)


def _words(row):
    """The method of a weight in words; nothing for the usual one."""
    return ModelMethod.read(row["method"]).words()


def _by_recipe(row, recovered, exact):
    """A row with what the recovered recipe gives it; and if by itself it told too little, with that as its own."""
    mixture, made = recovered.mixtures.get(row["tensor"]), recovered.method
    row = row | {"recipe": written(mixture) if mixture else ""}
    same = row["found"] not in MIXED or row["method"] == str(made)
    as_claimed = row["claim"] in (row["recipe"], f"{row['recipe']}, {made.words()}")
    if same and row["grade"] in (BYTES, VALUES):
        known = mixture and as_claimed and row["found"] == "mixed" and not row["claim_grade"]
        return _as_claimed(row) if known else row
    if not mixture or (row["found"] in MIXED and not exact and (same or row["grade"] == ROUNDING)):
        return row
    shares = {key: mixture.get(key.removeprefix("lambda_"), 0.0) for key in row if key.startswith("lambda_")}
    nothing = dict.fromkeys(DEVIATIONS, 0)
    grade = VALUES if made.is_known else ROUNDING  # which bytes unknown random numbers give, nobody can tell
    found = {"found": "mixed", "grade": grade, "mixture": row["recipe"], "method": str(made)}
    row = row | found | shares | nothing
    return _as_claimed(row) if as_claimed else row


def _as_claimed(row):
    """A weight that has the claimed mixture, although the claim alone did not tell by which method."""
    nothing = {f"claim_{name}": 0 for name in DEVIATIONS}
    return row | {"found": "claimed", "claim_grade": row["grade"], **nothing}


def _status(row, grades, claimed, without_mtp):
    if row["found"] == "missing":
        # a model without its MTP layer answers the same, and is often published so
        return LEFT_OUT if row["group"] == TensorGroup.MTP and without_mtp else DEVIATES
    if row["found"] == "unreadable":
        return CANNOT_TELL
    grade = row["claim_grade"] if claimed else "" if row["found"] == "moved" else row["grade"]
    if grade not in grades:
        return DEVIATES
    return UNDECIDABLE if is_undecidable(row) else VERIFIED


def overall(statuses: Iterable[str]) -> str:
    """Sum up the statuses of many weights in one verdict."""
    present = set(statuses)
    return next((word for word in (DEVIATES, CANNOT_TELL, VERIFIED) if word in present), CANNOT_TELL)


def origin(row: Row) -> str:
    """Say where a weight is from, in a few words: by the recovered recipe, if that gives it, else by itself."""
    if row["found"] in ("copied", "equal") and is_undecidable(row):
        return "all parents"
    if row["found"] not in MIXED:
        return row["recipe"] or " = ".join(row["sources"]) or row["found"]
    return ", ".join(filter(None, [row["recipe"] or row["mixture"], _words(row)]))


def group_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one dict a group: its weights, parameters and bytes, what was found, where from, and the verdict."""
    inside = {group: [row for row in rows if row["group"] == group] for group in TensorGroup}
    return [{"group": str(group), **_counted(members)} for group, members in inside.items() if members]


def _counted(rows):
    origins, found = Counter(), Counter()
    for row in rows:
        origins[origin(row)] += 1
        found[f"{row['found']}, {row['grade']}" if row["grade"] else row["found"]] += 1
    return {
        "weights": len(rows),
        "parameters": sum(row["elements"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "origins": dict(origins.most_common()),
        "found": dict(found.most_common()),
        "statuses": dict(Counter(row["status"] for row in rows).most_common()),
        "verdict": overall(row["status"] for row in rows),
    }


def map_table(rows: Sequence[Row], names: Sequence[str], mixtures: Mapping[str, Weights]) -> list[dict[str, Any]]:
    """Return one dict a layer, group and origin: its share of the parameters there, and ``lambda_`` of each parent.

    A λ that is not known is 0.  names: the parents'; mixtures: weight -> {parent: λ} of a recovered recipe.
    """
    places: Counter[tuple] = Counter()
    sizes: Counter[tuple] = Counter()
    shares: dict[tuple, Weights] = {}
    for row in rows:
        place = row["layer"], row["group"]
        places[place] += row["elements"]
        sizes[place, origin(row)] += row["elements"]
        shares[place, origin(row)] = _shares(row, names, mixtures.get(row["tensor"]))
    return [
        {"layer": place[0], "group": place[1], "origin": what, "share": size / max(places[place], 1)}
        | {f"lambda_{name}": weight for name, weight in shares[place, what].items()}
        for (place, what), size in sizes.items()
    ]


def _shares(row, names, mixture):
    if is_undecidable(row):
        return dict.fromkeys(names, 0.0)
    if mixture or row["sources"]:
        return {name: (mixture or {row["sources"][0]: 1.0}).get(name, 0.0) for name in names}
    return {name: row.get(f"lambda_{name}", 0.0) if row["found"] in MIXED else 0.0 for name in names}


def lambda_table(rows: Sequence[Row], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dict a group, layer and parent, of the weights that are mixtures.

    It has the number of weights, and of the parent's λ the median, the ends and the widest interval.
    """
    places, table = {}, []
    for row in rows:
        if row["found"] in MIXED and f"lambda_{names[0]}" in row:
            places.setdefault((row["group"], row["layer"]), []).append(row)
    for (group, layer), inside in places.items():
        for name in names:
            values = [row.get(f"lambda_{name}", 0.0) for row in inside]
            widths = [row[f"high_{name}"] - row[f"low_{name}"] for row in inside if f"high_{name}" in row]
            table.append(
                {
                    "group": group,
                    "layer": layer,
                    "parent": name,
                    "weights": len(inside),
                    "median": statistics.median(values),
                    "lowest": min(values),
                    "highest": max(values),
                    "widest_interval": max(widths, default=None),
                }
            )
    return table


def check(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a claim on where some weights are from.

    settings: {"groups", "layers", "names": which weights, "from": of which parent they are}.
    """
    subset = read_check("A check", settings)
    inside = [row for row in rows if (row["tensor"], _place(row)) in subset]
    statuses = Counter(_checked(row, settings["from"]) for row in inside)
    wrong = [row["tensor"] for row in inside if _checked(row, settings["from"]) == DEVIATES]
    return {"weights": len(inside), "statuses": dict(statuses), "verdict": overall(statuses), "deviating": wrong}


def _checked(row, parent):
    if row["found"] in ("missing", "unreadable"):
        return CANNOT_TELL if row["status"] == CANNOT_TELL else row["status"]
    if parent not in row["sources"]:
        return DEVIATES
    return UNDECIDABLE if is_undecidable(row) else VERIFIED


def _place(row):
    return Place(TensorGroup(row["group"]), row["layer"], row["expert"], row["kind"])


def deviation(row: Row) -> str | None:
    """Say what is wrong with a weight, in a sentence without its subject; None if nothing is."""
    if row["status"] == CANNOT_TELL:
        return f"cannot be compared: {row['note']}"
    if row["status"] != DEVIATES:
        return None
    if row["found"] == "missing":
        return "is missing"
    if row["found"] == "reshaped":
        return f"does not fit: {row['note']}"
    if row["found"] == "moved":
        return f"has the {row['grade']} of {row['note']}"
    if "unlike" in row:
        most, own = (ModelMethod.read(text).words() or USUAL_WORDS for text in (row["unlike"], row["method"]))
        return f"is {row['mixture']}, {own}, unlike the rest of the model ({most})"
    if "scaled" in row and row["mixture"]:
        return f"is {row['mixture']}, whose λ do not sum to 1: it was multiplied"
    if row["found"] == "unexplained":
        nearest = ", ".join(filter(None, [row["mixture"], _words(row)]))
        return f"is unexplained; it is nearest to {nearest}, but differs {_amount(row, '')}"
    if row["claim"] and row["claim"] not in (origin(row), row["mixture"]):
        return f"is {origin(row)}, not {row['claim']}"
    if row["claim"]:
        return f"is not quite {row['claim']}: it differs {_amount(row, 'claim_')}"
    return f"is not quite {row['mixture']}: it differs {_amount(row, '')}"


def _amount(row, what):
    """How much a weight differs from a mixture."""
    differing, scales = row[f"{what}differing"], row[f"{what}scales"]
    if not differing:
        return f"in {scales:,} of its scales" if scales else "in its bytes, not its values"
    size = f"by {row[f'{what}largest']:.3g} steps at most, {row[f'{what}rms']:.3g} in the root mean square"
    return f"in {differing:,} of {row['elements']:,} values, {size}" + (f", and in {scales:,} scales" if scales else "")
