"""What a change of the code makes Snakemake do: the param ``code`` of every rule that has a script.

Snakemake repeats a job whose params have changed, so that a rule with a plain digest among them is repeated when its
code changes.  Rules that take long (``records.FOLLOWING``) are told the digest in a way that Snakemake does not
compare, and repeated only if the configuration says ``accept_code_changes: redo``: then their param ``code_token``
differs from the one in Snakemake's own record of the job.

Snakemake's own trigger `code`, the date of a script, is off in profiles/default: a comment would repeat everything.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.logging import logger
from launcher.code import records
from launcher.code.closure import Code, Library, combined
from launcher.code.records import FOLLOWING, Record, record_path

if TYPE_CHECKING:
    from snakemake.rules import Rule
    from snakemake.workflow import Workflow
    from launcher.run import Run

# What they bring is compared with the lock's digests, whatever code brings it; a node may have no network any more.
FETCHING = ("lock", "outline", "download")
# No reason to repeat a job, as it never enters Snakemake's record of params.
NOT_COMPARED = ...


class CodeWatch:
    """The code of a run's rules, and the results that other code made."""

    def __init__(self, workflow: Workflow, run: Run) -> None:
        self.workflow, self.run = workflow, run
        self.choice: str | None = run.config.get("accept_code_changes")

    def attach(self) -> None:
        """Give every rule that has a script its param ``code``; say which results other code made."""
        for rule in self.workflow.rules:
            if rule.script and rule.name not in FETCHING:
                rule.set_params(**self._params(rule))
        if self.run.is_main:
            self._tell()

    def begin(self) -> None:
        """Note, before the first job, what digests stand for; results without a record count as the present code's."""
        for job in self.workflow.dag.jobs:
            if job.rule.name in FOLLOWING and all(Path(output).exists() for output in job.output):
                noted = job.params.code
                if not (path := Path(noted["record"])).exists():
                    wildcards, outputs = dict(job.wildcards_dict), tuple(map(str, job.output))
                    Record(path, job.rule.name, wildcards, outputs, tuple(noted["rules"]), noted["digest"]).write()
        planned = {job.rule.name for job in self.workflow.dag.jobs}
        for rule in set(FOLLOWING) & set(self.scripts) & planned:
            for rules in {tuple(_covered(rule, several)) for several in (False, True)} - {()}:
                if set(rules) <= set(self.scripts):
                    self._define(rules, self._folder(rule))

    # params

    def _params(self, rule: Rule) -> dict[str, Any]:
        if rule.name not in FOLLOWING:
            return {"code": lambda wildcards: self.code([rule.name]).digest}

        # as Snakemake does not compare params that are made of a job's input and output
        def code(wildcards: Any, input: Any, output: Any) -> dict[str, Any]:
            rules = _covered(rule.name, bool(input.get("differences")))
            return {"digest": self.code(rules).digest, "rules": rules, "record": str(record_path(output[0]))}

        return {"code": code, "code_token": lambda wildcards: self._token(rule, wildcards)}

    def _token(self, rule: Rule, wildcards: Any) -> Any:
        """The token in Snakemake's own record of a job, or another one if the job is to be repeated."""
        if not self.run.is_main:
            return NOT_COMPARED
        output = rule.output[0].apply_wildcards(wildcards)
        if not Path(output).exists():
            return f"code {self.code(_covered(rule.name, False)).digest}"
        stored = self.workflow.persistence.params(output) or []  # as Python writes the values
        known = next((text.strip("'") for text in stored if text.startswith("'code ")), NOT_COMPARED)
        record = self.outdated_records.get(record_path(output)) if self.choice == "redo" else None
        if record is None:
            return known
        fresh = f"code {self.code(record.rules).digest}"
        return fresh if fresh != known else f"{fresh} after {record.code}"

    # digests

    @cached_property
    def scripts(self) -> dict[str, Path]:
        """rule -> the path of its script."""
        rules = [rule for rule in self.workflow.rules if rule.script]
        return {rule.name: (Path(rule.snakefile).parent / str(rule.script)).resolve() for rule in rules}

    @cached_property
    def library(self) -> Library:
        return Library(self.run.folder / "scripts", Path(".snakemake/code.json"))

    @cached_property
    def _codes(self) -> dict[tuple[str, ...], Code]:
        return {}

    def code(self, rules: Iterable[str]) -> Code:
        """The code of the scripts of some rules, all together."""
        key = tuple(rules)
        if key not in self._codes:
            scripts = dict.fromkeys(self.scripts[rule] for rule in key if rule in self.scripts)
            self._codes[key] = combined(self.library.code_of(script) for script in scripts)
        return self._codes[key]

    # results of other code

    @cached_property
    def records(self) -> list[Record]:
        """The records of the rules, variants and models that this run has."""
        found = [
            record
            for folder in dict.fromkeys(map(self._folder, self.scripts))
            for record in records.read_records(folder)
            if record.rule in self.scripts
        ]
        return [record for record in found if record.wildcards.get("variant") in (None, *self.run.study.variants)]

    @cached_property
    def outdated(self) -> dict[str, list[Record]]:
        return records.outdated(self.records, lambda rules: self.code(rules).digest)

    @cached_property
    def outdated_records(self) -> dict[Path, Record]:
        return {record.path: record for found in self.outdated.values() for record in found}

    def _tell(self) -> None:
        for rule, found in self.outdated.items():
            names = list(dict.fromkeys(name for record in found for name in self._changed(record)))
            counts = records.repeated(found, self.records)
            logger.warning(records.sentence(rule, names, counts, len(found), self.choice))
        for rule in self.scripts:
            self.code([rule])
        self.library.save()
        if self.choice == "keep" and self.outdated:
            # only in the end is it known whether this was a dry run; a run without jobs has no other end
            atexit.register(self._accept)

    def _accept(self) -> None:
        """Note that results of other code count as made by the present one; a dry run notes nothing."""
        if self.workflow.executor_plugin is None or self.workflow.dryrun:
            return
        for rule, found in self.outdated.items():
            for record in found:
                replace(record, accepted=self.code(record.rules).digest).write()
                self._define(record.rules, self._folder(rule))

    def _changed(self, record: Record) -> list[str]:
        path = records.definitions_path(self._folder(record.rule), record.accepted or record.code)
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return records.changed_definitions(before, self.code(record.rules).definitions)

    def _define(self, rules: Iterable[str], folder: Path) -> None:
        code = self.code(rules)
        if not (path := records.definitions_path(folder, code.digest)).exists():
            records.write_json(path, code.definitions)

    def _folder(self, rule: str) -> Path:
        """Where the results of a rule are: the study's folder, or that of the mini family."""
        return Path("results/mini_family") if rule.startswith("mini_") else Path(self.run.results.path())


def _covered(rule: str, differences: bool) -> list[str]:
    """The rules whose code made the results of one: a plan with a threshold is made of differences."""
    return [rule, "diff", "differences"] if rule == "plan" and differences else [rule]
