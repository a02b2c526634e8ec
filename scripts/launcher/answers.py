"""What rules read, and are told, from the questions to the scores: servers, judges, the sandbox, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snakemake.io import ancient
from aoe import AoeError
from aoe.acquiring.lock import digest
from aoe.serving.servable import check_template
from launcher.run import refuse

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from launcher.inputs import Inputs
    from launcher.run import Run


class Answers:
    """The inputs and params of every rule that serves a variant, asks it, or grades its answers."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run, self.study, self.results, self.inputs = run, run.study, run.results, inputs
        self.judge: dict[str, Any] = self.study.content.get("judge", {})
        self.serving: dict[str, Any] = self.study.content.get("serving", {})
        # what answers may depend on; the rest are resources, which can be changed without asking anything again
        self.server = {
            "options": self.serving.get("options", {}),
            "environment": self.serving.get("environment", {}),
        }

    # servers

    def needed(self, wildcards: Wildcards) -> dict[str, Any]:
        """What it takes to serve a variant, and datasets that are known to be readable, by whoever grades, too.

        Ends the run if the variant's chat template would make another prompt than the study says: only here is it
        known that answers are wanted.
        """
        source = self.study.variants[wildcards.variant].beside["chat template"]
        try:
            check_template(source, self.run.directories[source], self.server["options"], self.run.benchmarks)
        except AoeError as error:
            refuse(error)
        questions = {"questions": ancient(self.results.path("questions.json"))} if self.run.datasets else {}
        files = [self._record_or_file(model, file) for model, file in self._ends().items()]
        ends = {"ends": [ancient(file) for file in files]} if files else {}
        return {**self.needed_to_serve(wildcards.variant), **questions, **ends}

    def needed_to_serve(self, variant: str) -> dict[str, Any]:
        """Models are served as they are, exported variants from their files, all others by their plan."""
        datasets = {"datasets": self.inputs.verified(self.run.datasets)}
        if variant in self.study.models:
            return {"verified": self.inputs.verified([variant]), **datasets}
        if self.study.is_exported(variant):
            return {"merged": self.results.merged(variant, "recipe.json"), **datasets}
        return {"plan": self.results.plan(variant), "verified": self.inputs.verified_for(variant), **datasets}

    def _ends(self) -> dict[str, str]:
        """model -> the file that says at which tokens its answers end; none where all models have the same file.

        Answers of all variants end where those of any model do, whichever is the base.
        """
        if "generation-config" in self.server["options"]:
            return {}
        files, locked = {}, self.run.locked
        for model in self.study.models:
            has_own = "generation_config.json" in locked[model].files
            files[model] = "generation_config.json" if has_own else "config.json"
        digests = {digest(locked[model].files[file]) for model, file in files.items()}
        return files if len(digests) > 1 else {}

    def _record_or_file(self, name: str, file: str) -> str:
        """The record of a fetched file; where the user laid the file down, the file itself."""
        if name in self.study.sources:
            return self.results.record(name, file)
        return f"{self.run.directories[name]}/{file}"

    def served(self, wildcards: Wildcards) -> dict[str, Any]:
        """How a server is started, and, where models differ in it, the files that say where answers end."""
        files = [f"{self.run.directories[model]}/{file}" for model, file in self._ends().items()]
        return self.server | ({"ends": files} if files else {})

    def checkpoints(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.checkpoints_of(wildcards.variant)

    def revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.revisions([*self.study.variants[wildcards.variant].parents, *self.run.datasets])

    # datasets

    def datasets(self, wildcards: Wildcards | None = None) -> dict[str, list[Any]]:
        """dataset -> its folder and the names of its files."""
        return {name: [self.run.directories[name], self.run.locked[name].needed] for name in self.run.datasets}

    def dataset_revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.revisions(self.run.datasets)

    def with_dataset(self) -> dict[str, Any]:
        """benchmark -> its settings, of those that read a dataset."""
        return {name: settings for name, settings in self.run.benchmarks.items() if "dataset" in settings}

    def dataset_of(self, benchmark: str) -> list[Any] | None:
        """The folder and files of the dataset that a benchmark reads; None if it reads none."""
        dataset = self.run.benchmarks[benchmark].get("dataset")
        return self.datasets()[dataset] if dataset else None

    def settings_of(self, names: list[str]) -> dict[str, Any]:
        """benchmark -> its settings, of some benchmarks."""
        return {name: self.run.benchmarks[name] for name in names}

    # the judge

    @property
    def judged_elsewhere(self) -> bool:
        """Whether the judge is an endpoint elsewhere, and no model of the study."""
        return "endpoint" in self.judge

    def needed_to_judge(self, wildcards: Wildcards) -> dict[str, Any]:
        """The datasets with the judge's prompts, and what it takes to serve a judge of the study's own."""
        if self.judged_elsewhere:
            return {"datasets": self.inputs.verified(self.run.datasets)}
        judge = self.judge["model"]
        return {**self.needed_to_serve(judge), "answered": self.results.answers(judge, "machine.json")}

    def judge_revisions(self, wildcards: Wildcards) -> dict[str, str]:
        """Of a judge of the study's own; the revision of another is what the study says."""
        if self.judged_elsewhere:
            return {}
        return self.inputs.revisions(self.study.variants[self.judge["model"]].parents)

    def judge_checkpoints(self, wildcards: Wildcards) -> dict[str, str]:
        return {} if self.judged_elsewhere else self.inputs.checkpoints_of(self.judge["model"])

    # the sandbox

    def programs_datasets(self, wildcards: Wildcards) -> dict[str, list[Any]]:
        """dataset -> its folder and the names of its files, of the benchmarks whose answers are programs."""
        return {name: self.datasets()[name] for name in self._of_programs()}

    def programs_revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.revisions(self._of_programs())

    def _of_programs(self) -> list[str]:
        settings = [self.run.benchmarks[name] for name in self.run.sandboxed]
        return sorted({entry["dataset"] for entry in settings if "dataset" in entry})

    # speed

    def timed_dataset(self, wildcards: Wildcards) -> list[Any] | None:
        """The folder and files of the dataset that the queue's questions are from, if they are from one."""
        return self.dataset_of(self.study.content["latency"]["benchmark"])

    # scores

    def grades(self, wildcards: Wildcards) -> dict[str, str]:
        """benchmark -> the grades of a judge or the sandbox, for those whose answers cannot be compared."""
        judged = dict.fromkeys(self.run.judged, self.results.path("judgements.parquet"))
        return judged | dict.fromkeys(self.run.sandboxed, self.results.path(f"programs/{wildcards.variant}.parquet"))

    def grade_files(self, wildcards: Wildcards) -> list[str]:
        return list(dict.fromkeys(self.grades(wildcards).values()))

    def tokenizer(self, wildcards: Wildcards) -> str:
        """The reference's tokenizer: all models of a study share the ids of their tokens."""
        return f"{self.run.directories[self.study.reference]}/tokenizer.json"
