"""Claims as they were published: which values would bear them out, and where figures show them."""

import math
import re
from collections.abc import Mapping
from typing import Any

from aoe.claims import Claim


def limits(claim: Claim) -> tuple[float, float]:
    """Return the smallest and the largest value that bear a claim out."""
    if "about" in claim:
        # as written in decimals: 0.6 within 0.05 is from 0.55, not from 0.5499999…
        margin = claim.get("within", 0)
        return round(claim["about"] - margin, 9), round(claim["about"] + margin, 9)
    return claim.get("at_least", -math.inf), claim.get("at_most", math.inf)


def stated(claim: Claim) -> str:
    """Write what the source has, or, of a prediction: ``predicted: 0.5``."""
    return str(claim["published"]) if "published" in claim else f"predicted: {claim['predicted']}"


def condition(claim: Claim) -> str:
    """Write the limits in words: ``0.504 ± 0.02``, ``≥ 0.98``."""
    if "untestable" in claim:
        return ""
    if "about" in claim:
        return f"{claim['about']:g} ± {claim['within']:g}" if claim.get("within") else f"{claim['about']:,}"
    words = f"≥ {claim['at_least']:g}" if "at_least" in claim else f"≤ {claim['at_most']:g}"
    return words.replace("-", "−")


def annotations_of(content: Mapping[str, Any], figure: str) -> list[tuple[Any, str]]:
    """Return [(position, source)] of the values in the paper that a figure shows.

    content: of ``config/claims.yaml``.
    """
    return [
        (claim["mark"][figure], first_source(claim))
        for claim in content["claims"].values()
        if figure in claim.get("mark", {})
    ]


def first_source(claim: Claim) -> str:
    """Return the key of the source that a claim names first: ``paper, section 4.2; article`` -> ``paper``."""
    return re.split("[,;]", claim["source"])[0].strip()
