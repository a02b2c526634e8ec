"""Do parents store their weights so that they can be merged, and what has to be converted for it?

The base says how the result is stored.  What another parent stores in another format is converted: decoded to float32
and encoded once, whether it is combined or taken whole.
"""

from collections.abc import Iterable, Mapping

from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import INPUT_SCALE, PLAIN, Scales
from aoe.checkpoints.naming.renamed import named_as
from aoe.merging.recipe import Recipe
from aoe.numerics.kernels import Arithmetic, Rounding


class Forms:
    """Counts, weight by weight of a plan, what is converted, and refuses what cannot be made.

    recipe: of the plan; parents: model name -> Checkpoint.  ``converted``: {parent: {how: number}}; ``static_scales``:
    how many combined weights have scales of activations; ``renamed``: {parent: number} of weights under other names.
    """

    def __init__(self, recipe: Recipe, parents: Mapping[str, Checkpoint]) -> None:
        self.recipe, self.parents, self.base = recipe, parents, parents[recipe.base]
        self.converted: dict[str, dict[str, int]] = {}
        self.renamed: dict[str, int] = {}
        self.static_scales = 0

    def add(self, weight: str, mixture: Mapping[str, float]) -> None:
        """Add a weight that is to be a mixture {parent: λ}.  Raises AoeError if the base's format cannot hold it."""
        ours, makes = self.base.layout(weight), set(mixture.values()) != {1.0} or len(mixture) > 1
        native = {ours.native}
        for parent in mixture:
            theirs = self.parents[parent].layout(weight)
            if self.parents[parent].renames(weight):
                self.renamed[parent] = self.renamed.get(parent, 0) + 1
            native.add(theirs.native)
            if not ours.is_stored_as(theirs):
                makes = True
                how = f"{theirs.words()} to {ours.words()}"
                kinds = self.converted.setdefault(parent, {})
                kinds[how] = kinds.get(how, 0) + 1
        if not makes:
            return
        self.static_scales += INPUT_SCALE in ours.members
        self._check_method(weight, ours, len(native) == 1 and "" not in native)

    def _check_method(self, weight, layout, is_native):
        rounding, arithmetic = self.recipe.rounding, self.recipe.arithmetic
        if rounding not in _roundings(layout):
            raise AoeError(
                f"The tensor {weight} is stored as {layout.words()}, which is rounded to nearest only; leave "
                f"`rounding: {rounding}` out."
            )
        if (
            arithmetic == Arithmetic.STORED
            and layout.storage != PLAIN
            and (not is_native or {self._scales(name, weight) for name in self.recipe.parents} != {"F32"})
        ):
            raise AoeError(
                f"The tensor {weight} is stored as {layout.words()}; `arithmetic: stored` sums codes and scales of FP8 "
                "in blocks of 128x128 whose scales are F32 and no powers of two by their config; leave it out."
            )

    def _scales(self, parent, weight):
        return str(self.parents[parent].layout(weight).scales)


def _roundings(layout):
    """The roundings that a layout can be encoded with."""
    by_chance = (Rounding.STOCHASTIC, Rounding.BALANCED) if layout.native else ()
    return (Rounding.NEAREST, *by_chance, Rounding.NONE)


def check_formats(who: str, recipe: Recipe, parents: Mapping[str, Checkpoint]) -> None:
    """Raise AoeError if a recipe wants of a weight what its format cannot hold; headers tell, before weights are there.

    who: the recipe's name in a sentence; parents: model name -> Checkpoint.
    """
    base = parents[recipe.base]
    forms = Forms(recipe, {name: named_as(base, parent) for name, parent in parents.items()})
    layouts = [layout for layout in map(base.layout, base.weights) if not layout.native or layout.scales != Scales.F32]
    architecture = Architecture(base.config)
    for layout in layouts:
        mixture = recipe.weights_for(layout.weight, architecture.place(layout.weight))
        mixture = {parent: share for parent, share in mixture.items() if share}
        if layout.combines:
            forms.add(layout.weight, mixture)
        elif len(mixture) > 1 and layout.storage not in (PLAIN, "fp8") and not recipe.threshold.delta:
            raise AoeError(
                f"{who} combines {layout.weight}, which {base.name} stores as {layout.title}; such weights can only be "
                "copied: leave them out of the subset S."
            )


def storage_in_words(checkpoint: Checkpoint, weight: str) -> str:
    """Return, in words, how a checkpoint stores a weight."""
    layout = checkpoint.layout(weight)
    known = layout.storage in (PLAIN, "fp8")
    return f"has the dtype {layout.codes.dtype}" if known else f"is stored as {layout.title}"


def check_compatible(base: Checkpoint, others: Iterable[Checkpoint]) -> None:
    """Raise AoeError unless all checkpoints hold the same weights in the same shapes, and scales that fit them.

    Weights may be stored differently if their formats can be converted, and have other names that are known.
    """
    base.check_scales()
    weights = set(base.weights)
    for other in [named_as(base, other) for other in others]:
        theirs = set(other.weights)
        missing, additional = sorted(weights - theirs), sorted(theirs - weights)
        instead = f", and has {_first_of(additional)} instead" if missing and additional else ""
        for kind, tensors in (("lacks", missing), ("has the additional", additional)):
            if tensors:
                raise AoeError(f"{other.name} {kind} tensor {_first_of(tensors)}, compared with {base.name}{instead}.")
        other.check_scales()
        for weight in base.weights:
            check_convertible(base, other, weight)


def _first_of(tensors):
    return tensors[0] + (f" and {len(tensors) - 1} more" if len(tensors) > 1 else "")


def check_convertible(base: Checkpoint, other: Checkpoint, weight: str) -> None:
    """Raise AoeError unless a weight has the same shape in two checkpoints, and a format that can be converted."""
    ours, theirs = base.layout(weight), other.layout(weight)
    alike = ours.is_stored_as(theirs) and theirs.is_stored_as(ours)
    tensors = {len(layout.values_shape) for layout in (ours, theirs) if layout.is_tensor}
    if ours.shape != theirs.shape or len(tensors) > 1:
        raise AoeError(
            f"The tensor {weight} is {ours.codes.dtype} {list(ours.codes.shape)} in {base.name}, "
            f"but {theirs.codes.dtype} {list(theirs.codes.shape)} in {other.name}: they cannot be merged."
        )
    for layout, known in ((ours, ours.combines), (theirs, theirs.decodes)):
        if not alike and not known:
            raise AoeError(
                f"The tensor {weight} is {ours.words()} in {base.name}, but {theirs.words()} in {other.name}; "
                f"{layout.words()} cannot be converted: they cannot be merged."
            )
