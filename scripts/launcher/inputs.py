"""What rules read, and are told, from the download of a file to the merged checkpoint.

Every method that takes Snakemake's ``wildcards`` is an input or params function of a rule; params are plain dicts and
texts, as they are pickled into the environment of the rule's script.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.io import ancient
from aoe.acquiring.verification import doubtful, is_lost

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from launcher.run import Run

MB = 1_000_000


class Inputs:
    """The files of a run's models, datasets, differences, plans and merged variants."""

    def __init__(self, run: Run) -> None:
        self.run, self.study, self.results = run, run.study, run.results
        self.planned = [variant for variant in self.study.variants if variant not in self.study.models]
        self.exported = [variant for variant in self.study.variants if self.study.is_exported(variant)]
        recipes = self.study.variants
        self.mixed = Mixed(self, lambda places: [v for v in self.study.mixed if recipes[v].base == places.base])
        # those whose plans need not wait for the differences of the parents
        self.early = Mixed(self, lambda places: [v for v in self.study.mixed if not recipes[v].needs_differences])

    # what is common to several stages

    def verified(self, names: Iterable[str]) -> list[Any]:
        """The files which say that models or datasets are as locked.

        They are always `ancient`: what was made from the same revision stays good when its files are verified again.
        """
        return [ancient(self.results.verified(name)) for name in names]

    def all_verified(self, wildcards: Wildcards | None = None) -> list[Any]:
        """The same, of everything that the study reads."""
        return self.verified(self.study.inputs)

    def shards(self, model: str) -> list[str]:
        """The file names of a model's shards."""
        return self.run.locked[model].shards

    def revisions(self, names: Iterable[str]) -> dict[str, str]:
        """name -> the permanent name of a locked model; it is in the params of all that is made from the model."""
        return {name: self.run.locked[name].revision for name in names}

    def parents_of(self, variant: str) -> dict[str, str]:
        """model name -> folder of the models that a variant's recipe reads, the base first."""
        return {parent: self.run.directories[parent] for parent in self.study.variants[variant].parents}

    def checkpoints_of(self, variant: str) -> dict[str, str]:
        """model name -> folder of what a server reads for a variant."""
        if self.study.is_exported(variant):
            return {variant: self.results.merged(variant)}
        return self.parents_of(variant)

    # lock and download

    def to_lock(self) -> dict[str, dict[str, Any]]:
        """name -> its kind, sources, and what the study expects of it; see aoe.acquiring.fetching.lock_all."""
        return {
            name: {
                "kind": self.study.kind(name),
                "sources": self.study.sources.get(name)
                or [{"source": f"file:{entry['path']}", "files": entry.get("files")}],
                "expected": entry.get("expected"),
            }
            for name, entry in self.study.inputs.items()
        }

    def model_sources(self) -> dict[str, str]:
        """name -> source of the models that are fetched."""
        return {name: parts[0]["source"] for name, parts in self.study.sources.items() if name in self.study.models}

    def recipes_by_names(self) -> dict[str, Any]:
        """variant -> its recipe, of those that select by tensor names, which only the headers show."""
        entries, variants = self.study.entries, self.study.variants
        return {variant: entries[variant] for variant in self.planned if variants[variant].selects_by_names}

    def lock_file(self, wildcards: Wildcards) -> str | list[str]:
        return self.study.content["lock"] if self.run.is_locked else []

    def directories(self, wildcards: Wildcards) -> dict[str, str]:
        return dict(self.run.directories)

    def directory(self, wildcards: Wildcards) -> str:
        return self.run.directories[wildcards.name]

    def file_entry(self, wildcards: Wildcards) -> dict[str, Any]:
        """The lock's entry of a file: size and digest."""
        return self.run.locked[wildcards.name].files[wildcards.file]

    def file_disk(self, wildcards: Wildcards) -> int:
        """MB of a file, rounded up."""
        return self.file_entry(wildcards)["size"] // MB + 1

    def source(self, wildcards: Wildcards) -> str:
        """A file's own source where the lock names it, else the only one of its model or dataset."""
        return self.file_entry(wildcards).get("from") or self.study.sources[wildcards.name][0]["source"]

    def commit(self, wildcards: Wildcards) -> str | None:
        return self.run.locked[wildcards.name].commit

    def outline(self, wildcards: Wildcards) -> Any:
        """Shards wait until outlines have shown that everything fits together; small files are part of the outlines."""
        is_shard = wildcards.file in self.shards(wildcards.name)
        return ancient(self.results.path("outline.json")) if is_shard else []

    def lost(self, wildcards: Wildcards) -> list[str]:
        """Differs from what was recorded when a fetched file was lost, so that it is fetched again."""
        path = f"{self.run.directories[wildcards.name]}/{wildcards.file}"
        record = self.results.record(wildcards.name, wildcards.file)
        return until_mended([path] if is_lost(record, path, self.file_entry(wildcards)) else [])

    def all_records(self, wildcards: Wildcards | None = None) -> list[str]:
        """The records of all downloads of the study."""
        locked = self.run.locked
        return [self.results.record(name, file) for name in self.study.sources for file in locked[name].needed]

    # verify

    def needed_files(self, wildcards: Wildcards) -> list[str]:
        """The files that a variant reads of a parent; without a variant, those that the study reads."""
        entry = self.run.locked[wildcards.name]
        return entry.needed_by(self.study.variants[wildcards.variant]) if _has_variant(wildcards) else entry.needed

    def needed_entries(self, wildcards: Wildcards) -> dict[str, Any]:
        """file -> the lock's entry of these files."""
        files = self.run.locked[wildcards.name].files
        return {file: files[file] for file in self.needed_files(wildcards)}

    def records(self, wildcards: Wildcards) -> list[str]:
        """The records of what was fetched.  Files that the user laid down have none: ``doubtful`` finds their changes.

        Such files are no inputs, as Snakemake goes by dates, and theirs are the user's: they may be in the future.
        """
        if wildcards.name not in self.study.sources:
            return []
        return [self.results.record(wildcards.name, file) for file in self.needed_files(wildcards)]

    def doubtful(self, wildcards: Wildcards) -> list[str]:
        """Differs from what was recorded when a verified file was replaced, however old, so that it is read again."""
        name, results = wildcards.name, self.results
        verified = results.verified_for(wildcards.variant, name) if _has_variant(wildcards) else results.verified(name)
        entries = self.needed_entries(wildcards)
        found = doubtful(self.run.directories[name], entries, results.receipts(name), Path(verified).exists())
        return until_mended(found)

    def is_audited(self, wildcards: Wildcards) -> bool:
        """Whether a model is audited: such a one may be stored in a way that nothing else can read."""
        return wildcards.name in [entry["model"] for entry in self.study.audits.values()]

    # differences

    def pair_verified(self, wildcards: Wildcards) -> list[Any]:
        return self.verified([wildcards.base, wildcards.other])

    def pair_directory(self, role: str) -> Callable[[Wildcards], str]:
        """The folder of the ``base``, or of the ``other`` model."""

        def directory(wildcards: Wildcards) -> str:
            return self.run.directories[getattr(wildcards, role)]

        return directory

    def pair_revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.revisions([wildcards.base, wildcards.other])

    def difference_tables(self, wildcards: Wildcards | None = None) -> list[str]:
        """The tables of all shards of all pairs."""
        pairs = self.study.compared()
        return [self.results.differences(base, other, shard) for base, other in pairs for shard in self.shards(base)]

    # plans and merges

    def verified_for(self, variant: str) -> list[Any]:
        """What says that the parents are as locked; of a parent that is fetched and needed in part, that part."""
        recipe, locked = self.study.variants[variant], self.run.locked
        whole = [
            parent
            for parent in recipe.parents
            if parent not in self.study.sources or locked[parent].needed_by(recipe) == locked[parent].needed
        ]
        parts = [parent for parent in recipe.parents if parent not in whole]
        return self.verified(whole) + [ancient(self.results.verified_for(variant, parent)) for parent in parts]

    def parents_verified(self, wildcards: Wildcards) -> list[Any]:
        return self.verified_for(wildcards.variant)

    def parent_provenance(self, wildcards: Wildcards) -> dict[str, Any]:
        """parent -> its revision and files, for the merged checkpoint's own record."""
        recipe = self.study.variants[wildcards.variant]
        return {parent: self.run.locked[parent].provenance(recipe) for parent in recipe.parents}

    def parent_revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.revisions(self.study.variants[wildcards.variant].parents)

    def parent_directories(self, wildcards: Wildcards) -> dict[str, str]:
        return self.parents_of(wildcards.variant)

    def base_directory(self, wildcards: Wildcards) -> str:
        return self.run.directories[self.study.variants[wildcards.variant].base]

    def recipe(self, wildcards: Wildcards) -> dict[str, Any]:
        """A variant's recipe as the study writes it."""
        return self.study.entries[wildcards.variant]

    def differences_for_delta(self, wildcards: Wildcards) -> Any:
        """The table of differences, for a recipe with a threshold δ, or with SLERP.

        It is `ancient`: a plan has the same revisions in its params, and answers are not asked again because the code
        that measures differences has changed, unless the user says so (launcher.code.watch).
        """
        needed = self.study.variants[wildcards.variant].needs_differences
        return ancient(self.results.differences()) if needed else []

    # realized λ

    def realized_sums(self, wildcards: Wildcards | None = None) -> list[str]:
        """The tables of all shards of the bases whose variants combine weights."""
        bases = dict.fromkeys(self.study.variants[variant].base for variant in self.study.mixed)
        return [self.results.realized(base, shard) for base in bases for shard in self.shards(base)]

    def realized(self, wildcards: Wildcards | None = None) -> list[str]:
        """The table of realized λ, if any variant combines weights."""
        return [self.results.realized()] if self.study.mixed else []

    def expected_lambda(self, wildcards: Wildcards | None = None) -> list[str]:
        """The table of estimates, if any can be made early."""
        return [self.results.path("expected_lambda.csv")] if self.early.variants(wildcards) else []

    # merges

    def shard_disk(self, wildcards: Wildcards) -> int:
        """MB of a merged shard: as many as the base's has, rounded up; twice as many of FP8 that becomes BF16."""
        recipe = self.study.variants[wildcards.variant]
        return self.run.locked[recipe.base].files[wildcards.shard]["size"] * recipe.largest_growth // MB + 1

    def merged_shards(self, wildcards: Wildcards) -> list[str]:
        shards = self.shards(self.study.variants[wildcards.variant].base)
        return [self.results.merged(wildcards.variant, shard) for shard in shards]

    def merged_files(self, variant: str) -> list[str]:
        """All files of an exported variant that rules name."""
        shards = self.shards(self.study.variants[variant].base)
        return [self.results.merged(variant, file) for file in [*shards, "recipe.json"]]


class Mixed:
    """What is read to measure the λ of variants that combine weights; variants: a function of a rule's wildcards."""

    def __init__(self, inputs: Inputs, variants: Callable[[Any], list[str]]) -> None:
        self.inputs, self.variants = inputs, variants

    def needed(self, wildcards: Wildcards) -> dict[str, list[Any]]:
        """The plans, and what says that the parents are as locked, each once."""
        verified = [file for variant in self.variants(wildcards) for file in self.inputs.verified_for(variant)]
        return {
            "plans": list(self.plans(wildcards).values()),
            "verified": list({str(file): file for file in verified}.values()),
        }

    def plans(self, wildcards: Wildcards) -> dict[str, str]:
        """variant -> its plan."""
        return {variant: self.inputs.results.plan(variant) for variant in self.variants(wildcards)}

    def directories(self, wildcards: Wildcards) -> dict[str, str]:
        """model name -> folder of the parents."""
        parents = [self.inputs.parents_of(variant) for variant in self.variants(wildcards)]
        return {name: folder for found in parents for name, folder in found.items()}

    def revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.revisions(self.directories(wildcards))


def until_mended(files: list[str]) -> list[str]:
    """Add the time, if there are any files: so the param differs at every call, until there are none.

    Snakemake notes the params of a job that fails, too, and would take what is the same at the next call for done.
    """
    return [*files, f"seen at {time.time_ns()}"] if files else []


def _has_variant(wildcards: Wildcards) -> bool:
    return "variant" in wildcards.keys()  # noqa: SIM118  (no mapping, although it has keys)
