"""Testing claims on what a study found."""

import math

import numpy as np
import pandas as pd
from aoe import AoeError
from aoe.claims import NOT_REPRODUCED, NOT_RUN, REPRODUCED
from aoe.claims.evidence import NotRunError
from aoe.claims.published import condition, first_source, limits
from aoe.claims.quantities import QUANTITIES
from aoe.statistics import Estimate

COLUMNS = [
    "claim",
    "says",
    "source",
    "published",
    "condition",
    "value",
    "low",
    "high",
    "unit",
    "verdict",
    "note",
    "rule",
]


def read_claims(content):
    """{name: claim} of what is in ``config/claims.yaml``.  Raises AoeError that names a claim without sense."""
    for name, claim in content["claims"].items():
        if first_source(claim) not in content["sources"]:
            raise AoeError(
                f"The claim {name} has the source {claim['source']!r}, which config/claims.yaml does not list."
            )
        if "untestable" in claim:
            continue
        quantity = next(iter(claim.get("quantity", {})), None)
        if quantity not in QUANTITIES:
            raise AoeError(
                f"The claim {name} has no known quantity, but {quantity!r}; known are {', '.join(QUANTITIES)}."
            )
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
