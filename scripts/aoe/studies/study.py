"""Studies: the models, variants, sweeps and benchmarks of one experiment, read from ``config/studies/{name}.yaml``."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.lock import Locked
from aoe.acquiring.sources import sources_in
from aoe.files.schema import check_schema
from aoe.merging.recipe import Recipe, read_recipe, said_of
from aoe.studies.content import in_file, join_lines, read_content
from aoe.studies.references import check_references
from aoe.studies.sources import check_locked, check_sources
from aoe.studies.sweeps import Point, sweep_points

Section = dict[str, Any]  # of a study file, as the schema describes it

LONGEST = 255 - len(".json.partial")  # bytes of a name: file systems take 255, of which endings need some
FEWEST_POSITIONS = 4  # different λ2 that a sweep needs for a transition to be fitted


@dataclass(frozen=True)
class Study:
    """One experiment.

    ``models``: name -> label, source, path; ``datasets``: name -> source and files, or sources, path; ``variants``:
    name -> Recipe; ``entries``: name -> the recipe as written; ``sweeps``: name -> [Point]; ``content``: of the study
    file, as written.
    """

    name: str
    models: dict[str, Section]
    datasets: dict[str, Section]
    variants: dict[str, Recipe]
    entries: dict[str, Section]
    sweeps: dict[str, list[Point]]
    content: Section

    def label(self, variant: str) -> str:
        """Return the name of a variant in figures and tables."""
        if variant in self.models:
            return self.models[variant]["label"] or variant
        return self.content.get("variants", {}).get(variant, {}).get("label") or variant

    @property
    def inputs(self) -> dict[str, Section]:
        """name -> entry of everything that is locked: the models and the datasets."""
        return self.models | self.datasets

    @property
    def sources(self) -> dict[str, list[Section]]:
        """name -> [{"source", "files"}] of the models and datasets that are fetched; the others have a path."""
        return {name: sources_in(entry) for name, entry in self.inputs.items() if sources_in(entry)}

    def kind(self, name: str) -> str:
        """Return ``models`` or ``datasets``, whichever has a name."""
        return "models" if name in self.models else "datasets"

    def directory(self, name: str, locked: Locked, inputs: str) -> str:
        """Return the folder of a model or dataset: the study's path, or a folder of the revision below ``inputs``.

        Raises AoeError if the study's source is not the repository, or the commit, that was locked.
        """
        entry = self.inputs[name]
        if name in self.sources:
            check_locked(name, self.sources[name], locked)
        return os.path.expanduser(entry.get("path") or f"{inputs}/{locked.repo or name}/{locked.short_revision}")

    @property
    def reference(self) -> str:
        """The model whose output tokens are an inference cost of 1 [paper, section 4.2]."""
        return self.content["scores"]["reference"]

    @property
    def named(self) -> list[str]:
        """The variants that are written in the study file: the models, and the recipes that belong to no sweep."""
        return [*self.models, *self.content.get("variants", {})]

    def pairs(self) -> list[tuple[str, str]]:
        """Return (variant, other) of every variant and each of ``named``."""
        order = list(self.variants)
        return [(v, other) for other in self.named for v in order if v not in self.named[: self.named.index(other) + 1]]

    def positions(self, over_lambda2: bool = False) -> dict[str, list[dict[str, Any]]]:
        """Return sweep -> list of {lambda2, delta, variant}.

        over_lambda2: only sweeps with enough λ2 to fit a transition.
        """
        return {
            sweep: [vars(point) for point in points]
            for sweep, points in self.sweeps.items()
            if not over_lambda2 or len({point.lambda2 for point in points}) >= FEWEST_POSITIONS
        }

    def table(self) -> list[dict[str, Any]]:
        """Return one dict a variant: its name, label and recipe in words."""
        return [
            {"variant": variant, "label": self.label(variant), **recipe.describe()}
            for variant, recipe in self.variants.items()
        ]

    def is_exported(self, variant: str) -> bool:
        """Tell whether the variant is written to disk as a checkpoint, rather than merged while loading."""
        return self.variants[variant].publish

    @property
    def mixed(self) -> list[str]:
        """The variants that combine weights of several parents somewhere, and not only copy."""
        found = []
        for variant, recipe in self.variants.items():
            mixtures = [recipe.weights, *(weights for _, weights in recipe.overrides)]
            found += [variant] if any(sum(map(bool, weights.values())) > 1 for weights in mixtures) else []
        return found

    @property
    def audits(self) -> dict[str, Section]:
        """name -> {model, parents, …} of the audits."""
        return self.content.get("audits", {})

    @property
    def asks(self) -> bool:
        """Whether the variants are served and asked; a study may do nothing but audit."""
        return "benchmarks" in self.content

    def together(self) -> list[tuple[str, str]]:
        """Return pairs of models that have to fit together: those that a variant combines, and an audit's parents."""
        aligned = [name for name, recipe in self.variants.items() if recipe.align_embeddings]
        audits = [entry["parents"] for entry in self.audits.values() if entry.get("claim") not in aligned]
        audited = [(base, parent) for base, *others in audits for parent in others]
        return list(dict.fromkeys([*self.compared(), *audited]))

    def aligned(self) -> list[tuple[str, str]]:
        """Return (base, parent) pairs that have to fit together once embeddings are aligned by token."""
        recipes = [recipe for recipe in self.variants.values() if recipe.align_embeddings]
        return list(dict.fromkeys((r.base, parent) for r in recipes for parent in r.parents[1:]))

    def unions(self) -> list[dict[str, Any]]:
        """Return the unions that aoe.acquiring.together.check takes: models that are mixed, audited, or share ids."""
        found: dict[Any, dict[str, Any]] = {}
        for variant, recipe in self.variants.items():
            if len(recipe.parents) > 1:
                union = {"models": recipe.parents, **said_of(recipe), "mixed": True}
                found.setdefault(str(union), {"who": f"The variant {variant}", **union})
        for name, entry in self.audits.items():
            models = [model for model in [*entry["parents"], entry["model"]] if model in self.models]
            claimed = self.variants.get(entry.get("claim", ""))
            aligned = {"align_embeddings": True} if claimed and claimed.align_embeddings else {}
            found[name, "audit"] = {"who": f"The audit {name}", "models": models, "mixed": False, **aligned}
        if self.asks:
            models = [self.reference, *(model for model in self.models if model != self.reference)]
            found["scores"] = {"who": "The count of tokens", "models": models, "mixed": False}
        return list(found.values())

    def compared(self) -> list[tuple[str, str]]:
        """Return (base, parent) pairs whose differences are measured: every pair that some variant combines.

        Pairs that are combined only with their embeddings aligned by token are left out: rows lie in other places.
        """
        recipes = [recipe for recipe in self.variants.values() if not recipe.align_embeddings]
        return list(dict.fromkeys((r.base, parent) for r in recipes for parent in r.parents[1:]))


def read_study(name: str, folder: str | Path, schema: dict[str, Any]) -> Study:
    """Read the Study of ``folder/{name}.yaml``; its title and labels are on one line each.

    schema: of studies.  Raises AoeError for an unknown study, a key or
    value that the schema refuses (named by its place), or a recipe that makes no sense (named by its variant).
    """
    path = Path(folder) / f"{name}.yaml"
    content = read_content(name, path)
    check_schema(content, schema, path)
    join_lines(content, path)
    study = in_file(path, _build, name, content)
    check_references(study, path)
    return study


def _build(name: str, content: Section) -> Study:
    models = content["models"]
    entries = {model: {"base": model, "weights": {model: 1}} for model in models}
    for variant, entry in content.get("variants", {}).items():
        if variant in models:
            raise AoeError(f"The variant {variant} has the name of a model.")
        entries[variant] = entry
    variants = {variant: read_recipe(variant, entry, models) for variant, entry in entries.items()}
    sweeps = {}
    for sweep, entry in content.get("sweeps", {}).items():
        sweeps[sweep] = list(sweep_points(sweep, entry, models, variants, entries))
    datasets = content.get("datasets", {})
    _check_lengths([*variants, *datasets, *content.get("audits", {})])
    for dataset in datasets.keys() & models.keys():
        raise AoeError(f"The dataset {dataset} has the name of a model.")
    for origin, entry in (models | datasets).items():
        check_sources(origin, entry)
    return Study(name, models, datasets, variants, entries, sweeps, content)


def _check_lengths(names: Iterable[str]) -> None:
    """Raise AoeError for a name that files cannot be called by, with the endings that they have."""
    for name in names:
        if len(name.encode()) > LONGEST:
            raise AoeError(
                f"The name {name[:40]}… has {len(name.encode())} characters; files are called by it, so it can be at "
                f"most {LONGEST} long."
            )
