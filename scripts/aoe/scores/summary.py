"""From scored answers to the quantities of the paper: intelligence, inference cost and the closing tag's frequency.

Intelligence is the mean of the benchmarks' percentages, cost the output tokens relative to a reference model's on the
same questions [paper, sections 4.1 and 4.2].
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from aoe import AoeError
from aoe.scores.statistics import (
    Estimate,
    Transition,
    adjusted,
    bootstrap,
    fit_level,
    fit_share,
    mean_of_means,
    paired_test,
    share,
)

FIT_RESAMPLES = 400
CURVE_POINTS = 101
COMPARED = ["variant", "other", "measure", "difference", "difference_low", "difference_high", "p_value", "questions"]
UNKNOWN = Estimate(np.nan, np.nan, np.nan)
MEASURES: dict[str, Callable[..., Transition]] = {"closing": fit_share, "cost": fit_level, "intelligence": fit_level}


class Answers:
    """Scored answers, question by question.

    scores: a data frame with one row a variant, benchmark, question, sample (a question can be asked several times) and
    turn.  For each variant and benchmark, ``of`` gives an array (questions, 3): the share of right turns, the output
    tokens of all turns, the share of closed turns, each the mean over the samples.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        self.benchmarks = list(scores.benchmark.unique())
        closed = scores.assign(closed=scores.closing_tags > 0)
        closed["digits"] = closed.question.astype(str).str.len()  # so that question 9 comes before question 10
        places = ["variant", "benchmark", "digits", "question"]
        by_sample = closed.groupby([*places, "sample"], sort=True)
        table = by_sample.agg(right=("right", "mean"), tokens=("tokens", "sum"), closed=("closed", "mean"))
        table = table.groupby(places, sort=True).mean()
        self._arrays = {key: part.to_numpy(float) for key, part in table.groupby(level=["variant", "benchmark"])}
        self._questions = {
            key: list(part.index.get_level_values("question"))
            for key, part in table.groupby(level=["variant", "benchmark"])
        }
        self.truncated = (scores.finish == "max_tokens").groupby(scores.variant).mean()
        self.per_answer = scores.tokens.groupby(scores.variant).mean()

    def of(self, variant: str, benchmarks: Iterable[str] | None = None) -> list[np.ndarray]:
        """Return one array (questions, 3) a benchmark."""
        return [self._arrays[variant, benchmark] for benchmark in benchmarks or self.benchmarks]

    def beside(self, variant: str, reference: str) -> list[np.ndarray]:
        """Return one array (questions, 6) a benchmark: the variant's columns, then the reference's.

        Raises AoeError if the two were not asked the same questions.
        """
        if any(self._questions[variant, b] != self._questions[reference, b] for b in self.benchmarks):
            raise AoeError(f"{variant} and {reference} were not asked the same questions.")
        pairs = zip(self.of(variant), self.of(reference), strict=True)
        return [np.concatenate([ours, theirs], axis=1) for ours, theirs in pairs]


def percentage_right(samples: Sequence[np.ndarray]) -> float:
    """Return the mean of the benchmarks' percentages; samples: arrays (questions, 3 or more) of ``Answers``."""
    return 100 * np.mean([sample[:, 0].mean() for sample in samples])


def relative_cost(samples: Sequence[np.ndarray]) -> float:
    """Divide the output tokens by the reference's; samples: arrays (questions, 6) of ``Answers.beside``."""
    return sum(sample[:, 1].sum() for sample in samples) / sum(sample[:, 4].sum() for sample in samples)


def share_closed(samples: Sequence[np.ndarray]) -> float:
    """Return the share of closed turns, a mean over the questions of all benchmarks."""
    return np.concatenate([sample[:, 2] for sample in samples]).mean()


def summarize(scores: pd.DataFrame, variants: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a variant: recipe, accuracies, intelligence, tokens, cost and closing tags, with intervals.

    variants: dicts with ``variant`` and descriptive columns, in the order wanted; settings: the study's ``scores``.
    """
    answers = Answers(scores)
    repeat = {"resamples": settings["resamples"], "seed": settings["seed"]}
    rows = []
    for entry in variants:
        variant = entry["variant"]
        row = dict(entry)
        for benchmark in answers.benchmarks:
            right = _graded(answers.of(variant, [benchmark])[0][:, 0])
            row |= _columns(f"{benchmark}_percent", _scaled(_mean(right, repeat), 100))
        chosen = [part[~np.isnan(part[:, 0])] for part in answers.of(variant, settings["intelligence"])]
        graded = all(map(len, chosen))
        row |= _columns("intelligence", bootstrap(percentage_right, chosen, **repeat) if graded else UNKNOWN)
        row["tokens_per_answer"] = answers.per_answer[variant]
        row |= _columns("cost", bootstrap(relative_cost, answers.beside(variant, settings["reference"]), **repeat))
        closed = np.concatenate([sample[:, 2] for sample in answers.of(variant)])
        row |= _columns("closing", share(closed.sum(), len(closed)))
        row["cut_off"] = answers.truncated[variant]
        row["questions"] = len(closed)
        rows.append(row)
    return pd.DataFrame(rows).round(4)


def with_realized(summary: pd.DataFrame, realized: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """Return the summary with a column ``realized_{model}`` a model, and ``rounding_noise``.

    realized: the table of realized λ, whose level ``model`` is taken; models: the study's.  A variant that combines
    nothing has empty cells, a model that is no parent of what is combined the λ 0.
    """
    rows = realized[realized.level == "model"]
    lambdas = rows.pivot_table(index="variant", columns="parent", values="realized")
    lambdas = lambdas.reindex(columns=list(models)).fillna(0).add_prefix("realized_")
    noise = rows.groupby("variant").noise.first().rename("rounding_noise")
    return summary.join(lambdas.join(noise).round(4), on="variant")


def compare(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a pair of variants and measure: how much more the first one has, and whether that may be chance.

    pairs: (variant, other) names, compared on the same questions.  The measures are each benchmark's grades and
    ``intelligence`` (both in percentage points), and ``tokens`` (output tokens a question).  ``p_value`` is a paired
    permutation test's over questions, ``p_adjusted`` the same for all pairs of a measure together.
    """
    answers = Answers(scores)
    repeat = {"resamples": settings["resamples"], "seed": settings["seed"]}
    rows = []
    for variant, other in pairs:
        both = dict(zip(answers.benchmarks, answers.beside(variant, other), strict=True))
        grades = {benchmark: _graded(100 * (rows[:, 0] - rows[:, 3])) for benchmark, rows in both.items()}
        tokens = np.concatenate([rows[:, 1] - rows[:, 4] for rows in both.values()])
        measures = {benchmark: [found] for benchmark, found in grades.items()}
        measures |= {"intelligence": [grades[name] for name in settings["intelligence"]], "tokens": [tokens]}
        for measure, parts in measures.items():
            if not all(map(len, parts)):
                continue
            # the mean of the benchmarks' means: a question weighs the more, the fewer there are beside it
            weighed = np.concatenate([part / len(part) / len(parts) for part in parts])
            rows.append(
                {
                    "variant": variant,
                    "other": other,
                    "measure": measure,
                    **_columns("difference", mean_of_means(parts, **repeat)),
                    "p_value": paired_test(weighed, **repeat),
                    "questions": len(weighed),
                }
            )
    table = pd.DataFrame(rows, columns=COMPARED)
    table["p_adjusted"] = table.groupby("measure").p_value.transform(adjusted)
    return table.round(4)


def categories(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row a variant, benchmark, category of questions and turn.

    It has the mean grade in percent (a tenth of it is MT-Bench's score), the number of answers, how many of them nobody
    could grade, and how many were cut off at the token limit.
    """
    places = ["variant", "benchmark", "category", "turn"]
    graded = scores.assign(
        ungraded=scores.right.isna(), cut_off=scores.finish == "max_tokens", percent=100 * scores.right
    )
    counted = {"answers": ("right", "size"), "ungraded": ("ungraded", "sum"), "cut_off": ("cut_off", "sum")}
    return (
        graded.groupby(places, sort=False, dropna=False)
        .agg(percent=("percent", "mean"), **counted)
        .reset_index()
        .round(4)
    )


def unreadable(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row a variant and benchmark: its ``answers``, how many are ``unreadable``, and how many of these were
    ``cut_off`` at the token limit.

    An unreadable answer gives no result, or several; a judge's verdict without a rating makes the answer unreadable.
    """
    marked = scores.assign(cut_off=scores.unreadable & (scores.finish == "max_tokens"))
    counted = {"answers": ("unreadable", "size"), "unreadable": ("unreadable", "sum"), "cut_off": ("cut_off", "sum")}
    return marked.groupby(["variant", "benchmark"], sort=False).agg(**counted).reset_index()


def fit_transitions(
    scores: pd.DataFrame, sweeps: Mapping[str, Sequence[Mapping[str, Any]]], settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (transitions, curves): a fitted step for each sweep over λ2 and measure, and its drawn curve with a band.

    sweeps: name -> list of dicts with ``lambda2`` and ``variant``.  The intervals come from resampled questions, the
    same ones for all variants of a sweep.
    """
    answers = Answers(scores)
    rng = np.random.default_rng(settings["seed"])
    fitted, curves = [], []
    for sweep, points in sweeps.items():
        positions = np.array([point["lambda2"] for point in points])
        names = [point["variant"] for point in points]
        draws = [resampled(answers, names, settings, None)]
        draws += [resampled(answers, names, settings, rng) for _ in range(FIT_RESAMPLES)]
        grid = np.linspace(positions.min(), positions.max(), CURVE_POINTS)
        for measure, fit in MEASURES.items():
            if np.isnan([draw[measure] for draw in draws]).any():  # answers that nobody could grade
                continue
            best = fit(positions, draws[0][measure])
            others = [fit(positions, draw[measure], start=best) for draw in draws[1:]]
            fitted.append(
                {
                    "sweep": sweep,
                    "measure": measure,
                    **_columns("midpoint", _interval(best.midpoint, [other.midpoint for other in others])),
                    **_columns("width", _interval(best.width, [other.width for other in others])),
                    "bottom": best.bottom,
                    "top": best.top,
                    "residual": np.sqrt(np.mean((best(positions) - draws[0][measure]) ** 2)),
                }
            )
            low, high = np.percentile([other(grid) for other in others], [2.5, 97.5], axis=0)
            curves.append(
                pd.DataFrame(
                    {"sweep": sweep, "measure": measure, "lambda2": grid, "value": best(grid), "low": low, "high": high}
                )
            )
    if not fitted:
        return pd.DataFrame(columns=["sweep", "measure"]), pd.DataFrame(columns=["sweep", "measure", "lambda2"])
    return pd.DataFrame(fitted).round(4), pd.concat(curves).round(4)


def resampled(
    answers: Answers, variants: Sequence[str], settings: Mapping[str, Any], rng: np.random.Generator | None
) -> dict[str, list[float]]:
    """Return {measure: value of each variant} on all questions, or, with an rng, on questions drawn again."""
    reference = settings["reference"]
    chosen = [answers.benchmarks.index(benchmark) for benchmark in settings["intelligence"]]
    sizes = [len(sample) for sample in answers.of(reference)]
    drawn = [rng.integers(size, size=size) if rng else np.arange(size) for size in sizes]
    samples = {
        variant: [sample[rows] for sample, rows in zip(answers.beside(variant, reference), drawn, strict=True)]
        for variant in variants
    }
    return {
        "closing": [share_closed(samples[variant]) for variant in variants],
        "cost": [relative_cost(samples[variant]) for variant in variants],
        "intelligence": [percentage_right(_all_graded(samples[variant], chosen)) for variant in variants],
    }


def _all_graded(samples, chosen):
    """The chosen benchmarks' samples without questions that nobody could grade; NaN where nothing is left."""
    kept = [samples[place][~np.isnan(samples[place][:, 0])] for place in chosen]
    return [sample if len(sample) else np.full((1, 6), np.nan) for sample in kept]


def _graded(grades):
    return grades[~np.isnan(grades)]


def _mean(right, repeat):
    """The mean of questions' grades: a share where all are 0, ½ or 1, else resampled."""
    if not len(right):
        return UNKNOWN
    if set(right) <= {0, 0.5, 1}:
        return share(right.sum(), len(right))
    return mean_of_means([right], **repeat)


def _interval(value, others):
    return Estimate(value, *np.percentile(others, [2.5, 97.5]))


def _scaled(estimate, factor):
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor)


def _columns(name, estimate):
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
