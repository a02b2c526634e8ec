# Reads the configuration and the chosen study, and says what the rules' wildcards can be.
import json
import os
import re
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from aoe import AoeError
from aoe.benchmarks import JUDGE, SANDBOX, graded_by, title_of
from aoe.acquiring.expected import expected_lock
from aoe.acquiring.fetching import begin_fetching, lock_all
from aoe.claims.published import marks
from aoe.files.configuration import read_yaml, text_options
from aoe.studies.cost import estimate
from aoe.acquiring.lock import KINDS, digest, format_lock, read_lock, resolved
from aoe.nodes.machine import UNKNOWN, commit
from aoe.serving.servable import check_servable, check_template
from aoe.serving.server import command_line
from aoe.files.schema import check_schema
from aoe.merging.selection import check_selections
from aoe.studies.study import read_study
from aoe.acquiring.together import check as check_together
from aoe.acquiring.transfer import STALL_SECONDS
from aoe.acquiring.verification import check_present, doubtful, is_lost
from benchmarks import registry  # of what aoe.benchmarks knows
from cluster.requests import asked_of
from launcher.caches import cache_variables
from cluster.jobstates import watch
from cluster.partitions import problems, read_partitions
from launcher.planned import show_cost
from launcher.preflight import fly, is_preflight, title_of
from launcher.stages import asked_by, checks_of, scripts_of
from launcher.startup import cancel_left_jobs, check_folder, hold, name_interpreter, print_anything, undo_future_dates
from launcher.verdicts import show_verdicts

name_interpreter()
print_anything()


def read_schema(name):
    return json.loads(
        (Path(workflow.basedir) / "config" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    )


class NotLocked(dict):
    """What stands for the lock while it is being made: asked for an entry, it says so."""

    def __missing__(self, name):
        raise WorkflowError(f"{name} is not locked yet; run `snakemake --cores 1 lock` by itself first.")


def lock_of(study):
    """name -> Locked: from the study's lock file, or, until there is one, what the study expects to be locked."""
    if not is_locked(study) and any("expected" in entry for entry in study.inputs.values()):
        return expected_lock(study)
    return read_lock(
        study.content["lock"],
        {kind: getattr(study, kind) for kind in KINDS},
        lambda content: check_schema(content, read_schema("lock"), study.content["lock"]),
    )


def is_locked(study):
    return Path(study.content["lock"]).exists()


def read_strictly(path):
    """The content of a YAML file; Snakemake tells what is wrong with it."""
    try:
        return read_yaml(path)
    except AoeError as error:
        raise WorkflowError(str(error))


def check_config(schema):
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


try:
    check_folder(workflow.basedir)
    check_config(read_schema("config"))
    CLAIMS = read_yaml(Path(workflow.basedir) / "config" / "claims.yaml")
    check_schema(CLAIMS, read_schema("claims"), "config/claims.yaml")
    study = read_study(config["study"], Path(workflow.basedir) / "config" / "studies", read_schema("study"))
except AoeError as error:
    raise WorkflowError(str(error))

locked = directories = NotLocked()
unready = []  # what a preflight says, and everything else ends with
try:
    # without a lock nothing can be planned, except for making one; Snakemake itself does not yet know the targets here
    if "lock" not in sys.argv:
        locked = lock_of(study)
        directories = {name: study.directory(name, entry, config["inputs"]) for name, entry in locked.items()}
        # what the user lays down is there from the start
        check_present({name: entry for name, entry in locked.items() if name not in study.sources}, directories)
        if workflow.is_main_process:
            check_selections(study, locked, directories)
            # of what is fetched, as far as it is there; a job looks at it as soon as it comes
            for sentence in check_together(study.unions(), {name: directories[name] for name in study.models}):
                logger.warning(sentence)
        check_servable(study, locked, directories)
except AoeError as error:
    if not is_preflight(sys.argv):
        raise WorkflowError(str(error))
    unready.append(str(error))

# Before Snakemake compares dates.  Jobs leave them alone: the clock of their node may be another one.
if workflow.is_main_process:
    read_by_rules = [
        "scripts",
        "config",
        "report",
        "docs/benchmarks.json",
        "resources/deepseek-v3",
        study.content["lock"],
    ]
    if undated := undo_future_dates(read_by_rules, f"results/{study.name}"):
        logger.warning(
            f"{undated[0]} is dated in the future, and its date cannot be changed ({len(undated)} such files): what "
            "depends on it may be made again; correct the clock, or `touch` it."
        )

# Jobs on other nodes are submitted with the launcher's variables.
if "caches" in config:
    os.environ.update(cache_variables(config["caches"], os.environ))

# With `--sdm conda apptainer`, all environments come from one image; see config/README.md for how it is made.
if "container" in config:

    containerized: config["container"]


# empty for a study that does nothing but audits
BENCHMARKS = study.content.get("benchmarks", {})
JUDGED, SANDBOXED = graded_by(BENCHMARKS, JUDGE), graded_by(BENCHMARKS, SANDBOX)
ASKED = list(study.variants) if BENCHMARKS else []
ENDINGS = ["svg", "pdf", "png", "csv"]
FIGURES, TABLES = [], []
if study.asks:
    FIGURES = ["figure2", "figure3", "figure4"]
    if study.positions(over_lambda2=True):
        FIGURES += ["figure5", "figure6"]
    if "threshold" in study.content["figures"]:
        FIGURES += ["figure7a", "figure7b"]
    if "assembled" in study.content["figures"]:
        FIGURES += ["figure8"]
    TABLES = [
        "scores.parquet",
        "summary.csv",
        "transitions.csv",
        "transition_curves.csv",
        "comparisons.csv",
        "categories.csv",
        "unreadable.csv",
    ]
if JUDGED:
    TABLES += ["judgements.parquet", "judge.csv"]
if SANDBOXED:
    TABLES += ["programs/solvable.json", *(f"programs/{variant}.parquet" for variant in study.variants)]
LATENCY = study.content.get("latency", {}).get("variants", [])
if LATENCY:
    TABLES += ["latency.csv", *(f"latency/{variant}.csv" for variant in LATENCY)]
    FIGURES += ["figure9"]
DOCUMENTS = ["claims.csv", "norms.csv", "paper.json", "paper.pdf", "paper.html", "index.html"]
DIFFERENCES = [f"results/{study.name}/differences.parquet"] if study.compared() else []
PUBLISHED = [variant for variant in study.variants if study.published(variant)]
PLANNED = [variant for variant in study.variants if variant not in study.models]


def any_of(names):
    """A regular expression that matches each of the names and nothing else."""
    return "|".join(map(re.escape, names))


wildcard_constraints:
    study=study.name,
    name=any_of(study.inputs),
    base=any_of(study.models),
    other=any_of(study.models),
    variant=any_of(study.variants),
    audit=any_of(study.audits) or "no-audit",
    shard=r"[^/]+\.safetensors",


def most(what, gpus=0):
    """The most that the cluster gives a job, with GPUs or without; what: `minutes` or `memory_mb`."""
    least = config.get(f"most_{what}", float("inf"))
    return config.get(f"gpu_most_{what}", least) if gpus else least


def memory(mb, gpus=0):
    """Every attempt is given more: twice as much for the second, but not more than the cluster's nodes have."""
    return lambda wildcards, attempt: min(mb * attempt, most("memory_mb", gpus))


def minutes(amount, gpus=0):
    """Time, likewise, but not more than the cluster gives a job.  The members of a group share that: see `turn`."""

    def limit(wildcards, attempt, rulename):
        together = members(rulename)
        share = most("minutes", gpus) / together
        return int(min(amount * attempt, share if together == 1 else max(amount, share)))

    return limit


def members(rulename):
    """How many jobs, at the most, go together with one of this rule, itself counted, as a profile groups them."""
    groups, components = workflow.group_settings.overwrite_groups, workflow.group_settings.group_components
    group = groups.get(rulename)
    return list(groups.values()).count(group) * components.get(group, 1) if group else 1


def turn(wildcards, rulename):
    """What only one member of a group can have at a time.

    In a job of Slurm they come one after another, whatever cores there are.  So that is what Snakemake has to go by
    when it adds up their time, and takes the most of their cores and memory.
    """
    return 1 if rulename in workflow.group_settings.overwrite_groups else None


workflow.register_resource("turn", 1)


resource_scopes:
    turn="local",


def gpus(number, nodes=1, model=config.get("gpu_model")):
    """The resources that ask Slurm for GPUs, in the way that the site knows; number: on all nodes together."""
    if not number:
        return {"gpu": 0}
    asked = {"slurm_partition": config.get("gpu_partition"), "slurm_account": config.get("gpu_account")}
    # of every node as many, which a total would not say
    if nodes > 1 or config.get("gpu_request") == "gres":
        kind = ":".join(filter(None, ("gpu", model)))
        asked |= {"gpu": 0, "gres": f"{kind}:{number // nodes}", "tasks_per_gpu": 0}
    else:
        asked |= {"gpu": number, "gpu_model": model}
    return {name: value for name, value in asked.items() if value is not None}


def receipts(names):
    """What says that all files of models or datasets are as locked.

    Always `ancient`: what was made from the same revision stays good when its files are verified again.
    """
    return [ancient(f"results/{study.name}/verified/{name}.json") for name in names]


def shards(model):
    """The file names of a model's shards; none while the lock is being made."""
    return locked[model].shards if locked else []


def revisions(names):
    """name -> what a locked model is called for good; in the params of what is made from it."""
    return {name: locked[name].revision for name in names}


def parents_of(variant):
    """model name -> directory of the models that a variant's recipe reads, the base first."""
    return {parent: directories[parent] for parent in study.variants[variant].parents}


# for rules/download.smk

# what this run is to fetch, once Snakemake has asked for every job's inputs: path -> the locked file's facts
requested = {}


def inputs_to_lock():
    """name -> its kind, sources, and what the study expects of it; see aoe.acquiring.fetching.lock_all."""
    return {
        name: {
            "kind": study.kind(name),
            "sources": study.sources.get(name) or [{"source": f"file:{entry['path']}", "files": entry.get("files")}],
            "expected": entry.get("expected"),
        }
        for name, entry in study.inputs.items()
    }


def model_sources():
    """name -> source of the models that are fetched."""
    return {name: parts[0]["source"] for name, parts in study.sources.items() if name in study.models}


def recipes_by_names():
    """variant -> its recipe, of those that select by tensor names, which only the headers show."""
    return {variant: study.entries[variant] for variant in PLANNED if study.variants[variant].selects_by_names}


def lock_file(wildcards):
    return study.content["lock"] if is_locked(study) else []


def file_disk(wildcards):
    return file_facts(wildcards)["size"] // 1_000_000 + 1


def records(name, files):
    return [f"results/{study.name}/downloaded/{name}/{file}.json" for file in files]


def all_records(wildcards):
    return [record for name in study.sources if locked for record in records(name, locked[name].needed)]


def outline_of_study(wildcards):
    """Weights wait until outlines have shown that everything fits together; the small files are part of them."""
    requested[f"{directories[wildcards.name]}/{wildcards.file}"] = file_facts(wildcards)
    return ancient(f"results/{study.name}/outline.json") if wildcards.file in shards(wildcards.name) else []


def file_facts(wildcards):
    return locked[wildcards.name].files[wildcards.file]


def lost_file(wildcards):
    """Differs from what was recorded when a fetched file was lost, so that it is fetched again."""
    (record,) = records(wildcards.name, [wildcards.file])
    path = f"{directories[wildcards.name]}/{wildcards.file}"
    return [path] if is_lost(record, path, file_facts(wildcards)) else []


def input_directory(wildcards):
    return directories[wildcards.name]


def source_of(wildcards):
    """The file's own where the lock names it, else the only one."""
    return file_facts(wildcards).get("from") or study.sources[wildcards.name][0]["source"]


def commit_of(wildcards):
    return locked[wildcards.name].commit


# for rules/verify.smk and rules/start.smk


def times(*patterns):
    """path -> when it was last changed, of the files that match a pattern."""
    paths = [path for pattern in patterns for path in Path().glob(pattern)]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def needed_facts(wildcards):
    return {file: locked[wildcards.name].files[file] for file in needed_files(wildcards)}


def needed_files(wildcards):
    """The files that a variant reads of a parent, or, of a model or dataset as such, that the study reads."""
    entry = locked[wildcards.name]
    return entry.needed_by(study.variants[wildcards.variant]) if "variant" in wildcards.keys() else entry.needed


def doubtful_files(wildcards):
    """Differs from what was recorded when a verified file was replaced, however old, so that it is verified again."""
    receipts_of = f"results/{study.name}/receipts/{wildcards.name}"
    part = f"verified_for/{wildcards.variant}" if "variant" in wildcards.keys() else "verified"
    verified = Path(f"results/{study.name}/{part}/{wildcards.name}.json").exists()
    return doubtful(directories[wildcards.name], needed_facts(wildcards), receipts_of, verified)


def is_audited(wildcards):
    """A model that is audited may be stored in a way that nothing else can read."""
    return wildcards.name in [entry["model"] for entry in study.audits.values()]


def record_or_file(name, file):
    """A file that lies where the user put it is looked at itself, a fetched one by the record of its download."""
    return records(name, [file])[0] if name in study.sources else f"{directories[name]}/{file}"


def download_records(wildcards):
    """The records of what was fetched.  What the user laid down has none: `doubtful_files` says whether it changed.

    Such files are no inputs, as Snakemake goes by dates, and theirs are the user's: they may be in the future.
    """
    return records(wildcards.name, needed_files(wildcards)) if wildcards.name in study.sources else []


def all_receipts(wildcards):
    return receipts(study.inputs)


# for rules/diff.smk


def pair_receipts(wildcards):
    return receipts([wildcards.base, wildcards.other])


def pair_directory(role):
    def directory(wildcards):
        return directories[getattr(wildcards, role)]

    return directory


def pair_revisions(wildcards):
    return revisions([wildcards.base, wildcards.other])


def difference_tables(wildcards=None):
    return [
        f"results/{study.name}/differences/{base}/{other}/{shard}.parquet"
        for base, other in study.compared()
        for shard in shards(base)
    ]


# for rules/merge.smk


def parent_receipts(wildcards):
    return receipts_for(wildcards.variant)


def receipts_for(variant):
    """The parents' receipts; of a parent that is fetched and needed in part only, for that part."""
    recipe = study.variants[variant]
    whole = [
        parent
        for parent in recipe.parents
        if parent not in study.sources or locked[parent].needed_by(recipe) == locked[parent].needed
    ]
    parts = [parent for parent in recipe.parents if parent not in whole]
    return receipts(whole) + [ancient(f"results/{study.name}/verified_for/{variant}/{parent}.json") for parent in parts]


def parent_provenance(wildcards):
    recipe = study.variants[wildcards.variant]
    return {parent: locked[parent].provenance(recipe) for parent in recipe.parents}


def parent_revisions(wildcards):
    return revisions(study.variants[wildcards.variant].parents)


def parent_directories(wildcards):
    return parents_of(wildcards.variant)


def base_directory(wildcards):
    return directories[study.variants[wildcards.variant].base]


def recipe_entry(wildcards):
    return study.entries[wildcards.variant]


def differences_for_delta(wildcards):
    needed = study.variants[wildcards.variant].threshold.delta > 0
    return f"results/{study.name}/differences.parquet" if needed else []


def shard_disk(wildcards):
    """MB of a merged shard: as many as the base's has."""
    return locked[study.variants[wildcards.variant].base].files[wildcards.shard]["size"] // 1_000_000 + 1


def merged_shards(wildcards):
    base = study.variants[wildcards.variant].base
    return [f"results/{study.name}/merged/{wildcards.variant}/{shard}" for shard in shards(base)]


def merged_files(variant):
    base = study.variants[variant].base
    return [f"results/{study.name}/merged/{variant}/{file}" for file in [*shards(base), "recipe.json"]]


# for rules/serve.smk


DATASETS = sorted({entry["dataset"] for entry in BENCHMARKS.values() if "dataset" in entry})


def needed_to_answer(wildcards):
    """What it takes to serve a variant, and datasets that are known to be readable, by whoever grades, too.

    Ends the run if the variant's chat template would make another prompt than the study says: only here is it known that
    answers are wanted.  Snakemake would show a traceback of whatever is raised in an input function.
    """
    base = study.variants[wildcards.variant].base
    try:
        check_template(base, directories[base], study.content["serving"]["options"], BENCHMARKS)
    except AoeError as error:
        logger.error(str(error))
        sys.exit(1)
    checked = {"questions": ancient(f"results/{study.name}/questions.json")} if DATASETS else {}
    files = [record_or_file(model, file) for model, file in ends().items()]
    ending = {"ends": [ancient(file) for file in files]} if files else {}
    return {**needed_to_serve(wildcards.variant), **checked, **ending}


def ends():
    """model -> the file that says at which tokens its answers end; none where all models have the same file.

    Answers of all variants end where those of any model do, whichever is the base.
    """
    if not locked or "generation-config" in study.content["serving"]["options"]:
        return {}
    files = {}
    for model in study.models:
        files[model] = "generation_config.json" if "generation_config.json" in locked[model].files else "config.json"
    digests = {digest(locked[model].files[file]) for model, file in files.items()}
    return files if len(digests) > 1 else {}


def served_to_answer(wildcards):
    """How a server is started, and, where models differ in it, the files that say where answers end."""
    files = [f"{directories[model]}/{file}" for model, file in ends().items()]
    return served | ({"ends": files} if files else {})


def needed_to_serve(variant):
    """Models are served as they are, published variants from their files, all others by their plan."""
    datasets = {"datasets": receipts(DATASETS)}
    if variant in study.models:
        return {"verified": receipts([variant]), **datasets}
    if study.published(variant):
        return {"merged": f"results/{study.name}/merged/{variant}/recipe.json", **datasets}
    return {"plan": f"results/{study.name}/plans/{variant}.json", "verified": receipts_for(variant), **datasets}


def asked_datasets(wildcards):
    """dataset -> its folder and the names of its files."""
    return {name: [directories[name], locked[name].needed] for name in DATASETS}


def needed_to_judge(wildcards):
    """The datasets with the judge's prompts, and what it takes to serve a judge of the study's own."""
    if "endpoint" in study.content["judge"]:
        return {"datasets": receipts(DATASETS)}
    judge = study.content["judge"]["model"]
    return {**needed_to_serve(judge), "answered": f"results/{study.name}/answers/{judge}/machine.json"}


def judge_revisions(wildcards):
    """Of a judge of the study's own; the revision of another is what the study says."""
    judge = study.content["judge"]
    return {} if "endpoint" in judge else revisions(study.variants[judge["model"]].parents)


def judge_checkpoints(wildcards):
    judge = study.content["judge"]
    return {} if "endpoint" in judge else checkpoints_of(judge["model"])


def dataset_revisions(wildcards):
    return revisions(DATASETS)


def served_revisions(wildcards):
    return revisions([*study.variants[wildcards.variant].parents, *DATASETS])


def answer_files(variant):
    folder = f"results/{study.name}/answers/{variant}"
    return [f"{folder}/machine.json", *(f"{folder}/{benchmark}.eval" for benchmark in BENCHMARKS)]


def served_checkpoints(wildcards):
    return checkpoints_of(wildcards.variant)


def checkpoints_of(variant):
    """model name -> directory of what a server reads for a variant."""
    if study.published(variant):
        return {variant: f"results/{study.name}/merged/{variant}"}
    return parents_of(variant)


# for rules/latency.smk


def asked_datasets_of_latency(wildcards):
    """The folder and files of the dataset that the queue's questions are from, if they are from one."""
    dataset = BENCHMARKS[study.content["latency"]["benchmark"]].get("dataset")
    return asked_datasets(wildcards)[dataset] if dataset else None


def timed_reference():
    """The variant that the others are compared with: the study's reference, if its speed is measured."""
    reference = study.content["scores"]["reference"]
    return reference if reference in LATENCY else LATENCY[0]


# for rules/programs.smk


def datasets_of(benchmarks):
    return sorted({BENCHMARKS[name]["dataset"] for name in benchmarks if "dataset" in BENCHMARKS[name]})


def programs_datasets(wildcards):
    return {name: asked_datasets(wildcards)[name] for name in datasets_of(SANDBOXED)}


def programs_revisions(wildcards):
    return revisions(datasets_of(SANDBOXED))


# for rules/score.smk


def marks_given(wildcards):
    """benchmark -> the marks of a judge or the sandbox, for those whose answers cannot be compared with right ones."""
    given = dict.fromkeys(JUDGED, "judgements.parquet")
    given |= dict.fromkeys(SANDBOXED, f"programs/{wildcards.variant}.parquet")
    return {name: f"results/{study.name}/{path}" for name, path in given.items()}


def reference_tokenizer(wildcards):
    """All models of a study share the ids of their tokens."""
    return f"{directories[study.reference]}/tokenizer.json"


# for rules/figures.smk


def reference_label(wildcards):
    """A function, as Snakemake would take braces in a text for wildcards."""
    return study.label(study.reference)


def published(figure):
    """[(position, whose)] of what a figure shows as published."""
    return marks(CLAIMS, figure)


def figure_files(name, caption, title):
    """The outputs of a figure's rule; the SVG is the one that the report shows."""
    path = f"results/{{study}}/figures/{name}"
    shown = report(f"{path}.svg", caption=f"../report/{caption}.rst", category="Figures", labels={"figure": title})
    return [shown, *(f"{path}.{ending}" for ending in ENDINGS[1:])]


# for rules/audit.smk


def audited_model(wildcards):
    return study.audits[wildcards.audit]["model"]


def needed_to_audit(wildcards):
    """The parents, the model, if it is not one that the study publishes itself, and the plan of the claimed recipe."""
    settings = study.audits[wildcards.audit]
    models = [name for name in [settings["model"], *settings["parents"]] if name in study.models]
    needed = {"verified": receipts(models)}
    if settings["model"] not in study.models:
        needed["merged"] = f"results/{study.name}/merged/{settings['model']}/recipe.json"
    if "claim" in settings:
        needed["plan"] = f"results/{study.name}/plans/{settings['claim']}.json"
    return needed


def audit_settings(wildcards):
    return study.audits[wildcards.audit]


def audit_claim(wildcards):
    claim = study.audits[wildcards.audit].get("claim")
    return study.entries[claim] if claim else None


def audit_checkpoints(wildcards):
    """name -> folder of the audited model and its parents."""
    settings = study.audits[wildcards.audit]
    folders = {parent: directories[parent] for parent in settings["parents"]}
    return folders | checkpoints_of(settings["model"])


def audit_revisions(wildcards):
    settings = study.audits[wildcards.audit]
    return revisions([name for name in [settings["model"], *settings["parents"]] if name in study.models])


def audit_digests(wildcards):
    """name -> the digest of every locked file of a model; a variant that the study publishes itself is not locked."""
    settings = study.audits[wildcards.audit]
    models = [name for name in [settings["model"], *settings["parents"]] if name in study.models]
    return {name: {file: digest(facts) for file, facts in locked[name].files.items()} for name in models}


def audit_labels(wildcards):
    settings = study.audits[wildcards.audit]
    return {name: study.label(name) for name in [settings["model"], *settings["parents"]]}


def audited_shards(wildcards):
    """The tables of all shards of a model; a published variant has its base's."""
    model = audited_model(wildcards)
    files = shards(study.variants[model].base)
    return [f"results/{study.name}/audits/{wildcards.audit}/shards/{file}.parquet" for file in files]


def audit_files(audit):
    files = ["audit.json", "recovered.yaml", "weights.parquet", "lambdas.csv", "deviations.csv", "audit.html"]
    maps = [f"map.{ending}" for ending in ENDINGS]
    return [f"results/{study.name}/audits/{audit}/{file}" for file in files + maps]


# for rules/paper.smk


def claimed_results(wildcards):
    """Everything that claims are tested on, and the document shows."""
    tables = ["scores.parquet", "summary.csv", "transitions.csv", "transition_curves.csv"] if study.asks else []
    audits = [f"audits/{audit}/{file}" for audit in study.audits for file in ("audit.json", "weights.parquet")]
    speed = ["latency.csv"] if LATENCY else []
    results = [f"results/{study.name}/{file}" for file in tables + audits + speed]
    return {"results": results + (DIFFERENCES if study.asks else [])}


def evidence(wildcards):
    """What aoe.claims.evidence.Evidence has to know of the study."""
    figures = study.content.get("figures")
    return {
        "names": study.content.get("claims", {}),
        "sweeps": study.positions(),
        "scores": study.content.get("scores", {}),
        "differences": [figures[key] for key in ("base", "other", "space")] if figures else None,
        "audits": {name: [entry["model"], entry["parents"]] for name, entry in study.audits.items()},
        "timed": LATENCY,
        "models": list(study.models),
        "repositories": {name: locked[name].repo for name in study.models},
    }


def study_facts(wildcards):
    """What the document says of the study itself."""
    serving = study.content.get("serving", {}).get("options")
    return {
        "study": study.name,
        "title": study.content["title"],
        "lock": study.content["lock"],
        "commit": commit(),
        "commands": repeating(),
        "serving": " ".join(command_line(serving)) if serving else None,
        "models": [input_facts(name) for name in study.models],
        "datasets": [input_facts(name) for name in study.datasets],
        "judge": judge_in_words(),
    }


def input_facts(name):
    """Of a model or dataset, as it was locked: label, revision, size, in words."""
    size = locked[name].size(locked[name].needed)
    label = study.label(name) if name in study.models else name
    return {"label": label, "revision": locked[name].revision, "size": size_in_words(size)}


def judge_in_words():
    """The judge, if a benchmark has one."""
    judge = study.content.get("judge")
    if not judge or not JUDGED:
        return None
    return f"{judge['model']}, revision {judge['revision']}" if "endpoint" in judge else study.label(judge["model"])


def size_in_words(size):
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e6:,.1f} MB"


def repeating():
    """The commands that make all of it once more: on one machine, or on a cluster."""
    here = commit()
    checkout = [f"git checkout {here.removesuffix('-dirty')}"] if not here.startswith(UNKNOWN) else []
    gpus = study.content.get("serving", {}).get("gpus")
    with_gpus = f' SDM="--software-deployment-method conda" RESOURCES=gpu={gpus}' if gpus else ""
    alone = f"make run STUDY={study.name}{with_gpus}"
    return "\n".join([*checkout, alone, f"# or: snakemake --profile slurm --config study={study.name}"])


def paper_settings(wildcards):
    """Which variants and norms the document's sentences are about."""
    figures, scores = study.content.get("figures", {}), study.content.get("scores", {})
    labels = {variant: study.label(variant) for variant in LATENCY}
    chosen = {"reference": scores.get("reference"), "intelligence": scores.get("intelligence"), "timed": labels}
    return {**figures, **chosen}


# for rules/preflight.smk


def preflight_file(name):
    return f"results/{study.name}/preflight/{name}"


def preflight_folders():
    """What for -> folder that jobs write to."""
    return {"inputs": os.path.expanduser(config["inputs"]), "results": f"results/{study.name}"}


def preflight_parents():
    """The two models of the mini family that are merged and served instead of the study's own."""
    return {name: str(Path(workflow.basedir) / "resources/mini" / name) for name in ("v3-0324", "r1")}


def judge_elsewhere():
    """The judge's settings if it is an endpoint, which has to be reached."""
    judge = study.content.get("judge", {})
    return judge if JUDGED and "endpoint" in judge else None


def preflight_inputs():
    """name -> arguments of aoe.acquiring.access.check_access, of all that is fetched."""
    return {name: input_access(name, study.inputs[name]) for name in study.sources}


def input_access(name, entry):
    commit_ = locked[name].commit if is_locked(study) and locked else None
    written = entry.get("source") or entry["sources"]
    return {"kind": study.kind(name), "written": written, "patterns": entry.get("files"), "commit": commit_}


def preflight_stages():
    """stage -> the checks that it depends on, or None if the study does not have it."""
    stages = checks_of(workflow, slurm=not workflow.local_exec)
    used = {"fetch": study.sources, "diff": study.compared(), "merge": PLANNED, "audit": study.audits}
    return {stage: checks if used.get(stage, True) else None for stage, checks in stages.items()}


def preflight_needs():
    """folder -> bytes that are still to come; None as long as nobody knows."""
    inputs, results = os.path.expanduser(config["inputs"]), f"results/{study.name}"
    if not locked:
        return {inputs: None, results: None}
    cost = estimate(study, locked)
    missing = sum(
        locked[name].files[file]["size"]
        for name in study.sources
        for file in locked[name].needed
        if not Path(directories[name], file).exists()
    )
    return {inputs: missing, results: int(cost.disk - sum(cost.fetched.values()))}


def preflight_plan():
    """What scripts/launcher/preflight.py has to know; see there."""
    last = 1 + (workflow.execution_settings.retries or 0)
    return {
        "study": study.name,
        "title": study.content["title"],
        "folder": preflight_file(""),
        "command": sys.orig_argv,
        "conda": bool(workflow.deployment_settings.deployment_method),
        "stages": preflight_stages(),
        "asked": asked_by(workflow, attempt=1),
        "asked_last": asked_by(workflow, attempt=last),
        "unready": unready,
        "jobs": PREFLIGHT_JOBS,
        "needed": preflight_needs(),
    }


# for rules/crate.smk, and rule all


def finished_study(wildcards):
    """Every file of a study that is kept.

    All are targets: a product that an interrupted job took away would otherwise not be missed while what was once made
    from it is still there.
    """
    documents = [
        *(f"plans/{variant}.json" for variant in PLANNED),
        *(f"scores/{variant}.parquet" for variant in ASKED),
        *TABLES,
        *(f"figures/{figure}.{ending}" for figure in FIGURES for ending in ENDINGS),
        *DOCUMENTS,
    ]
    return [
        *all_records(wildcards),
        *receipts(study.inputs),
        *difference_tables(),
        *DIFFERENCES,
        *(file for variant in PUBLISHED for file in merged_files(variant)),
        *(file for variant in ASKED for file in answer_files(variant)),
        *(file for audit in study.audits for file in audit_files(audit)),
        *(f"results/{study.name}/{document}" for document in documents),
    ]
