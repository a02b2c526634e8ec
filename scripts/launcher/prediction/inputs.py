"""The inputs and params of the rules of a prediction: one pass over the parents of a study's sweeps, or some shards."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from snakemake.io import ancient
from aoe.acquiring.verification import doubtful
from launcher.inputs import until_mended
from launcher.prediction.shards import chosen_shards, counterparts

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from launcher.inputs import Inputs
    from launcher.run import Run

MERGED = ("subset", "delta", "space")  # keys of a sweep that say which weights it merges


class Prediction:
    """``base``, ``other``: the parents of the study's first sweep; ``sweeps``: those of the same parents, as written.

    Sweeps that differ from an earlier one in λ2, rounding or arithmetic alone add their λ2 to it, as every rounding is
    predicted anyway.  ``applies``: whether the study has any sweep.
    """

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run, self.results, self.inputs = run, run.results, inputs
        entries = run.study.content.get("sweeps", {})
        self.applies = bool(entries)
        first = next(iter(entries.values()), {"base": "", "other": ""})
        self.base, self.other = first["base"], first["other"]
        self.sweeps = merged_weights(entries, self.base, self.other)
        self.number: int | None = run.config.get("prediction_shards")

    @property
    def labels(self) -> dict[str, str]:
        """model -> its label, of both parents."""
        return {name: self.run.study.label(name) for name in (self.base, self.other)}

    @cached_property
    def files(self) -> dict[str, list[str]]:
        """model -> the shards that are read, of both parents."""
        base, other = (self.run.locked[name] for name in (self.base, self.other))
        if self.number is None or self.number >= len(base.shards):
            return {self.base: base.shards, self.other: other.shards}
        chosen = chosen_shards(base, self.number)
        return {self.base: chosen, self.other: counterparts(other, base, chosen)}

    def chosen(self, wildcards: Wildcards | None = None) -> dict[str, list[str]]:
        return dict(self.files)

    def total(self, wildcards: Wildcards | None = None) -> int:
        """How many shards the base has."""
        return len(self.run.locked[self.base].shards)

    def verified(self, wildcards: Wildcards | None = None) -> list[Any]:
        """What says that the files that are read are as locked."""
        names = (self.base, self.other)
        if all(self.files[name] == self.run.locked[name].shards for name in names):
            return self.inputs.verified(names)
        return [ancient(self.results.path("verified_for_prediction", f"{name}.json")) for name in names]

    def needed(self, wildcards: Wildcards) -> dict[str, Any]:
        """file -> the lock's entry, of a parent's small files and of the shards that are read."""
        locked = self.run.locked[wildcards.name]
        left_out = set(locked.shards) - set(self.files[wildcards.name])
        return {file: locked.files[file] for file in locked.needed if file not in left_out}

    def records(self, wildcards: Wildcards) -> list[str]:
        """The records of these files' downloads; of what the user laid down there are none."""
        if wildcards.name not in self.run.study.sources:
            return []
        return [self.results.record(wildcards.name, file) for file in self.needed(wildcards)]

    def doubtful(self, wildcards: Wildcards) -> list[str]:
        """Differs from what was recorded when one of these files was replaced, so that it is read again."""
        name = wildcards.name
        is_verified = self.run.folder / self.results.path("verified_for_prediction", f"{name}.json")
        receipts = self.results.receipts(name)
        found = doubtful(self.run.directories[name], self.needed(wildcards), receipts, is_verified.exists())
        return until_mended(found)

    def directories(self, wildcards: Wildcards | None = None) -> dict[str, str]:
        """model -> its folder, of both parents, the base first."""
        return {name: self.run.directories[name] for name in (self.base, self.other)}

    def revisions(self, wildcards: Wildcards | None = None) -> dict[str, str]:
        return self.inputs.revisions([self.base, self.other])

    def tables(self, name: str) -> Any:
        """An input function: the tables of all shards that are read, ``realized`` or ``codes``."""

        def paths(wildcards: Wildcards) -> list[str]:
            shards = self.files[self.base]
            return [self.results.path("prediction", "shards", f"{shard}.{name}.parquet") for shard in shards]

        return paths


def merged_weights(entries: dict[str, dict[str, Any]], base: str, other: str) -> dict[str, dict[str, Any]]:
    """Return {sweep: entry} of the sweeps over one pair, one for all that merge the same weights, with all their λ2."""
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for sweep, entry in entries.items():
        if (entry["base"], entry["other"]) != (base, other):
            continue
        merged: dict[str, Any] = {key: entry[key] for key in MERGED if key in entry}
        name = names.setdefault(repr(sorted(merged.items())), sweep)
        lambdas = {*found.get(name, {}).get("lambda2", []), *entry["lambda2"]}
        found[name] = {**merged, "lambda2": sorted(lambdas)}
    return found
