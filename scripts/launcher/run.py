"""One run of the workflow: its configuration, its study, and the study's lock, read when it is first needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from aoe import AoeError
from aoe.acquiring.expected import expected_lock
from aoe.acquiring.lock import INPUT_KINDS, Locked, LockError, read_lock
from aoe.acquiring.together import check as check_together
from aoe.acquiring.verification import check_present
from aoe.benchmarks import JUDGE, SANDBOX, graded_by, title_of
from aoe.checkpoints.architectures import definitions
from aoe.files.configuration import read_yaml, text_options
from aoe.files.schema import check_schema
from aoe.merging.selection import check_selections
from aoe.serving.servable import check_servable
from aoe.studies.results import Results
from aoe.studies.study import Study, read_study
from cluster.caches import cache_variables
from launcher.schemas import read_schema
from launcher.startup import check_folder, name_interpreter, print_anything, undo_future_dates

if TYPE_CHECKING:
    from snakemake.workflow import Workflow

# what rules read besides the lock: none of it may be dated in the future
READ_BY_RULES = ("scripts", "config", "report", "docs/benchmarks.json", "resources/deepseek-v3")


class Run:
    """``study``, ``config`` and ``claims`` (dicts as written), ``results``; ``locked`` and ``directories``, which are
    read when they are first asked for: only then is it known that more than a lock is wanted."""

    def __init__(
        self, folder: Path, config: dict[str, Any], study: Study, claims: dict[str, Any], *, is_main: bool = True
    ) -> None:
        self.folder, self.config, self.study, self.claims, self.is_main = folder, config, study, claims, is_main
        self.results = Results(study.name)
        # empty for a study that does nothing but audits
        self.benchmarks: dict[str, Any] = study.content.get("benchmarks", {})
        self.judged = graded_by(self.benchmarks, JUDGE)
        self.sandboxed = graded_by(self.benchmarks, SANDBOX)
        self.timed: list[str] = study.content.get("latency", {}).get("variants", [])
        self.datasets = sorted({entry["dataset"] for entry in self.benchmarks.values() if "dataset" in entry})

    @classmethod
    def load(cls, workflow: Workflow, config: dict[str, Any]) -> Run:
        """The run that Snakemake was called for; raises WorkflowError, in a sentence, for what the user got wrong."""
        name_interpreter()
        print_anything()
        folder = Path(workflow.basedir)
        try:
            check_folder(folder)
            definitions()  # an incomplete architecture ends the run here
            _check_config(workflow, config, read_schema("config"))
            claims = read_yaml(folder / "config/claims.yaml")
            check_schema(claims, read_schema("claims"), "config/claims.yaml")
            study = read_study(config["study"], folder / "config/studies", read_schema("study"))
        except AoeError as error:
            raise WorkflowError(str(error)) from error
        run = cls(folder, config, study, claims, is_main=workflow.is_main_process)
        run.prepare(os.environ)
        return run

    def titles(self, benchmarks: list[str]) -> list[str]:
        """The names of benchmarks in print."""
        return [title_of(name) for name in benchmarks]

    def prepare(self, environment: dict[str, str] | os._Environ[str]) -> None:
        """Set what the run's processes find: dates that can be compared, and folders for caches.

        Jobs leave dates alone: the clock of their node may be another one.  They are submitted with the variables.
        """
        if self.is_main:
            sources = [*READ_BY_RULES, self.study.content["lock"]]
            if undated := undo_future_dates(sources, self.results.path()):
                logger.warning(
                    f"{undated[0]} is dated in the future, and its date cannot be changed ({len(undated)} such files): "
                    "what depends on it may be made again; correct the clock, or `touch` it."
                )
        if "caches" in self.config:
            environment.update(cache_variables(self.config["caches"], environment))

    @property
    def is_locked(self) -> bool:
        """Whether the study's lock file is there."""
        return Path(self.study.content["lock"]).exists()

    @property
    def locked(self) -> dict[str, Locked]:
        """name -> Locked of every model and dataset: of the lock file, or, until there is one, as the study expects.

        Ends the run, in a sentence, if there is no lock, or if it does not suit the study.
        """
        try:
            return self.checked[0]
        except AoeError as error:
            refuse(error)

    @property
    def directories(self) -> dict[str, str]:
        """name -> the folder of a model's or dataset's files; ends the run as ``locked`` does."""
        try:
            return self.checked[1]
        except AoeError as error:
            refuse(error)

    @cached_property
    def checked(self) -> tuple[dict[str, Locked], dict[str, str]]:
        """``locked`` and ``directories``, after all that can be known before anything is fetched was looked at.

        Raises AoeError if the study cannot be run as it stands.
        """
        study = self.study
        try:
            locked = self.read_lock()
            directories = {name: study.directory(name, entry, self.config["inputs"]) for name, entry in locked.items()}
        except LockError as error:
            command = f"snakemake --cores 1 --config study={study.name} -- lock"
            raise AoeError(f"{error}  `{command}` writes a new one.") from error
        # what the user lays down is there from the start
        check_present({name: entry for name, entry in locked.items() if name not in study.sources}, directories)
        if self.is_main:
            check_selections(study, locked, directories)
            # of what is fetched, as far as it is there; a job looks at it as soon as it comes
            for sentence in check_together(study.unions(), {name: directories[name] for name in study.models}):
                logger.warning(sentence)
        check_servable(study, locked, directories)
        return locked, directories

    def read_lock(self) -> dict[str, Locked]:
        """name -> Locked; raises AoeError if there is no lock and the study does not say what it expects."""
        study, path = self.study, self.study.content["lock"]
        if not self.is_locked and any("expected" in entry for entry in study.inputs.values()):
            return expected_lock(study)
        schema = read_schema("lock")
        names = {kind: getattr(study, kind) for kind in INPUT_KINDS}
        return read_lock(path, names, lambda content: check_schema(content, schema, path))


def refuse(error: AoeError) -> NoReturn:
    """End the run in one sentence.  Snakemake would show a traceback of what is raised in an input function."""
    logger.error(str(error))
    sys.exit(1)


def read_strictly(path: str | Path) -> Any:
    """The content of a YAML file; raises WorkflowError, in a sentence, for one that is not what it seems."""
    try:
        return read_yaml(path)
    except AoeError as error:
        raise WorkflowError(str(error)) from error


def _check_config(workflow: Workflow, config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Raises AoeError for a configuration that the schema refuses, or a file of it that is not what it seems.

    Snakemake has read the files already, where of two equal keys the last one holds, and numbers on its command line.
    """
    config.update(text_options(config, workflow.config_settings.config_args or [], schema))
    missing = [key for key in schema["required"] if key not in config]
    for file in workflow.configfiles:
        content = read_yaml(file) or {}
        holding = {key: value for key, value in content.items() if config.get(key) == value}
        check_schema(holding, {**schema, "required": missing}, os.path.relpath(file))
    check_schema(config, schema, "config")
