"""Recipes: how a variant is assembled, as data [paper, section 3, equation 1].

    W*_l = sum_i λ_i W(i)_l   if l is in S and max_i ||W(1)_l - W(i)_l|| > δ,   else W(1)_l

A recipe names the base W(1), the weights λ of the parents, the subset S, the threshold δ with the space that its norm
is measured in, and, if wanted, other λ for parts of S, and how sums are computed and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aoe import AoeError, norms
from aoe.checkpoints.architecture import Place
from aoe.checkpoints.configs import STORED
from aoe.checkpoints.tokens.beside import CHOICES, chosen
from aoe.merging.subset import Subset, read_subset
from aoe.numerics.kernels import Arithmetic, Rounding

SUM_TOLERANCE = 1e-9
LARGEST_WEIGHT = 1e6  # λ beyond it make numbers that the models' dtypes cannot hold


class Interpolation(StrEnum):
    """What a recipe's weights are: the λ themselves, or the shares of the angle between two parents (SLERP).

    slerp_fused: with one angle for all that mergekit fuses, see aoe.merging.sphere.fused_cosines.
    """

    LINEAR = "linear"
    SLERP = "slerp"
    SLERP_FUSED = "slerp_fused"

    @property
    def by_angle(self) -> bool:
        """Whether λ follow from angles between parents."""
        return self != Interpolation.LINEAR


@dataclass(frozen=True)
class Threshold:
    """δ of equation 1; a tensor is merged only if the largest norm of its differences from the base exceeds it."""

    delta: float = 0.0
    space: str = "normalized"


@dataclass(frozen=True)
class Recipe:
    """One variant: ``base`` (a parent's name), ``weights`` (parent -> λ), ``subset``, ``threshold``, ``overrides``.

    overrides: (Subset, weights) pairs; the first whose subset holds a tensor of S gives its λ.  config_from: the parent
    whose config.json the result has, config: keys of it that have other values; tokenizer_from, chat_template_from,
    generation_config_from: the parents that it has these from (see ``beside``).  align_embeddings: whether the rows of
    the others' embeddings are put into the order of the base's tokens before they are combined.  arithmetic, rounding:
    see aoe.numerics.kernels; seed: of the random numbers that a rounding draws.  interpolation: what the weights
    are, see aoe.merging.sphere.
    """

    base: str
    weights: dict[str, float]
    subset: Subset = field(default_factory=Subset)
    threshold: Threshold = Threshold()
    overrides: tuple[tuple[Subset, dict[str, float]], ...] = ()
    convex: bool = True
    publish: bool = field(default=False, compare=False)
    config_from: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer_from: str | None = None
    chat_template_from: str | None = None
    generation_config_from: str | None = None
    align_embeddings: bool = False
    arithmetic: Arithmetic = Arithmetic.FLOAT32
    rounding: Rounding = Rounding.NEAREST
    seed: int = 0
    interpolation: Interpolation = Interpolation.LINEAR

    @property
    def parents(self) -> list[str]:
        """The names of all models that the recipe reads, the base first."""
        names = [self.base, *self.weights]
        for _, weights in self.overrides:
            names += weights
        return list(dict.fromkeys(names))

    @property
    def beside(self) -> dict[str, str]:
        """Whose the files beside the weights are; see aoe.checkpoints.tokens.beside.chosen."""
        return chosen(vars(self))

    @property
    def needs_differences(self) -> bool:
        """Whether its plan reads the table of differences: norms for δ, or angles for SLERP."""
        return self.threshold.delta > 0 or self.interpolation.by_angle

    @property
    def selects_by_names(self) -> bool:
        """Whether S or an override has a pattern on tensor names, or selects experts, whose numbers only names show."""
        return any(subset.is_of_tensors for subset in (self.subset, *(subset for subset, _ in self.overrides)))

    def describe(self) -> dict[str, Any]:
        """Return the recipe in a table's cells: λ, S (its groups) and δ."""
        weights = " + ".join(f"{weight:.3g} {parent}" for parent, weight in self.weights.items() if weight)
        weights += ", others for parts" if self.overrides else ""
        weights += ", on the sphere (SLERP)" if self.interpolation.by_angle else ""
        weights += "".join(f"; {how}" for how in self.method())
        weights += "; embeddings aligned by token" if self.align_embeddings else ""
        return {"weights": weights, "subset": self.subset.describe(), "delta": self.threshold.delta}

    @property
    def largest_growth(self) -> int:
        """How many times as large as its base's a file of the result may be: unrounded FP8 becomes BF16."""
        return 2 if self.rounding == Rounding.NONE else 1

    def method(self) -> list[str]:
        """Return, in words, how sums are computed and rounded where that is not the usual way."""
        seed = f", seed {self.seed}" if self.seed else ""
        words = [f"summed in {self.arithmetic}"] if self.arithmetic == Arithmetic.BFLOAT16 else []
        words += ["summed as stored"] if self.arithmetic == Arithmetic.STORED else []
        words += ["summed as differences from the base in bfloat16"] if self.arithmetic == Arithmetic.DELTAS else []
        words += ["not rounded"] if self.rounding == Rounding.NONE else []
        return words + ([f"{self.rounding} rounding{seed}"] if self.rounding.by_chance else [])

    def canonical(self) -> Any:
        """Return a value that two recipes share if they assemble the same model, whatever way they are written."""
        weights = tuple(sorted((parent, weight) for parent, weight in self.weights.items() if weight != 0))
        everything = self.subset == Subset() and self.threshold.delta == 0 and not self.overrides
        copied = None
        if not self.overrides and weights == ((self.base, 1),):
            copied = self.base
        elif everything and len(weights) == 1 and weights[0][1] == 1 and self.arithmetic != Arithmetic.DELTAS:
            copied = weights[0][0]
        aligned = self.align_embeddings and copied != self.base
        whose = {*self.beside.values()}
        if self.config or aligned or whose != {self.base}:
            # a copy of a parent's weights, beside another's config, is no copy of the parent
            if whose == {copied} and not self.config and not aligned:
                return copied
            made = "aligned" if aligned else "", copied or self._mixture(weights)
            return *made, *self.beside.values(), sorted(self.config.items())
        return copied or self._mixture(weights)

    def _mixture(self, weights):
        overrides = tuple((subset, tuple(sorted(weights.items()))) for subset, weights in self.overrides)
        threshold = self.threshold if self.threshold.delta else Threshold()
        shares = [[share for _, share in mixture if share] for mixture in (weights, *(o[1] for o in overrides))]
        copies = all(mixture == [1] for mixture in shares)  # of which nothing is computed
        copies &= self.arithmetic != Arithmetic.DELTAS
        method = () if copies else (self.arithmetic, self.rounding, self.seed, self.interpolation)
        return self.base, weights, self.subset, threshold, overrides, *method

    def reads(self, parent: str, holds: Mapping[str, Collection[int]]) -> bool:
        """Return whether a shard of a parent can be needed: {tensor group: [layers]} is what it holds.

        A base is needed whole, and where differences count, every parent is; of the others, the tensors of S where
        their λ is not 0.  Name patterns are not looked at: a shard too many does no harm.
        """
        if parent == self.base or self.needs_differences:
            return True
        mixtures = [(Subset(), self.weights), *self.overrides]
        return any(
            weights.get(parent) and self.subset.meets(group, layers) and subset.meets(group, layers)
            for group, layers in holds.items()
            for subset, weights in mixtures
        )

    def weights_for(self, tensor: str, place: Place) -> Mapping[str, float]:
        """Return {parent: λ} for a tensor without regard to δ: the base alone outside S."""
        if (tensor, place) not in self.subset:
            return {self.base: 1.0}
        for subset, weights in self.overrides:
            if (tensor, place) in subset:
                return weights
        return self.weights


def read_recipe(name: str, entry: Mapping[str, Any], models: Collection[str]) -> Recipe:
    """Return the Recipe of a study file's entry (a dict, already valid against the schema).

    models: the study's model names.  Raises AoeError with the variant's name for an unknown parent, λ that don't sum to
    1 or (if convex) are negative, an unknown group, a bad layer range or an unknown norm space.
    """
    where = f"The variant {name}"
    recipe = Recipe(
        base=entry["base"],
        weights=dict(entry["weights"]),
        subset=read_subset(where, entry.get("subset", {})),
        threshold=Threshold(**entry.get("threshold", {})),
        overrides=tuple((read_subset(where, o["subset"]), dict(o["weights"])) for o in entry.get("overrides", [])),
        convex=entry.get("convex", True),
        publish=entry.get("publish", False),
        config_from=entry.get("config_from"),
        config=dict(entry.get("config", {})),
        tokenizer_from=entry.get("tokenizer_from"),
        chat_template_from=entry.get("chat_template_from"),
        generation_config_from=entry.get("generation_config_from"),
        align_embeddings=entry.get("align_embeddings", False),
        arithmetic=Arithmetic(entry.get("arithmetic", "float32")),
        rounding=Rounding(entry.get("rounding", "nearest")),
        seed=entry.get("seed", 0),
        interpolation=Interpolation(entry.get("interpolation", "linear")),
    )
    if "seed" in entry and not recipe.rounding.by_chance:
        raise AoeError(f"{where} has a seed, but the rounding {recipe.rounding} draws no random numbers; leave it out.")
    if recipe.arithmetic == Arithmetic.STORED and recipe.rounding not in (Rounding.NEAREST, Rounding.STOCHASTIC):
        raise AoeError(
            f"{where} has the arithmetic stored with the rounding {recipe.rounding}; codes that are summed as they are "
            "stored can be rounded nearest or stochastic."
        )
    for key in CHOICES:
        if getattr(recipe, key) not in (None, *recipe.parents):
            raise AoeError(f"{where} has `{key}: {getattr(recipe, key)}`, which is none of its parents.")
    if recipe.align_embeddings:
        _check_aligned(where, recipe)
    if stored := sorted(recipe.config.keys() & {*STORED}):
        raise AoeError(
            f"{where} states `{stored[0]}` in `config`; that follows from how the base's weights are stored."
        )
    for parent in recipe.parents:
        if parent not in models:
            raise AoeError(f"{where} names the parent {parent!r}, which the study does not have ({', '.join(models)}).")
    for weights in [recipe.weights, *(weights for _, weights in recipe.overrides)]:
        if not all(map(math.isfinite, weights.values())):
            raise AoeError(f"{where} has a weight λ that is not a finite number.")
        if max(map(abs, weights.values())) > LARGEST_WEIGHT:
            raise AoeError(f"{where} has a weight λ beyond ±{LARGEST_WEIGHT:,.0f}, which no merge has a use for.")
        if not any(weights.values()):
            raise AoeError(f"{where} has no weight λ but 0.")
        total = math.fsum(weights.values())
        if recipe.convex and abs(total - 1) > SUM_TOLERANCE:
            raise AoeError(f"{where} has weights λ that sum to {total:g} instead of 1 (or say `convex: false`).")
        _check_sum(where, recipe, weights, total)
        if recipe.convex and min(weights.values()) < 0:
            raise AoeError(f"{where} has a negative weight λ (or say `convex: false`).")
    if not 0 <= recipe.threshold.delta < math.inf:
        raise AoeError(f"{where} has the threshold δ {recipe.threshold.delta}; write a number from 0 on.")
    if recipe.threshold.space not in norms.names():
        known = ", ".join(norms.names())
        raise AoeError(f"{where} measures δ in the unknown space {recipe.threshold.space!r} ({known}).")
    return recipe


def _check_aligned(where, recipe):
    """Raises AoeError if something of a recipe contradicts embeddings that are aligned with the base's."""
    if recipe.beside["tokenizer"] != recipe.base:
        raise AoeError(
            f"{where} has `align_embeddings`, which gives its embeddings the rows of {recipe.base}'s tokens, and "
            f"`tokenizer_from: {recipe.tokenizer_from}`; leave one of them out, or make {recipe.tokenizer_from} the "
            "base."
        )
    if recipe.needs_differences:
        needs = "a threshold δ" if recipe.threshold.delta > 0 else f"`interpolation: {recipe.interpolation}`"
        raise AoeError(
            f"{where} has `align_embeddings` and {needs}, but differences are measured between rows as they are "
            "stored; leave one of them out."
        )


def said_of(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says of the files beside its weights and of its tokens, for aoe.acquiring.together.check."""
    said = {"config_from": recipe.config_from, "config": sorted(recipe.config), "tokenizer_from": recipe.tokenizer_from}
    further = ("chat_template_from", "generation_config_from", "align_embeddings")
    return said | {key: getattr(recipe, key) for key in further if getattr(recipe, key)}


def _check_sum(where, recipe, weights, total):
    """Raises AoeError for weights that SLERP, or sums of differences from the base, give no meaning."""
    if recipe.interpolation.by_angle:
        others = [parent for parent in weights if parent != recipe.base]
        if len(others) > 1:
            raise AoeError(
                f"{where} interpolates on the sphere between {recipe.base} and {' and '.join(others)}; SLERP takes the "
                "base and one other parent."
            )
        if abs(total - 1) > SUM_TOLERANCE:
            raise AoeError(
                f"{where} has weights that sum to {total:g}; with `interpolation: {recipe.interpolation}` they are "
                "shares of an angle, and sum to 1."
            )
    if recipe.arithmetic == Arithmetic.DELTAS and abs(total - 1) > SUM_TOLERANCE:
        raise AoeError(
            f"{where} has weights λ that sum to {total:g}; with `arithmetic: deltas` the base has 1 less the others' λ."
        )
