# Reads the configuration and the chosen study, and says what the rules' wildcards can be.
import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from aoe import AoeError
from aoe.lock import read_lock
from aoe.study import check_schema, read_study


def read_schema(name):
    return json.loads((Path(workflow.basedir) / "config" / "schemas" / f"{name}.schema.json").read_text())


try:
    check_schema(config, read_schema("config"), "config")
    study = read_study(config["study"], Path(workflow.basedir) / "config" / "studies", read_schema("study"))
    lock = read_lock(study.content["lock"])
    for model in study.models:
        if model not in lock:
            raise AoeError(f"The lock file {study.content['lock']} does not have the model {model!r}.")
except AoeError as error:
    raise WorkflowError(str(error))

FIGURES = ["figure2", "figure3", "figure4", "figure5", "figure6", "figure7a", "figure7b", "figure8"]
PUBLISHED = [variant for variant in study.variants if study.published(variant)]


wildcard_constraints:
    study=study.name,
    model="|".join(study.models),
    base="|".join(study.models),
    other="|".join(study.models),
    variant="|".join(study.variants),
    shard=r"[^/]+\.safetensors",


def model_files(model):
    """The paths of a model's files, as locked."""
    return [f"{study.models[model]['path']}/{file}" for file in lock[model]["files"]]


def shards(model):
    """The file names of a model's shards."""
    return [file for file in lock[model]["files"] if file.endswith(".safetensors")]


def receipts(models):
    return [f"results/{study.name}/verified/{model}.json" for model in models]


def parents_of(variant):
    """model name -> directory of the models that a variant's recipe reads, the base first."""
    return {parent: study.models[parent]["path"] for parent in study.variants[variant].parents}
