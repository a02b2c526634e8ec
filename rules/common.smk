# Reads the configuration and the chosen study, and says what the rules' wildcards can be.
import json
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from aoe import AoeError
from aoe.lock import check_files, read_lock
from aoe.study import check_schema, read_study


def read_schema(name):
    return json.loads((Path(workflow.basedir) / "config" / "schemas" / f"{name}.schema.json").read_text())


try:
    check_schema(config, read_schema("config"), "config")
    study = read_study(config["study"], Path(workflow.basedir) / "config" / "studies", read_schema("study"))
    # without a lock nothing can be planned, except for making one; Snakemake itself does not yet know the targets here
    lock = {} if "lock" in sys.argv else read_lock(study.content["lock"], study.models)
    check_files(study.models, lock)
except AoeError as error:
    raise WorkflowError(str(error))

FIGURES = ["figure2", "figure3", "figure4"]
if study.positions(over_lambda2=True):
    FIGURES += ["figure5", "figure6"]
if "threshold" in study.content["figures"]:
    FIGURES += ["figure7a", "figure7b"]
if "assembled" in study.content["figures"]:
    FIGURES += ["figure8"]
ENDINGS = ["svg", "pdf", "png", "csv"]
TABLES = ["scores.parquet", "summary.csv", "transitions.csv", "transition_curves.csv"]
PUBLISHED = [variant for variant in study.variants if study.published(variant)]
PLANNED = [variant for variant in study.variants if variant not in study.models]


def any_of(names):
    """A regular expression that matches each of the names and nothing else."""
    return "|".join(map(re.escape, names))


wildcard_constraints:
    study=study.name,
    model=any_of(study.models),
    base=any_of(study.models),
    other=any_of(study.models),
    variant=any_of(study.variants),
    shard=r"[^/]+\.safetensors",


def locked_files(model):
    """The names of a model's files, as locked; none while the lock is being made."""
    return list(lock[model]["files"]) if lock else []


def shards(model):
    """The file names of a model's shards."""
    return [file for file in locked_files(model) if file.endswith(".safetensors")]


def receipts(models):
    return [f"results/{study.name}/verified/{model}.json" for model in models]


def parents_of(variant):
    """model name -> directory of the models that a variant's recipe reads, the base first."""
    return {parent: study.models[parent]["path"] for parent in study.variants[variant].parents}


# for rules/verify.smk


def model_files(wildcards):
    return [f"{study.models[wildcards.model]['path']}/{file}" for file in locked_files(wildcards.model)]


def model_directory(wildcards):
    return study.models[wildcards.model]["path"]


# for rules/diff.smk


def pair_receipts(wildcards):
    return receipts([wildcards.base, wildcards.other])


def pair_directory(role):
    def directory(wildcards):
        return study.models[getattr(wildcards, role)]["path"]

    return directory


def difference_tables(wildcards=None):
    return [
        f"results/{study.name}/differences/{base}/{other}/{shard}.parquet"
        for base, other in study.compared()
        for shard in shards(base)
    ]


# for rules/merge.smk


def parent_receipts(wildcards):
    return receipts(parents_of(wildcards.variant))


def parent_directories(wildcards):
    return parents_of(wildcards.variant)


def recipe_entry(wildcards):
    return study.entries[wildcards.variant]


def differences_for_delta(wildcards):
    needed = study.variants[wildcards.variant].threshold.delta > 0
    return f"results/{study.name}/differences.parquet" if needed else []


def merged_shards(wildcards):
    base = study.variants[wildcards.variant].base
    return [f"results/{study.name}/merged/{wildcards.variant}/{shard}" for shard in shards(base)]


def merged_files(variant):
    base = study.variants[variant].base
    return [f"results/{study.name}/merged/{variant}/{file}" for file in [*shards(base), "recipe.json"]]


# for rules/serve.smk


def needed_to_serve(wildcards):
    """Models are served as they are, published variants from their files, all others by their plan."""
    variant = wildcards.variant
    if variant in study.models:
        return {"verified": receipts([variant])}
    if study.published(variant):
        return {"merged": f"results/{study.name}/merged/{variant}/recipe.json"}
    return {"plan": f"results/{study.name}/plans/{variant}.json"}


def answer_files(variant):
    return [f"results/{study.name}/answers/{variant}/{benchmark}.eval" for benchmark in study.content["benchmarks"]]


def served_checkpoints(wildcards):
    if study.published(wildcards.variant):
        return {wildcards.variant: f"results/{study.name}/merged/{wildcards.variant}"}
    return parents_of(wildcards.variant)


# for rules/score.smk


def end_think_id(wildcards):
    """The token id of </think>, which all models of a study share."""
    tokenizer = Path(study.models[study.reference]["path"]) / "tokenizer.json"
    tokens = json.loads(tokenizer.read_text())["added_tokens"]
    return next(token["id"] for token in tokens if token["content"] == "</think>")


# for rules/figures.smk


def figure_files(name, caption, title):
    """The outputs of a figure's rule; the SVG is the one that the report shows."""
    path = f"results/{{study}}/figures/{name}"
    shown = report(f"{path}.svg", caption=f"../report/{caption}.rst", category="Figures", labels={"figure": title})
    return [shown, *(f"{path}.{ending}" for ending in ENDINGS[1:])]
