"""Claims: what was published of Assembly of Experts, and whether a study reproduces it.

``config/claims.yaml`` says of each claim which *quantity* would show it, and which values would bear it out.  A quantity
is named by its first key, whose value, like the further keys', goes to the function of that name in ``quantities``, which
reads the study's results: ``{transition: full, measure: closing}`` calls ``transition(evidence, "full",
measure="closing")``.  What a study does not have is *not run*; the others are *reproduced* or not, never more.
"""

import math

import numpy as np
import pandas as pd
from aoe import AoeError
from aoe.claims.evidence import NotRunError
from aoe.claims.quantities import QUANTITIES
from aoe.statistics import Estimate

REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"
COLUMNS = "claim says source published condition value low high unit verdict note rule".split()


def read_claims(content):
    """{name: claim} of what is in ``config/claims.yaml``.  Raises AoeError that names a claim without sense."""
    for name, claim in content["claims"].items():
        source = claim.get("source", "")
        if not any(source.split(",")[0].split(";")[0].strip() == known for known in content["sources"]):
            raise AoeError(f"The claim {name} has the source {source!r}, which config/claims.yaml does not list.")
        if "untestable" in claim:
            continue
        quantity = next(iter(claim.get("quantity", {})), None)
        if quantity not in QUANTITIES:
            raise AoeError(f"The claim {name} has no known quantity, but {quantity!r}; known are {', '.join(QUANTITIES)}.")
        if not claim.keys() & {"about", "at_least", "at_most"}:
            raise AoeError(f"The claim {name} does not say which values would bear it out (about, at_least, at_most).")
        for role in claim.get("weights_of", []):
            if role not in content["published_models"]:
                raise AoeError(f"The claim {name} is about the weights of {role}, which is no published model.")
    return content["claims"]


def evaluate(content, evidence):
    """One row a claim, with the columns COLUMNS, as a data frame.

    content: of ``config/claims.yaml``; evidence: an Evidence.
    """
    rows = []
    for name, claim in read_claims(content).items():
        row = {"claim": name, **{key: claim[key] for key in ("says", "source")}, "published": str(claim["published"])}
        row |= {"condition": condition(claim), "unit": claim.get("unit", ""), "rule": claim.get("rule", "")}
        try:
            found = measure(claim, evidence, content["published_models"])
            row |= {"value": found.value, "low": found.low, "high": found.high}
            row |= dict(zip(("verdict", "note"), judge(claim, found), strict=True))
        except NotRunError as reason:
            row |= {"verdict": NOT_RUN, "note": str(reason)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def measure(claim, evidence, published_models):
    """The Estimate of a claim's quantity; without an interval, its ends are NaN.  Raises NotRunError."""
    if "untestable" in claim:
        raise NotRunError(claim["untestable"])
    for role in claim.get("weights_of", []):
        if evidence.repositories.get(evidence.name(role)) != published_models[role]:
            raise NotRunError(f"it is about the weights of {published_models[role]}")
    (quantity, first), *further = claim["quantity"].items()
    found = QUANTITIES[quantity](evidence, first, **dict(further))
    found = found if isinstance(found, Estimate) else Estimate(found, np.nan, np.nan)
    if math.isnan(found.value):
        raise NotRunError("nobody could grade the answers")
    return found


def judge(claim, found):
    """(verdict, note) on an Estimate: the value decides; the note says if its interval would leave it open."""
    low, high = limits(claim)
    verdict = REPRODUCED if low <= found.value <= high else NOT_REPRODUCED
    inside = low <= found.low and found.high <= high
    outside = found.high < low or found.low > high
    return verdict, "" if inside or outside or math.isnan(found.low) else "the interval reaches across the limit"


def limits(claim):
    """The smallest and the largest value that bear a claim out."""
    if "about" in claim:
        # as written in decimals: 0.6 within 0.05 is from 0.55, not from 0.5499999…
        margin = claim.get("within", 0)
        return round(claim["about"] - margin, 9), round(claim["about"] + margin, 9)
    return claim.get("at_least", -math.inf), claim.get("at_most", math.inf)


def condition(claim):
    """The limits in words: ``0.504 ± 0.02``, ``≥ 0.98``."""
    if "untestable" in claim:
        return ""
    if "about" in claim:
        return f"{claim['about']:g} ± {claim['within']:g}" if claim.get("within") else f"{claim['about']:,}"
    return f"≥ {claim['at_least']:g}" if "at_least" in claim else f"≤ {claim['at_most']:g}"


def marks(content, figure):
    """[(position, whose)] of what a figure shows as published."""
    return [
        (claim["mark"][figure], claim["source"].split(",")[0].split(";")[0])
        for claim in content["claims"].values()
        if figure in claim.get("mark", {})
    ]
