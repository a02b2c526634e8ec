"""The norms of a difference ΔW between two tensors of n numbers: the one list.

The paper divides the Frobenius norm of a difference by √n [paper, section 3]; it does not say what the norm is taken
of.  So every norm of this list is measured, and a threshold δ names the one that it is meant in.  A norm is one entry
of ``NORMS``: tables, recipes, figures, the document, audits, the study's schema and the documentation follow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aoe import AoeError

if TYPE_CHECKING:
    from aoe.numerics.kernels import Sums


@dataclass(frozen=True)
class Norm:
    """A norm of differences.

    name: in studies (``space``), and as a column of tables; axis: label of a figure's axis, with matplotlib's math;
    text: what it is, in tables of the document and the documentation; unit: of its values, in words;
    of_sums(sums, elements): its value from a tensor's Sums and its number of elements (at least 1);
    audit_order: when an audit tries it as the space of a threshold δ, the lowest first;
    smallest_shown: the smallest difference that figure 3 shows, in the norm's unit.
    """

    name: str
    axis: str
    text: str
    unit: str
    of_sums: Callable[["Sums", int], float]
    audit_order: int
    smallest_shown: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.of_sums):
            raise AoeError(f"The norm {self.name} has no function `of_sums`; docs/how-to/add-a-norm.md shows one.")


def _relative(sums: "Sums", elements: int) -> float:
    change, size = math.sqrt(sums.change), math.sqrt(sums.size)
    return change / size if size else 0.0 if not change else math.inf


# In the order of tables' columns and rows.
NORMS = (
    Norm(
        name="normalized",
        axis="‖ΔW‖$_F$/√n, dequantized",
        text="‖ΔW‖/√n of the dequantized weights",
        unit="weights",
        of_sums=lambda sums, elements: math.sqrt(sums.change) / math.sqrt(elements),
        audit_order=2,
    ),
    Norm(
        name="frobenius",
        axis="‖ΔW‖$_F$, dequantized",
        text="‖ΔW‖ of the dequantized weights",
        unit="weights",
        of_sums=lambda sums, elements: math.sqrt(sums.change),
        audit_order=3,
        smallest_shown=1e-3,  # the paper's figure shows tensors with a difference of at least this
    ),
    Norm(
        name="codes",
        axis="‖Δcodes‖$_F$/√n, stored values",
        text="‖Δ‖/√n of the stored numbers, without scales",
        unit="stored values",
        of_sums=lambda sums, elements: math.sqrt(sums.code_change) / math.sqrt(elements),
        audit_order=1,  # the paper's δ fit stored codes
        smallest_shown=1e-3,
    ),
    Norm(
        name="relative",
        axis="‖ΔW‖$_F$/‖W‖$_F$",
        text="‖ΔW‖/‖W‖ of the dequantized weights",
        unit="none",
        of_sums=_relative,
        audit_order=4,
    ),
)


def names() -> list[str]:
    """Return the names of all norms, in the order of tables' columns."""
    return [norm.name for norm in NORMS]


def norm(name: str) -> Norm:
    """Return the Norm of a name.  Raises AoeError for an unknown one."""
    for known in NORMS:
        if known.name == name:
            return known
    raise AoeError(f"The norm {name!r} is unknown; known ones are {', '.join(names())}.")


def in_audit_order() -> list[Norm]:
    """Return all norms, the likeliest space of a threshold δ first."""
    return sorted(NORMS, key=lambda known: known.audit_order)


def measured(sums: "Sums", elements: int) -> dict[str, float]:
    """Compute every norm of a tensor's difference, by its name.

    sums: over the whole tensor; elements: how many numbers it has, 0 for an empty one.
    """
    return {known.name: known.of_sums(sums, max(elements, 1)) for known in NORMS}
