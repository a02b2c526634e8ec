"""Plans: a recipe applied to the tensors of its parents.  Merging, loading and auditing execute plans and nothing else.

A plan says for every output tensor which weights λ it has; a single λ of 1 means: copy that parent's bytes.  It also
says how sums are computed and rounded.
"""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.configs import true_config
from aoe.checkpoints.formats import COMBINABLE, SCALED
from aoe.files.replacing import replace_text
from aoe.merging.recipe import Recipe, Subset
from aoe.merging.selection import check_recipe, places
from aoe.numerics.kernels import FP8, Arithmetic, Method, Rounding

NEARLY_PARALLEL = 0.9995  # cosine from which SLERP is linear, as mergekit has it
MOST_DESCRIBED = 64  # mixtures that are described one by one


@dataclass(frozen=True)
class Plan:
    """``base``; ``mixtures``: the different {parent: λ}, without zeros; ``tensors``: name -> index in mixtures;
    ``beside``: what the result has beside its weights that is not the base's (see ``beside``); ``arithmetic``,
    ``rounding`` and ``seed``: the recipe's."""

    base: str
    mixtures: tuple[dict[str, float], ...]
    tensors: dict[str, int]
    beside: dict[str, Any] = field(default_factory=dict)
    arithmetic: Arithmetic = Arithmetic.FLOAT32
    rounding: Rounding = Rounding.NEAREST
    seed: int = 0

    @property
    def parents(self) -> list[str]:
        """The names of the models that the plan reads, the base (whose names and format the output has) first."""
        return list(dict.fromkeys([self.base, *(parent for mixture in self.mixtures for parent in mixture)]))

    def weights(self, tensor: str) -> dict[str, float]:
        """Return {parent: λ} of an output tensor."""
        if tensor not in self.tensors:
            raise AoeError(f"The plan has no tensor {tensor}; it was made for other files.")
        return self.mixtures[self.tensors[tensor]]

    def source(self, tensor: str) -> str | None:
        """Return the parent that the tensor is copied from, or None if it is combined."""
        mixture = self.weights(tensor)
        (parent, weight), *others = mixture.items()
        return parent if not others and weight == 1 else None

    def method(self, weight: str) -> Method:
        """Return how a weight is combined; its random numbers come from the seed and its name."""
        if not self.rounding.by_chance:
            return Method(self.arithmetic, self.rounding)
        digest = hashlib.sha256(f"{self.seed}\n{weight}".encode()).digest()
        return Method(self.arithmetic, self.rounding, int.from_bytes(digest[:8], "little"))

    @property
    def combines(self) -> bool:
        """Whether any weight is combined."""
        return any(len(mixture) > 1 or set(mixture.values()) != {1} for mixture in self.mixtures)

    @property
    def unrounded(self) -> bool:
        """Whether FP8 weights, the copied ones as well, become BF16."""
        return self.rounding == Rounding.NONE and self.combines

    def describe(self) -> list[str]:
        """Return one line a mixture: how many tensors are copied from which parent, or combined with which λ.

        Of very many mixtures, as SLERP makes them, one line for all of the same parents, with the ranges of their λ.
        """
        counts = Counter(self.tensors.values())
        if len(self.mixtures) > MOST_DESCRIBED:
            return self._describe_ranges(counts)
        lines = []
        for index, mixture in enumerate(self.mixtures):
            text = " + ".join(f"{weight:g} {parent}" for parent, weight in mixture.items())
            lines.append(f"{counts[index]} tensors = {text}")
        return lines

    def _describe_ranges(self, counts):
        alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, mixture in enumerate(self.mixtures):
            alike[tuple(mixture)].append(index)
        lines = []
        for parents, indices in alike.items():
            columns = [[self.mixtures[index][parent] for index in indices] for parent in parents]
            ranges = [f"{min(c):g}" if min(c) == max(c) else f"({min(c):.4g} to {max(c):.4g})" for c in columns]
            text = " + ".join(f"{weight} {parent}" for parent, weight in zip(parents, ranges, strict=True))
            lines.append(f"{sum(counts[index] for index in indices)} tensors = {text}")
        return lines

    def save(self, path: Path | str) -> None:
        content: dict[str, Any] = {"base": self.base, "mixtures": self.mixtures, "tensors": self.tensors}
        content |= {"beside": self.beside} if self.beside else {}
        if self.combines and Method(self.arithmetic, self.rounding) != Method():
            content |= {"arithmetic": self.arithmetic, "rounding": self.rounding, "seed": self.seed}
        replace_text(path, json.dumps(content))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Return the Plan in a file.  Raises AoeError if it is none."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            plan = cls(
                content["base"],
                tuple(content["mixtures"]),
                content["tensors"],
                content.get("beside", {}),
                Arithmetic(content.get("arithmetic", "float32")),
                Rounding(content.get("rounding", "nearest")),
                content.get("seed", 0),
            )
            if not all(plan.mixtures) or not set(plan.tensors.values()) <= set(range(len(plan.mixtures))):
                raise ValueError("a tensor without a mixture")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AoeError(f"{path} is no plan ({error}); make it anew.") from error
        return plan


def copy_plan(checkpoint: Checkpoint) -> Plan:
    """Return the plan that copies every tensor of one checkpoint."""
    return Plan(checkpoint.name, ({checkpoint.name: 1.0},), dict.fromkeys(checkpoint.files, 0))


def make_plan(
    recipe: Recipe,
    parents: Mapping[str, Checkpoint],
    norms: Mapping[str, Mapping[str, float]] | None = None,
    cosines: Mapping[str, Mapping[str, float]] | None = None,
) -> Plan:
    """Return the Plan of a recipe.

    parents: model name -> Checkpoint.  norms: {parent: {weight name: norm}} of the differences from the base, in the
    space that δ is measured in; needed only if δ > 0.  cosines: the same of the angles between a parent's weights and
    the base's; needed only for SLERP.  Raises AoeError if the parents don't share their tensors, shapes and dtypes, or
    a norm or an angle is missing.
    """
    base = parents[recipe.base]
    check_compatible(base, [parents[name] for name in recipe.parents])
    architecture = Architecture(base.config)
    if recipe.subset != Subset() or recipe.overrides:
        check_recipe("The recipe", recipe, places(architecture, base.files))
    mixtures, tensors = _Numbered(), {}
    for tensor in sorted(base.files):
        weight = base.weight(tensor)
        mixture = recipe.weights_for(weight, architecture.place(weight))
        if recipe.threshold.delta > 0 and not _exceeds(recipe, norms, weight):
            mixture = {recipe.base: 1.0}
        mixture = _resolved(recipe, cosines, weight, mixture)
        if len(mixture) > 1 and base.stored(weight).dtype not in COMBINABLE:
            check_equal(weight, [base, *(parents[parent] for parent in mixture)])
            mixture = {recipe.base: 1.0}
        tensors[tensor] = mixtures.number(mixture)
    method = (recipe.arithmetic, recipe.rounding, recipe.seed)
    plan = Plan(recipe.base, tuple(mixtures.all), tensors, {}, *method)
    if plan.unrounded:
        check_unrounded(base)
    combined = any(len(mixture) > 1 for mixture in mixtures.all)
    return replace(plan, beside=beside(recipe, parents, combined, plan.unrounded))


class _Numbered:
    """Different mixtures, numbered in the order in which they come; the order of a known one's parents is kept."""

    def __init__(self) -> None:
        self.all: list[dict[str, float]] = []
        self._numbers: dict[frozenset[tuple[str, float]], int] = {}

    def number(self, mixture: dict[str, float]) -> int:
        found = self._numbers.setdefault(frozenset(mixture.items()), len(self.all))
        if found == len(self.all):
            self.all.append(mixture)
        return found


def _resolved(recipe, cosines, weight, mixture):
    """{parent: λ} without zeros, of a recipe's {parent: weight}; of sums of differences, the base comes first."""
    mixture = {parent: float(value) for parent, value in mixture.items() if value != 0}
    if recipe.interpolation.by_angle and len(mixture) > 1:
        (other,) = mixture.keys() - {recipe.base}
        try:
            cosine = cosines[other][weight]
        except (KeyError, TypeError) as error:
            raise AoeError(
                f"SLERP needs the angle between {recipe.base} and {other} of {weight}, which is not known."
            ) from error
        ours, theirs = on_sphere(mixture[other], cosine)
        mixture = {recipe.base: ours, other: theirs}
    if recipe.arithmetic == Arithmetic.DELTAS and mixture != {recipe.base: 1.0}:
        mixture = {recipe.base: mixture.pop(recipe.base, 0.0), **mixture}
    return mixture


def on_sphere(share: float, cosine: float) -> tuple[float, float]:
    """Return (the first's, the second's λ) of spherical linear interpolation between two weights.

    share: of the angle that the result is away from the first; cosine: of the angle.  Nearly parallel ones are
    interpolated linearly.
    """
    if abs(cosine) > NEARLY_PARALLEL:
        return 1 - share, share
    angle = math.acos(cosine)
    return math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)


def check_unrounded(base: Checkpoint) -> None:
    """Raise AoeError if a weight has scales, and is not of the FP8 that can become BF16."""
    for tensor in base.files:
        dtype = base.stored(tensor).dtype
        if dtype in SCALED and dtype != FP8:
            raise AoeError(
                f"The tensor {tensor} of {base.name} has the dtype {dtype}, which cannot become BF16; leave "
                "`rounding: none` out."
            )


def beside(
    recipe: Recipe, parents: Mapping[str, Checkpoint], combined: bool, unrounded: bool = False
) -> dict[str, Any]:
    """Return what a recipe's model has beside its weights that is not its base's, for Plan.beside.

    {"config": its config.json as a dict, "tokenizer": the parent whose tokenizer it has, "generation": the parent whose
    generation_config.json it has}, each only if it is another one.  combined: whether weights are combined;
    unrounded: whether FP8 weights become BF16.
    """
    base, tokenizer = recipe.base, recipe.tokenizer_from or recipe.base
    config = dict(parents[recipe.config_from or base].config)
    if tokenizer != base:
        config |= {key: ids for key, ids in parents[tokenizer].config.items() if key.endswith("_token_id")}
    config = true_config(parents[base], config | recipe.config, combined)
    if unrounded:
        config.pop("quantization_config", None)
    generation = recipe.tokenizer_from or recipe.config_from or base
    found: dict[str, Any] = {"config": config} if config != parents[base].config else {}
    found |= {"tokenizer": tokenizer} if tokenizer != base else {}
    return found | ({"generation": generation} if generation != base else {})


def _exceeds(recipe, norms, weight):
    others = [parent for parent in recipe.parents if parent != recipe.base]
    try:
        return max((norms[parent][weight] for parent in others), default=0) > recipe.threshold.delta
    except (KeyError, TypeError) as error:
        raise AoeError(f"δ needs the norm of the difference of {weight}, which has not been computed.") from error


def check_equal(weight: str, parents: Iterable[Checkpoint]) -> None:
    """Raise AoeError unless all parents store a weight that cannot be combined in the same bytes."""
    first, *others = parents
    for other in others:
        names = filter(None, (weight, first.scale(weight)))
        if any(first.bytes(name) != other.bytes(name) for name in names):
            raise AoeError(
                f"The tensor {weight} has the dtype {first.stored(weight).dtype}, which cannot be combined, and "
                f"differs between {first.name} and {other.name}; leave it out of the subset S."
            )


def check_places(checkpoint: Checkpoint) -> None:
    """Raise AoeError if a tensor of a checkpoint has no place in its architecture."""
    architecture = Architecture(checkpoint.config)
    for tensor in checkpoint.files:
        architecture.place(tensor)


def check_compatible(base: Checkpoint, others: Iterable[Checkpoint]) -> None:
    """Raise AoeError unless all checkpoints hold the same tensors, in shapes and dtypes too, and scales that fit."""
    base.check_scales()
    for other in others:
        for kind, one, two in (("lacks", base, other), ("has the additional", other, base)):
            missing = sorted(one.files.keys() - two.files.keys())
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise AoeError(f"{other.name} {kind} tensor {missing[0]}{more}, compared with {base.name}.")
        for tensor in base.files:
            ours, theirs = base.stored(tensor), other.stored(tensor)
            if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
                raise AoeError(
                    f"The tensor {tensor} is {ours.dtype} {list(ours.shape)} in {base.name}, "
                    f"but {theirs.dtype} {list(theirs.shape)} in {other.name}: they cannot be merged."
                )
        other.check_scales()
