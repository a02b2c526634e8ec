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
    return [(mark, first_source(claim)) for claim, mark in _marks(content, figure) if not isinstance(mark, list)]


def curves_of(
    content: Mapping[str, Any], figure: str, names: Mapping[str, str], repositories: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """Return the published curves that a figure of a study shows: {"sweep", "points": [[λ2, value]], "whose": source}.

    content: of ``config/claims.yaml``; names: role in claims -> name in the study; repositories: model -> what it is
    fetched from.  A curve of other models than the study's is left out.
    """
    return [
        {
            "sweep": names.get(role := next(iter(claim["quantity"].values())), role),
            "points": mark,
            "whose": first_source(claim),
        }
        for claim, mark in _marks(content, figure)
        if isinstance(mark, list) and not other_model(claim, names, repositories, content["published_models"])
    ]


def _marks(content, figure):
    """(claim, its mark) of every claim that a figure shows."""
    return [(claim, claim["mark"][figure]) for claim in content["claims"].values() if figure in claim.get("mark", {})]


def other_model(
    claim: Claim,
    names: Mapping[str, str],
    repositories: Mapping[str, str | None],
    published_models: Mapping[str, str],
) -> str | None:
    """Return the repository of the first model that a claim is only for and a study does not have; None if it has all.

    names, repositories: as for ``curves_of``; published_models: role -> repository.
    """
    roles = claim.get("only_for", [])
    lacking = (
        published_models[role] for role in roles if repositories.get(names.get(role, role)) != published_models[role]
    )
    return next(lacking, None)


def first_source(claim: Claim) -> str:
    """Return the key of the source that a claim names first: ``paper, section 4.2; article`` -> ``paper``."""
    return re.split("[,;]", claim["source"])[0].strip()
