"""Test claims on what a study found."""

import math
import re
from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
from aoe import AoeError
from aoe.claims import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Claim
from aoe.claims.evidence import Evidence, NotRunError
from aoe.claims.published import condition, limits, other_model, stated
from aoe.claims.quantities import QUANTITIES, QUANTITY_KINDS
from aoe.scores.statistics import Estimate

COLUMNS = ["claim", "kind", "says", "source", "published", "condition", "value", "low", "high", "unit", "verdict"]
COLUMNS += ["note", "rule"]
BEYOND = "beyond"  # the kind of what no study can test


def read_claims(content: Mapping[str, Any]) -> dict[str, Claim]:
    """Return {name: claim} of the content of ``config/claims.yaml``, which claims.schema.json accepts.

    Raises AoeError, which names the claim, if a source, a model or the quantity does not exist, or if the quantity does
    not take the claim's further keys.
    """
    for name, claim in content["claims"].items():
        for source in re.findall(r"(?:^|; )(\w+)", claim["source"]):
            if source not in content["sources"]:
                raise AoeError(f"The claim {name} has the source {source!r}, which config/claims.yaml does not list.")
        for role in claim.get("only_for", []):
            if role not in content["published_models"]:
                raise AoeError(f"The claim {name} is only for {role!r}, which is no published model.")
        if "quantity" in claim:
            _check_quantity(name, claim["quantity"])
    return content["claims"]


def _check_quantity(name, said):
    quantity, first, further = _call(said)
    if quantity not in QUANTITIES:
        raise AoeError(f"The claim {name} has no known quantity, but {quantity!r}; known are {', '.join(QUANTITIES)}.")
    try:
        signature(QUANTITIES[quantity]).bind(None, first, **further)
    except TypeError as error:
        raise AoeError(f"The claim {name} does not say what {quantity} needs: {error}.") from error


def _call(said):
    """(name, first argument, further arguments) of a quantity as it is written."""
    (quantity, first), *further = said.items()
    return quantity, first, dict(further)


def evaluate(content: Mapping[str, Any], evidence: Evidence) -> pd.DataFrame:
    """Test all claims; return one row a claim, with the columns COLUMNS.

    content: of ``config/claims.yaml``.
    """
    rows = []
    for name, claim in read_claims(content).items():
        row = {
            "claim": name,
            "kind": _kind(claim),
            **{key: claim[key] for key in ("says", "source")},
            "published": stated(claim),
        }
        row |= {"condition": condition(claim), "unit": claim.get("unit", ""), "rule": claim.get("rule", "")}
        try:
            found = measure(claim, evidence, content["published_models"])
            row |= {"value": found.value, "low": found.low, "high": found.high}
            row |= dict(zip(("verdict", "note"), judge(claim, found), strict=True))
        except NotRunError as reason:
            row |= {"verdict": NOT_RUN, "note": str(reason)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _kind(claim):
    if "quantity" not in claim:
        return BEYOND
    function = QUANTITIES[_call(claim["quantity"])[0]]
    return next(kind for kind, functions in QUANTITY_KINDS.items() if function in functions)


def measure(claim: Claim, evidence: Evidence, published_models: Mapping[str, str]) -> Estimate:
    """Return the Estimate of a claim's quantity; without an interval, its ends are NaN.

    published_models: role -> repository of the models that claims may be only for.  Raises NotRunError.
    """
    if "untestable" in claim:
        raise NotRunError(claim["untestable"])
    if other := other_model(claim, evidence.names, evidence.repositories, published_models):
        raise NotRunError(f"it is about {other}")
    quantity, first, further = _call(claim["quantity"])
    try:
        found = QUANTITIES[quantity](evidence, first, **further)
    except KeyError as error:
        raise AoeError(f"What a claim says of {quantity} names {error}, which the results do not have.") from error
    found = found if isinstance(found, Estimate) else Estimate(found, np.nan, np.nan)
    if not math.isfinite(found.value):
        raise NotRunError("these data give it no value")
    return found


def judge(claim: Claim, found: Estimate) -> tuple[str, str]:
    """Return (verdict, note) on an Estimate: the value decides; the note says if its interval would leave it open."""
    low, high = limits(claim)
    verdict = REPRODUCED if low <= found.value <= high else NOT_REPRODUCED
    inside = low <= found.low and found.high <= high
    outside = found.high < low or found.low > high
    return verdict, "" if inside or outside or math.isnan(found.low) else "the interval reaches across the limit"
