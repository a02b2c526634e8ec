"""The method that a model's parents were combined by: its arithmetic, its rounding, and the seed of that.

* ``chance``: whether numbers were rounded by chance, with random numbers that nobody knows;
* ``trying``: the method, other than the usual one, that gives a weight's bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from aoe.merging.plan import Plan
from aoe.merging.recipe import Recipe
from aoe.numerics.kernels import Arithmetic, Method, Rounding

UNKNOWN = "seed unknown"


class ModelMethod(NamedTuple):
    """A recipe's arithmetic, rounding and seed; without a seed, a rounding by chance has unknown random numbers."""

    arithmetic: Arithmetic = Arithmetic.FLOAT32
    rounding: Rounding = Rounding.NEAREST
    seed: int | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> Self:
        """Return the method of a plan."""
        return cls(plan.arithmetic, plan.rounding, plan.seed if plan.rounding.by_chance else None)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the method that ``str`` wrote."""
        words = text.split(", ") if text else []
        seed = next((word.removeprefix("seed ") for word in words if word.startswith("seed ")), "unknown")
        return cls(
            next((one for one in Arithmetic if one in words), Arithmetic.FLOAT32),
            next((one for one in Rounding if one in words), Rounding.NEAREST),
            None if seed == "unknown" else int(seed),
        )

    def __str__(self) -> str:
        """Return what is not usual, as a table has it: ``bfloat16, stochastic, seed 3``."""
        words = [self.arithmetic.value] if self.arithmetic != Arithmetic.FLOAT32 else []
        words += [self.rounding.value] if self.rounding != Rounding.NEAREST else []
        if self.rounding.by_chance:
            words.append(UNKNOWN if self.seed is None else f"seed {self.seed}")
        return ", ".join(words)

    @property
    def is_usual(self) -> bool:
        """Whether it is float32, rounded to nearest."""
        return self == USUAL

    @property
    def is_known(self) -> bool:
        """Whether it gives every byte: random numbers that are drawn are known."""
        return self.seed is not None or not self.rounding.by_chance

    def of(self, weight: str) -> Method:
        """Return how a weight of this name is combined."""
        return Plan("", (), {}, {}, self.arithmetic, self.rounding, self.seed or 0).method(weight)

    def words(self) -> str:
        """Return the method in words, as recipes are described: ``summed in bfloat16``; nothing for the usual one."""
        recipe = Recipe("", {}, arithmetic=self.arithmetic, rounding=self.rounding, seed=self.seed or 0)
        said = recipe.method() + ([] if self.is_known else ["with unknown random numbers"])
        return ", ".join(said)

    def entry(self) -> dict[str, Any]:
        """Return what a study's recipe says of it."""
        entry: dict[str, Any] = {}
        if self.arithmetic != Arithmetic.FLOAT32:
            entry["arithmetic"] = self.arithmetic.value
        if self.rounding != Rounding.NEAREST:
            entry["rounding"] = self.rounding.value
        return entry | ({"seed": self.seed} if self.seed else {})


USUAL = ModelMethod()
UNROUNDED = ModelMethod(rounding=Rounding.NONE)
