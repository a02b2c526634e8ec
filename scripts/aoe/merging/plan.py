"""Plans: a recipe applied to the tensors of its parents.  Merging, loading and auditing execute plans and nothing else.

A plan says for every output tensor which weights λ it has; a single λ of 1 means: copy that parent's bytes.  It also
says how sums are computed and rounded.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import PLAIN
from aoe.checkpoints.naming.renamed import named_as
from aoe.checkpoints.stated import true_config, unquantized
from aoe.checkpoints.tokens.alignment import Alignment, align
from aoe.files.replacing import replace_text
from aoe.merging.equality import check_equal
from aoe.merging.forms import Forms, check_compatible, storage_in_words
from aoe.merging.recipe import Recipe
from aoe.merging.selection import check_recipe, places
from aoe.merging.sphere import resolved
from aoe.merging.subset import Subset
from aoe.numerics.kernels import Arithmetic, Method, Rounding

MOST_DESCRIBED = 64  # mixtures that are described one by one


@dataclass(frozen=True)
class Plan:
    """``base``; ``mixtures``: the different {parent: λ}, without zeros; ``tensors``: name -> index in mixtures;
    ``beside``: what the result has beside its weights that is not the base's (see ``beside``); ``arithmetic``,
    ``rounding`` and ``seed``: the recipe's; ``alignment``: of embeddings whose rows are in the order of the base's
    tokens, or None; ``converted``: {parent: {how: number}} of weights that the parent stores in another format than the
    base; ``static_scales``: how many combined weights have activation scales, which stay the base's; ``renamed``:
    {parent: number} of weights that have other names there, or are stacked otherwise."""

    base: str
    mixtures: tuple[dict[str, float], ...]
    tensors: dict[str, int]
    beside: dict[str, Any] = field(default_factory=dict)
    arithmetic: Arithmetic = Arithmetic.FLOAT32
    rounding: Rounding = Rounding.NEAREST
    seed: int = 0
    alignment: Alignment | None = None
    converted: dict[str, dict[str, int]] = field(default_factory=dict)
    static_scales: int = 0
    renamed: dict[str, int] = field(default_factory=dict)

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
        Further lines say what is converted, and what is kept.
        """
        lines = self._describe_ranges() if len(self.mixtures) > MOST_DESCRIBED else self._describe_mixtures()
        for parent, number in self.renamed.items():
            lines.append(f"{number} weights of {parent} have other names there, or are stacked otherwise")
        for parent, kinds in self.converted.items():
            for how, number in kinds.items():
                what = f"1 weight of {parent} is" if number == 1 else f"{number} weights of {parent} are"
                lines.append(f"{what} converted: {how}")
        if self.static_scales:
            lines.append(f"{self.static_scales} combined weights keep the activation scales of {self.base}")
        return lines + (self.alignment.describe() if self.alignment else [])

    def seen(self, models: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
        """Return {name: Checkpoint} of models under the base's names, with embeddings as the plan combines them."""
        base = models[self.base]
        named = {name: named_as(base, model) for name, model in models.items()}
        return self.alignment.aligned(base, named) if self.alignment else named

    def _describe_mixtures(self):
        counts, lines = Counter(self.tensors.values()), []
        for index, mixture in enumerate(self.mixtures):
            text = " + ".join(f"{weight:g} {parent}" for parent, weight in mixture.items())
            lines.append(f"{counts[index]} tensors = {text}")
        return lines

    def _describe_ranges(self):
        counts = Counter(self.tensors.values())
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
        content |= {"converted": self.converted} if self.converted else {}
        content |= {"static_scales": self.static_scales} if self.static_scales else {}
        content |= {"renamed": self.renamed} if self.renamed else {}
        if self.combines and Method(self.arithmetic, self.rounding) != Method():
            content |= {"arithmetic": self.arithmetic, "rounding": self.rounding, "seed": self.seed}
        content |= {"alignment": asdict(self.alignment)} if self.alignment else {}
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
                Alignment(**content["alignment"]) if "alignment" in content else None,
                content.get("converted", {}),
                content.get("static_scales", 0),
                content.get("renamed", {}),
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
    the base's; needed only for SLERP.  Raises AoeError if the parents don't share their weights and shapes, if a format
    cannot be combined or converted as the recipe wants it, or if a norm or an angle is missing.
    """
    base = parents[recipe.base]
    parents = {name: named_as(base, parent) for name, parent in parents.items()}
    alignment = align(base, [parents[name] for name in recipe.parents[1:]]) if recipe.align_embeddings else None
    parents = alignment.aligned(base, parents) if alignment else parents
    check_compatible(base, [parents[name] for name in recipe.parents])
    architecture = Architecture(base.config)
    if recipe.subset != Subset() or recipe.overrides:
        check_recipe("The recipe", recipe, places(architecture, base.files))
    mixtures, tensors, forms = _Numbered(), {}, Forms(recipe, parents)
    for tensor in sorted(base.files):
        weight = base.weight(tensor)
        mixture = recipe.weights_for(weight, architecture.place(weight))
        if recipe.threshold.delta > 0 and not _exceeds(recipe, norms, weight):
            mixture = {recipe.base: 1.0}
        mixture = resolved(recipe, cosines, weight, mixture)
        if len(mixture) > 1 and not base.layout(weight).combines:
            check_equal(weight, [base, *(parents[parent] for parent in mixture)])
            mixture = {recipe.base: 1.0}
        if tensor == weight:
            forms.add(weight, mixture)
        tensors[tensor] = mixtures.number(mixture)
    method = (recipe.arithmetic, recipe.rounding, recipe.seed)
    counted = (forms.converted, forms.static_scales, forms.renamed)
    plan = Plan(recipe.base, tuple(mixtures.all), tensors, {}, *method, alignment, *counted)
    if plan.unrounded:
        check_unrounded(base)
    return replace(plan, beside=beside(recipe, parents, plan.unrounded))


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


def check_unrounded(base: Checkpoint) -> None:
    """Raise AoeError if a weight has scales, and is not of a format that can become BF16."""
    for weight in base.weights:
        layout = base.layout(weight)
        if layout.storage not in (PLAIN, "fp8") or (layout.storage == "fp8" and not layout.combines):
            raise AoeError(
                f"The tensor {weight} of {base.name} {storage_in_words(base, weight)}, which cannot become BF16; leave "
                "`rounding: none` out."
            )


def beside(recipe: Recipe, parents: Mapping[str, Checkpoint], unrounded: bool = False) -> dict[str, Any]:
    """Return what a recipe's model has beside its weights that is not its base's, for Plan.beside.

    {"config": its config.json as a dict, "tokenizer": the parent whose tokenizer it has, "template": the parent whose
    chat template it has, "generation": the parent whose generation_config.json it has}, each only if it is another one;
    a template only if it is not the tokenizer's.  unrounded: whether FP8 weights become BF16.
    """
    base, whose = recipe.base, recipe.beside
    tokenizer, template, generation = whose["tokenizer"], whose["chat template"], whose["generation config"]
    config = dict(parents[whose["config"]].config)
    if tokenizer != base or recipe.align_embeddings:
        config = _with_tokens_of(config, parents[tokenizer].config, recipe.align_embeddings)
    config = true_config(parents[base], config | recipe.config)
    config = unquantized(config) if unrounded else config
    found: dict[str, Any] = {"config": config} if config != parents[base].config else {}
    found |= {"tokenizer": tokenizer} if tokenizer != base else {}
    found |= {"template": template} if template != tokenizer else {}
    return found | ({"generation": generation} if generation != base else {})


def _with_tokens_of(config: dict[str, Any], other: Mapping[str, Any], sized: bool) -> dict[str, Any]:
    """A config with the token ids of another one, and, if ``sized``, its number of tokens; also of a nested one."""
    of_tokens = ("_token_id", "vocab_size") if sized else "_token_id"
    found = config | {key: value for key, value in other.items() if key.endswith(of_tokens)}
    ours, theirs = config.get("text_config"), other.get("text_config")
    if sized and isinstance(ours, dict) and isinstance(theirs, dict):
        found["text_config"] = _with_tokens_of(ours, theirs, sized)
    return found


def _exceeds(recipe, norms, weight):
    others = [parent for parent in recipe.parents if parent != recipe.base]
    try:
        return max((norms[parent][weight] for parent in others), default=0) > recipe.threshold.delta
    except (KeyError, TypeError) as error:
        raise AoeError(f"δ needs the norm of the difference of {weight}, which has not been computed.") from error
