"""The result of an audit for programs: the content of ``audit.json``, which its page shows."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from aoe import __version__
from aoe.audit import CANNOT_TELL, DEVIATES, VERIFIED, Row
from aoe.audit.attribution import Audit
from aoe.audit.comparison import ROUNDING, Tolerance
from aoe.audit.recovery import Recovered
from aoe.audit.verdict import LEFT_OUT, UNDECIDABLE, check, deviation, group_table, overall
from aoe.checkpoints.architecture import TensorGroup
from aoe.checkpoints.formats import weight_of


def report(
    rows: Sequence[Row], audit: Audit, recovered: Recovered, settings: Mapping[str, Any], claim: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the content of ``audit.json``.

    rows: as aoe.audit.verdict.judge gives them; audit: an aoe.audit.attribution.Audit; settings: of the study's
    ``audits`` entry; claim: the claimed recipe as the study has it, or None.
    """
    published, statuses = audit.published, Counter(row["status"] for row in rows)
    verdict = overall([*statuses, *[DEVIATES for _ in published.additional[:1]]])
    return {
        "model": settings["model"],
        "parents": settings["parents"],
        "claim": claim,
        "verdict": verdict,
        "method": str(recovered.method),
        "summary": _summary(rows, statuses, audit, claim is not None, recovered.method),
        "statuses": dict(statuses),
        "weights": len(rows),
        "parameters": sum(row["elements"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "storage": {
            "parents": dict(Counter(row["dtype"] for row in rows).most_common()),
            "model": dict(Counter(row["published_dtype"] for row in rows if row["published_dtype"]).most_common()),
            "renamed": {row["tensor"]: row["published"] for row in rows if row["published"]},
            "additional": published.additional,
        },
        "groups": group_table(rows),
        "checks": {
            name: {"from": entry["from"], **check(rows, entry)} for name, entry in settings.get("checks", {}).items()
        },
        "recovered": {
            "recipe": recovered.entry,
            "reproduced": len(recovered.mixtures),
            "undecidable": recovered.undecidable,
            "thresholds": recovered.thresholds,
        },
        "tolerance": vars(Tolerance(**settings["tolerance"])) if "tolerance" in settings else None,
        "close": _close(rows, settings),
        "software": {
            "workflow": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "numba", "pandas")},
            "machine": platform.machine(),
        },
    }


def deviations(rows: Sequence[Row], additional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one dict a weight that deviates or cannot be told: which, and how.

    additional: the model's tensors that no parent has; they are at the end.
    """
    table = [
        {"tensor": row["tensor"], "group": row["group"], "layer": row["layer"], "status": row["status"], "what": what}
        for row in rows
        if (what := deviation(row))
    ]
    extra = [
        {"tensor": name, "group": "", "layer": None, "status": DEVIATES, "what": _surplus(name)} for name in additional
    ]
    return table + extra


def _surplus(tensor):
    return "is the scale of no FP8 weight" if weight_of(tensor) != tensor else "is in no parent"


def _summary(rows, statuses, audit, claimed, made):
    """Sentences that say the most important things first."""
    right = "as claimed" if claimed else "explained by the parents"
    sentences = [f"{statuses[VERIFIED] + statuses[UNDECIDABLE]:,} of {len(rows):,} weights are {right}."]
    if not made.is_usual:
        sentences.append(f"The method of all that is combined: {made.words()}.")
    if not made.is_known:
        sentences.append(
            "Every number of it is one of the two neighbours of the mixture, without a bias; bytes cannot be verified."
        )
    if statuses[DEVIATES]:
        first = next(row for row in rows if row["status"] == DEVIATES)
        more = f", and {statuses[DEVIATES] - 1:,} more deviate" if statuses[DEVIATES] > 1 else ""
        sentences.append(f"{first['tensor']} {deviation(first)}{more}.")
    if (
        not claimed
        and rows
        and made.is_known
        and (rounded := sum(row["status"] == VERIFIED and row["grade"] == ROUNDING for row in rows))
    ):
        sentences.append(
            f"{rounded:,} agree within rounding only: another arithmetic than ours, or λ of more digits than six."
        )
    if surplus := audit.published.additional:
        sentences.append(f"{len(surplus):,} tensors belong to no weight of the parents, {surplus[0]} among them.")
    if statuses[CANNOT_TELL]:
        first = next(row for row in rows if row["status"] == CANNOT_TELL)
        sentences.append(f"{statuses[CANNOT_TELL]:,} cannot be compared: {first['tensor']} ({first['note']}).")
    if statuses[UNDECIDABLE]:
        sentences.append(f"{statuses[UNDECIDABLE]:,} are the same in all parents: where they are from is undecidable.")
    if statuses[LEFT_OUT]:
        sentences.append(f"The MTP layer, {statuses[LEFT_OUT]:,} weights, was left out.")
    ours, theirs = (sorted({row[key] for row in rows if row[key]}) for key in ("dtype", "published_dtype"))
    if ours != theirs:
        sentences.append(
            f"The model is stored as {', '.join(theirs)}, the parents as {', '.join(ours)}: compared in value."
        )
    if any(row["published"] for row in rows):
        sentences.append("Weights are stored under other names, or in one piece; they were found all the same.")
    return sentences


def _close(rows, settings):
    """{group: {parent: how many of its weights are close}} with a tolerance; else nothing."""
    if "tolerance" not in settings:
        return {}
    close = {}
    for group in TensorGroup:
        inside = [row for row in rows if row["group"] == group and "close" in row]
        if inside:
            near = Counter(parent for row in inside for parent in row["close"])
            close[str(group)] = {"weights": len(inside), **{parent: near[parent] for parent in settings["parents"]}}
    return close
