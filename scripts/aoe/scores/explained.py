"""Test whether the realized λ2 explains when answers close the reasoning, whatever the rounding.

The hypothesis: the share of answers with ``</think>`` is one curve over λ2, which never falls, and the same for all
roundings.  The alternative: such a curve for every rounding.  The statistic is the difference of their deviances
(binomial, in the shares of questions).  Its distribution under the hypothesis comes from resampled questions: their
deviations from the observed shares are added to the common curve, so that answers to the same question stay related.
A curve that is only known not to fall is not refused for having another shape than a logistic step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special
from aoe.scores.realized import ASKED, LARGE, MODEL, points
from aoe.scores.summary import Answers

Shares = NDArray[np.float64]
ALIKE = 0.05  # root mean square by which groups' realized λ2 differ that count as one
TENTHS = 10  # weights of groups are multiples of 1 / TENTHS
SEARCHED = 400  # resamples, at most, where weights of groups are searched in every one
WEIGHTED = "groups"  # their realized λ2, weighted
COLUMNS = ["family", "over", "weights", "roundings", "variants", "questions"]
COLUMNS += ["explained", "explained_low", "explained_high", "gain", "gain_low", "gain_high"]
COLUMNS += ["residual", "likelihood_ratio", "p_value"]


def explain(
    scores: pd.DataFrame,
    families: Iterable[Mapping[str, Any]],
    realized: pd.DataFrame,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Return one row a family of several roundings and kind of λ2: how much one common curve over it explains.

    families: of aoe.studies.families; realized: the table; settings: the study's ``scores``.  ``over`` is ``asked``,
    ``model``, a large group, or ``groups``: the large groups' realized λ2 with the ``weights`` that explain most.
    ``explained`` is the share of the deviance between a constant and the observed shares, ``gain`` how much more that
    is than over the asked λ2, both with intervals over questions; ``residual`` the root mean square distance from the
    curve; ``likelihood_ratio`` and ``p_value`` test the common curve against one a rounding.
    """
    answers = Answers(scores)
    rows = [row for family in families for row in _of_family(answers, family, realized, settings)]
    return pd.DataFrame(rows, columns=COLUMNS).round(4)


def weighted(table: pd.DataFrame, weights: str) -> pd.Series:
    """Return the weighted realized λ2 of groups, a number a row; groups that are named together count alike.

    table: of ``points``; weights: as ``explain`` writes them.
    """
    total = pd.Series(0.0, table.index)
    for weight, words in re.findall(r"([\d.]+) \(([^)]+)\)", weights):
        names = [name.replace(" ", "_") for name in words.split(", ")]
        total += float(weight) * table[names].mean(axis=1)
    return total


def rising(positions: Shares, values: Shares) -> Shares:
    """Return the values, one a position, of the curve that fits best (least squares) and never falls."""
    _, which, counts = np.unique(positions, return_inverse=True, return_counts=True)
    means = np.bincount(which, weights=values) / counts
    return optimize.isotonic_regression(means, weights=counts.astype(float)).x[which]


def deviance(shares: Shares, fitted: Shares, questions: int) -> float:
    """Return twice the log-likelihood by which fitted shares fall short of the observed ones."""
    short = special.rel_entr(shares, fitted) + special.rel_entr(1 - shares, 1 - fitted)
    return float(2 * questions * np.sum(short))


@dataclass(frozen=True)
class _Curves:
    """Variants by their roundings: ``labels`` and asked λ2, (variants,), and the number of questions."""

    labels: NDArray[np.str_]
    asked: Shares
    questions: int

    def of_each(self, shares: Shares) -> float:
        """The deviance of one curve a rounding."""
        parts = [self.labels == label for label in np.unique(self.labels)]
        return sum(deviance(shares[part], rising(self.asked[part], shares[part]), self.questions) for part in parts)

    def common(self, positions: Iterable[Shares], shares: Shares) -> tuple[float, Shares, int]:
        """The deviance and values of the common curve, and over which positions it is best."""
        fits = [rising(place, shares) for place in positions]
        found = [deviance(shares, fit, self.questions) for fit in fits]
        best = int(np.argmin(found))
        return found[best], fits[best], best

    def ratio(self, positions: Iterable[Shares], shares: Shares) -> float:
        return max(0.0, self.common(positions, shares)[0] - self.of_each(shares))

    def explained(self, positions: Iterable[Shares], shares: Shares) -> float:
        """The share of the deviance of a constant that the common curve explains; NaN if there is none."""
        whole = deviance(shares, np.full_like(shares, shares.mean()), self.questions)
        return 1 - self.common(positions, shares)[0] / whole if whole else np.nan


def _of_family(
    answers: Answers, family: Mapping[str, Any], realized: pd.DataFrame, settings: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of one family; none if it has one rounding only."""
    table = points(family, realized)
    table = table[~table.duplicated("variant", keep=False)].reset_index(drop=True)  # what all roundings share
    if table.rounded.nunique() < 2:
        return
    closed = _closed(answers, table.variant)
    shares = np.concatenate(closed).mean(axis=0)
    curves = _Curves(table.rounded.to_numpy(str), table.asked.to_numpy(float), sum(map(len, closed)))
    counts = {"roundings": table.rounded.nunique(), "variants": len(table), "questions": curves.questions}
    for over, candidates in _kinds(table).items():
        number = settings["resamples"] if len(candidates) == 1 else min(SEARCHED, settings["resamples"])
        drawn = _resampled(closed, number, settings["seed"])
        positions = list(candidates.values())
        _, curve, best = curves.common(positions, shares)
        ratio = curves.ratio(positions, shares)
        under = [curves.ratio(positions, np.clip(curve + other - shares, 0, 1)) for other in drawn]
        explained = np.array([curves.explained(positions, other) for other in [shares, *drawn]])
        gain = explained - [curves.explained([curves.asked], other) for other in [shares, *drawn]]
        yield {
            "family": family["name"],
            "over": over,
            "weights": list(candidates)[best],
            **counts,
            **_with_interval("explained", explained),
            **_with_interval("gain", gain),
            "residual": float(np.sqrt(np.mean((shares - curve) ** 2))),
            "likelihood_ratio": ratio,
            "p_value": (1 + sum(other >= ratio for other in under)) / (1 + len(under)),
        }


def _closed(answers: Answers, variants: Iterable[str]) -> list[Shares]:
    """One array (questions, variants) a benchmark: the share of an answer's turns that are closed."""
    variants = list(variants)
    for variant in variants[1:]:
        answers.beside(variant, variants[0])  # raises AoeError if they were not asked the same
    parts = [answers.of(variant) for variant in variants]
    return [np.stack([part[place][:, 2] for part in parts], axis=1) for place in range(len(answers.benchmarks))]


def _resampled(closed: Sequence[Shares], number: int, seed: int) -> list[Shares]:
    """The shares (variants,) of questions drawn again, benchmark by benchmark, so many times."""
    rng, total = np.random.default_rng(seed), sum(map(len, closed))
    sums = [sum(part[rng.integers(len(part), size=len(part))].sum(axis=0) for part in closed) for _ in range(number)]
    return [part / total for part in sums]


def _kinds(table: pd.DataFrame) -> dict[str, dict[str, Shares]]:
    """over -> {weights in words: positions (variants,)}; there are several where weights have to be found."""
    groups = [group.value for group in LARGE if group.value in table and table[group.value].notna().all()]
    kinds = {name: {"": table[name].to_numpy(float)} for name in (ASKED, MODEL, *groups)}
    if len(together := _alike(table, groups)) < 2:
        return {name: kinds[name] for name in (ASKED, MODEL)} if len(groups) == 1 else kinds
    means = [table[names].mean(axis=1).to_numpy(float) for names in together]
    words = [", ".join(name.replace("_", " ") for name in names) for names in together]
    searched = {}
    for parts in itertools.product(range(TENTHS + 1), repeat=len(together)):
        if sum(parts) == TENTHS:
            said = " + ".join(f"{part / TENTHS:g} ({word})" for part, word in zip(parts, words, strict=True) if part)
            searched[said] = sum(part / TENTHS * mean for part, mean in zip(parts, means, strict=True))
    return kinds | {WEIGHTED: searched}


def _alike(table: pd.DataFrame, groups: Iterable[str]) -> list[list[str]]:
    """Groups whose realized λ2 are about the same, together; no data can tell which of them matters."""
    found: list[list[str]] = []
    for group in groups:
        near = [names for names in found if np.sqrt(np.mean((table[names[0]] - table[group]) ** 2)) < ALIKE]
        near[0].append(group) if near else found.append([group])
    return found


def _with_interval(name: str, values: Shares) -> dict[str, float]:
    """A value with the interval of its resamples; values: it, then they.

    Resampled shares scatter twice, so that any curve explains less of them: the interval is moved by this difference.
    """
    low, middle, high = np.nanpercentile(values[1:], [2.5, 50, 97.5]) - values[0]
    return {
        name: float(values[0]),
        f"{name}_low": float(values[0] + low - middle),
        f"{name}_high": float(min(1, values[0] + high - middle)),
    }
