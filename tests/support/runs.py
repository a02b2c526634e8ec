"""Runs of the shipped studies, as the launcher has them, without Snakemake."""

import json
from types import SimpleNamespace

from aoe.files.configuration import read_yaml
from aoe.studies.study import read_study
from launcher.run import Run
from launcher.schemas import read_schema
from support.clones import ROOT

CONFIG = {"inputs": "inputs", "network": "jobs", "downloads": 2}


def run_of(name: str, **config) -> Run:
    """The run of a study in this repository, whose folder the caller has to be in."""
    study = read_study(name, ROOT / "config/studies", read_schema("study"))
    return Run(ROOT, CONFIG | {"study": name} | config, study, read_yaml(ROOT / "config/claims.yaml"), is_main=False)


def wildcards(**values: str) -> SimpleNamespace:
    """What Snakemake gives an input function: attributes, and ``keys``."""
    return SimpleNamespace(**values, keys=values.keys)


def flat(value):
    """A value as JSON has it: whatever is in a rule's params has to be that."""
    return json.loads(json.dumps(value))
