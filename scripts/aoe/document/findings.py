"""Words and numbers of which the document's sentences are made."""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PLURAL = {"routed_experts": "routed experts", "shared_experts": "shared experts", "dense_mlp": "dense MLPs"}


class FittedStep(Protocol):
    """A sweep's fitted transition, as a row of transitions.csv has it; all numbers are in λ2."""

    sweep: str
    midpoint: float
    midpoint_low: float
    midpoint_high: float
    width: float


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for people in so many significant digits, with a true minus sign and no exponent; – for none."""
    if value is None or _is_missing(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if not value:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(RAISED)}".replace("-", "−")
    return f"{value:,.{max(0, digits - 1 - size)}f}".replace("-", "−")


def fixed(value: float | None, places: int = 1) -> str:
    """Write a number with so many decimals, such as a percentage or a cost; – for none."""
    return "–" if value is None or _is_missing(value) else f"{value:.{places}f}".replace("-", "−")


def interval(value: float, low: float, high: float, show: Callable[[float], str] = number) -> str:
    """Write ``0.497 (0.494–0.499)``, and below zero ``−7.23 (−10.2 to −4.69)``; the value alone if ``low`` is NaN."""
    to = " to " if low < 0 else "–"
    return show(value) if _is_missing(low) else f"{show(value)} ({show(low)}{to}{show(high)})"


def listed(parts: Iterable[str]) -> str:
    """Write ``a, b and c``; of no parts, ``none``."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def counted(amount: int, what: str) -> str:
    """Write ``1 claim``, ``2 claims``."""
    return f"{amount:,} {what}{'' if amount == 1 else 's'}"


def step_seen(fit: FittedStep, positions: Collection[float]) -> bool:
    """Tell whether a fitted step lies within the λ2 that were looked at, and is narrower than they are apart."""
    return min(positions) <= fit.midpoint <= max(positions) and fit.width < max(positions) - min(positions)


def plural(group: str) -> str:
    """Return what a group of tensors is called in a sentence."""
    return PLURAL.get(group, group.replace("_", " "))


def _is_missing(value: float) -> bool:
    import pandas as pd  # here, as Snakemake imports the figures, and these words with them, before it plans anything

    return pd.isna(value)
