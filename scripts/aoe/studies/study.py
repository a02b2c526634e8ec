"""Studies: the models, variants, sweeps and benchmarks of one experiment, read from ``config/studies/{name}.yaml``."""

import difflib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from aoe import AoeError
from aoe.acquiring.lock import LockError
from aoe.acquiring.sources import FolderSource, open_source, sources_in
from aoe.benchmarks import JUDGE, graded_by, title_of
from aoe.files.configuration import read_yaml
from aoe.files.schema import check_schema, of_another_type
from aoe.merging.recipe import read_recipe
from aoe.merging.selection import read_check
from aoe.serving.pins import unpinned
from aoe.serving.servable import check_settings
from aoe.serving.server import OWN_OPTIONS, OWN_VARIABLES

ASKING = ("benchmarks", "scores", "figures", "serving")  # what it takes to ask the variants anything
LONGEST = 255 - len(".json.partial")  # bytes of a name: file systems take 255, of which endings need some
BESIDE = ("config_from", "config", "tokenizer_from")  # what a recipe says of the files beside its weights
FEWEST_POSITIONS = 4  # different λ2 that a sweep needs for a transition to be fitted


@dataclass(frozen=True)
class Point:
    """One position of a sweep: λ2 (the weight of the second parent), δ, and the variant that stands there."""

    lambda2: float
    delta: float
    variant: str


@dataclass(frozen=True)
class Study:
    """``models`` (name -> label, source, path), ``datasets`` (name -> source and files, or sources, path), ``variants``
    (name -> Recipe), ``entries`` (name -> the recipe as written), ``sweeps`` (name -> [Point]), and ``content``, the
    study file as it stands."""

    name: str
    models: dict
    datasets: dict
    variants: dict
    entries: dict
    sweeps: dict
    content: dict

    def label(self, variant):
        """How figures and tables call a variant."""
        if variant in self.models:
            return self.models[variant]["label"] or variant
        return self.content.get("variants", {}).get(variant, {}).get("label") or variant

    @property
    def inputs(self):
        """name -> entry of everything that is locked: the models and the datasets."""
        return self.models | self.datasets

    @property
    def sources(self):
        """name -> [{"source", "files"}] of the models and datasets that are fetched; the others lie where the study
        says."""
        return {name: sources_in(entry) for name, entry in self.inputs.items() if sources_in(entry)}

    def kind(self, name):
        """Whether a name is one of the ``models`` or of the ``datasets``."""
        return "models" if name in self.models else "datasets"

    def directory(self, name, locked, inputs):
        """Where a model's or dataset's files lie: the study's path, or a folder of their revision below ``inputs``.

        Raises AoeError if the study's source is not the repository, or the commit, that was locked.
        """
        entry = self.inputs[name]
        if name in self.sources:
            check_locked(name, self.sources[name], locked)
        return os.path.expanduser(entry.get("path") or f"{inputs}/{locked.repo or name}/{locked.short_revision}")

    @property
    def reference(self):
        """The model whose output tokens are an inference cost of 1 [paper, section 4.2]."""
        return self.content["scores"]["reference"]

    @property
    def named(self):
        """The variants that the study file spells out: the models, and the recipes that belong to no sweep."""
        return [*self.models, *self.content.get("variants", {})]

    def pairs(self):
        """(variant, other) of every variant and each of those that the study file spells out."""
        order = list(self.variants)
        return [(v, other) for other in self.named for v in order if v not in self.named[: self.named.index(other) + 1]]

    def positions(self, over_lambda2=False):
        """sweep -> list of {lambda2, delta, variant}; over_lambda2: only sweeps with enough λ2 to fit a transition."""
        return {
            sweep: [vars(point) for point in points]
            for sweep, points in self.sweeps.items()
            if not over_lambda2 or len({point.lambda2 for point in points}) >= FEWEST_POSITIONS
        }

    def table(self):
        """One dict a variant: its name, label and recipe in words."""
        return [
            {"variant": variant, "label": self.label(variant), **recipe.describe()}
            for variant, recipe in self.variants.items()
        ]

    def published(self, variant):
        """Whether the variant is written out as a checkpoint, rather than merged while loading."""
        return self.variants[variant].publish

    @property
    def audits(self):
        """name -> {model, parents, …} of what is audited."""
        return self.content.get("audits", {})

    @property
    def asks(self):
        """Whether the variants are served and asked; a study may do nothing but audit."""
        return "benchmarks" in self.content

    def together(self):
        """Pairs of models that have to fit together: those that a variant combines, and an audit's parents."""
        audited = [(entry["parents"][0], parent) for entry in self.audits.values() for parent in entry["parents"][1:]]
        return list(dict.fromkeys([*self.compared(), *audited]))

    def unions(self):
        """What aoe.acquiring.together.check needs: models that are mixed, audited, or count each other's tokens."""
        found = {}
        for variant, recipe in self.variants.items():
            if len(recipe.parents) > 1:
                said = {"config_from": recipe.config_from, "config": sorted(recipe.config)}
                union = {"models": recipe.parents, **said, "tokenizer_from": recipe.tokenizer_from, "mixed": True}
                found.setdefault(str(union), {"who": f"The variant {variant}", **union})
        for name, entry in self.audits.items():
            models = [model for model in [*entry["parents"], entry["model"]] if model in self.models]
            found[name, "audit"] = {"who": f"The audit {name}", "models": models, "mixed": False}
        if self.asks:
            models = [self.reference, *(model for model in self.models if model != self.reference)]
            found["scores"] = {"who": "The count of tokens", "models": models, "mixed": False}
        return list(found.values())

    def compared(self):
        """(base, parent) pairs whose differences are measured: every pair that some variant combines."""
        pairs = {(r.base, parent): None for r in self.variants.values() for parent in r.parents if parent != r.base}
        return list(pairs)


def read_study(name, folder, schema):
    """The Study of ``folder/{name}.yaml``; its title and labels are on one line each.

    folder: path of the study files; schema: the study schema as a dict.  Raises AoeError for an unknown study, a key or
    value that the schema refuses (named by its place), or a recipe that makes no sense (named by its variant).
    """
    path = Path(folder) / f"{name}.yaml"
    content = read_content(name, path)
    check_schema(content, schema, path)
    _join_lines(content, path)
    study = _in_file(path, _build, name, content)
    _check_references(study, path)
    return study


def read_content(name, path, extending=()):
    """What the study file ``path`` says; where it ``extends`` another study, that one's keys and, instead, its own.

    Raises AoeError if a study is not there, is no YAML, or extends itself.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise AoeError(f"There is no study {name!r} in {path.parent}; there are {known}.{_renamed(name, path)}")
    try:
        content = read_yaml(path)
    except OSError as error:
        raise AoeError(f"{path} cannot be read ({error.strerror}).") from error
    if content is None:
        raise AoeError(f"{path} is empty; config/README.md says what a study has.")
    if not isinstance(content, dict) or "extends" not in content:
        return content
    other = content.pop("extends")
    if not isinstance(other, str):
        raise AoeError(f"{path}: at extends: {of_another_type(other, 'string', path, ['extends'])}.")
    if Path(other).name != other:
        raise AoeError(
            f"{path}: at extends: {other!r} is no name of a study; write the name of a file beside this one."
        )
    if other in (name, *extending):
        raise AoeError(f"{path}: extends: {other} is extended by itself.")
    extended = read_content(other, path.with_name(f"{other}.yaml"), (name, *extending))
    if not isinstance(extended, dict):
        raise AoeError(f"{path}: extends: {other} is no study, as it has no keys.")
    return extended | content


def _renamed(name, path):
    """A hint for a study that is not there, because it is called by another ending or spelling."""
    stem = name.removesuffix(".yaml").removesuffix(".yml")
    if stem != name and path.with_name(f"{stem}.yaml").is_file():
        return f" Write {stem}, without the ending."
    if path.with_suffix(".yml").is_file():
        return f" Rename {name}.yml to {name}.yaml."
    close = difflib.get_close_matches(name, [file.stem for file in path.parent.glob("*.yaml")], 1)
    return f" Perhaps you mean {close[0]}." if close else ""


def _join_lines(content, path):
    """Put the title and all labels on one line.  Raises AoeError if one has a character that no page can show."""
    shown = [("title", content, "title")]
    for kind in ("models", "variants"):
        shown += [(f"{kind}.{name}.label", entry, "label") for name, entry in content.get(kind, {}).items()]
    for place, entry, key in shown:
        if key not in entry:
            continue
        try:  # JSON writes what is beyond the basic plane as two halves
            whole = entry[key].encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise AoeError(f"{path}: at {place}: half a character (a lone surrogate) cannot be shown.") from error
        entry[key] = " ".join(whole.split())
        for character in entry[key]:
            if unicodedata.category(character) == "Cc":
                raise AoeError(
                    f"{path}: at {place}: the control character U+{ord(character):04X} cannot be shown; leave it out."
                )


def check_locked(name, parts, locked):
    """Raises LockError if a study's sources of a model or dataset are others, or name other commits, than the lock.

    parts: [{"source", …}] as the study writes them.  A folder may hold what was locked from elsewhere.
    """
    origins = {facts["from"] for facts in locked.files.values() if "from" in facts}
    for part in parts:
        source = open_source(part["source"], f"{locked.kind}.{name}")
        if isinstance(source, FolderSource):
            continue
        if source.repo and len(parts) == 1:
            known = source.repo == locked.repo and source.asked in (locked.asked, locked.commit)
        else:
            known = any(origin == source.origin("") or _is_below(origin, source) for origin in origins)
        if known:
            continue
        there = f"{locked.repo} at {locked.asked}" if locked.repo else ", ".join(sorted(origins)) or "a folder"
        told = f"{source.repo} at {source.asked}" if source.repo else source
        raise LockError(f"The study's source of {name} is {told}, but the lock has {there}; lock anew.")


def _is_below(origin, source):
    """Whether a locked file comes from a folder of the web."""
    return source.origin("").endswith("/") and origin.startswith(source.origin(""))


def _build(name, content):
    models = content["models"]
    entries = {model: {"base": model, "weights": {model: 1}} for model in models}
    for variant, entry in content.get("variants", {}).items():
        if variant in models:
            raise AoeError(f"The variant {variant} has the name of a model.")
        entries[variant] = entry
    variants = {variant: read_recipe(variant, entry, models) for variant, entry in entries.items()}
    sweeps = {}
    for sweep, entry in content.get("sweeps", {}).items():
        sweeps[sweep] = list(_sweep_points(sweep, entry, models, variants, entries))
    datasets = content.get("datasets", {})
    _check_lengths([*variants, *datasets, *content.get("audits", {})])
    for dataset in datasets.keys() & models.keys():
        raise AoeError(f"The dataset {dataset} has the name of a model.")
    for origin, entry in (models | datasets).items():
        _check_sources(origin, entry)
    return Study(name, models, datasets, variants, entries, sweeps, content)


def _check_lengths(names):
    """Raises AoeError for a name that files cannot be called by, with the endings that they have."""
    for name in names:
        if len(name.encode()) > LONGEST:
            raise AoeError(
                f"The name {name[:40]}… has {len(name.encode())} characters; files are called by it, so it can be at "
                f"most {LONGEST} long."
            )


def _in_file(path, function, *arguments):
    """What a function returns; an AoeError of its then begins with the study file."""
    try:
        return function(*arguments)
    except AoeError as error:
        raise AoeError(f"{path}: {error}") from error


def _check_sources(name, entry):
    """Raises AoeError if an entry says too little, or two things, of where a model or dataset is."""
    if not entry.keys() & {"source", "sources", "path"}:
        raise AoeError(f"{name} says neither where it lies (path) nor where it comes from (source).")
    if "sources" in entry and entry.keys() & {"source", "files"}:
        raise AoeError(f"{name} has `sources`, each with its own `files`; leave out `source` and `files` beside them.")
    for part in entry.get("sources", []):
        source = open_source(part["source"], name)
        if source.repo and not source.commit:
            raise AoeError(f"{name}: {source.repo}, one of its `sources`, needs a commit instead of {source.asked!r}.")


def _check_references(study, path):
    """Raises AoeError if a part of the study is missing, or names something that the study doesn't have."""
    references = [*_audit_references(study)]
    known = [*study.variants, *study.sweeps, *study.audits]
    references += [(f"claims.{role}", name, known) for role, name in study.content.get("claims", {}).items()]
    missing = [key for key in ASKING if key not in study.content]
    if missing and not (study.audits and len(missing) == len(ASKING)):
        raise AoeError(f"{path}: {missing[0]} is missing; only a study that does nothing but audits can do without.")
    if study.asks:
        references += _asking_references(study, path)
    for key, value, known in references:
        if value not in known:
            raise AoeError(f"{path}: {key} names {value!r}, which the study does not have ({', '.join(known)}).")
    if study.asks:
        _check_options(study, path)
        _check_figures(study, path)
    for name, entry in study.audits.items():
        for check, settings in entry.get("checks", {}).items():
            _in_file(path, read_check, f"audits.{name}.checks.{check}", settings)
        if entry["model"] in entry["parents"]:
            raise AoeError(f"{path}: audits.{name} has {entry['model']} as a parent of itself.")
        claimed = study.variants[entry["claim"]].parents if "claim" in entry else []
        sources = {check["from"]: f"the check {what!r}" for what, check in entry.get("checks", {}).items()}
        for parent, whose in (dict.fromkeys(claimed, "the claimed recipe") | sources).items():
            if parent not in entry["parents"]:
                raise AoeError(f"{path}: audits.{name} lacks the parent {parent}, which {whose} names.")


def _audit_references(study):
    """(key, value, what it may be) of what audits name."""
    published = [variant for variant in study.variants if study.published(variant)]
    for name, entry in study.audits.items():
        yield f"audits.{name}.model", entry["model"], [*study.models, *published]
        for parent in entry["parents"]:
            yield f"audits.{name}.parents", parent, study.models
        if "claim" in entry:
            yield f"audits.{name}.claim", entry["claim"], study.variants


def _asking_references(study, path):
    """(key, value, what it may be) of what benchmarks, scores and figures name."""
    scores, figures = study.content["scores"], study.content["figures"]
    judge = study.content.get("judge")
    judged = graded_by(study.content["benchmarks"], JUDGE)
    if judged and not judge:
        raise AoeError(f"{path}: {title_of(judged[0])} needs a judge; say which in `judge`.")
    return [
        ("scores.reference", scores["reference"], study.models),
        ("figures.base", figures["base"], study.models),
        ("figures.other", figures["other"], study.models),
        *(("figures.assembled", name, study.variants) for name in [figures.get("assembled")] if name),
        *(("figures.threshold", name, study.sweeps) for name in [figures.get("threshold")] if name),
        *(
            (f"benchmarks.{name}.dataset", entry["dataset"], study.datasets)
            for name, entry in study.content["benchmarks"].items()
            if "dataset" in entry
        ),
        *(("scores.intelligence", benchmark, study.content["benchmarks"]) for benchmark in scores["intelligence"]),
        *((f"latency.{key}", name, known) for key, names, known in _latency_references(study) for name in names),
        *(("judge.model", judge["model"], study.variants) for judge in [judge] if judge and "endpoint" not in judge),
    ]


def _latency_references(study):
    """(key, what it names, what it may be) of the section ``latency``."""
    latency = study.content.get("latency")
    if latency:
        yield "variants", latency["variants"], study.variants
        yield "benchmark", [latency["benchmark"]], study.content["benchmarks"]


def _check_options(study, path):
    """Raises AoeError if a server would be told something else than what its jobs believe of it."""
    for section in ("serving", "latency"):
        for option in study.content.get(section, {}).get("options", {}):
            if option in OWN_OPTIONS:
                raise AoeError(f"{path}: {section}.options: {option} is what the workflow itself sets; leave it out.")
    for variable in OWN_VARIABLES:
        if variable in study.content["serving"].get("environment", {}):
            raise AoeError(f"{path}: serving.environment: {variable} is what the workflow itself sets; leave it out.")
    try:
        check_settings(study)
    except AoeError as error:
        raise AoeError(f"{path}: {error}") from error
    if missing := unpinned(study.content["serving"]):
        raise AoeError(
            f"{path}: {missing} is missing; vLLM would choose by GPU and release, so say it here "
            "(config/README.md, serving, has what to say)."
        )


def _check_figures(study, path):
    """Raises AoeError if GPUs cannot be spread, or a figure would have no data."""
    serving, figures = study.content["serving"], study.content["figures"]
    nodes = serving.get("nodes", 1)
    if serving["gpus"] % nodes:
        raise AoeError(f"{path}: serving.gpus: {serving['gpus']} GPUs cannot be spread evenly over {nodes} nodes.")
    if "threshold" in figures and "delta" not in study.content["sweeps"][figures["threshold"]]:
        raise AoeError(f"{path}: figures.threshold names {figures['threshold']!r}, which is a sweep without delta.")
    if (figures["base"], figures["other"]) not in study.compared():
        raise AoeError(f"{path}: no variant combines figures.base and figures.other, so figures 2 and 3 have no data.")


def _sweep_points(sweep, settings, models, variants, entries):
    """The points of a sweep; a recipe that another variant already has is not assembled twice."""
    base, other = settings["base"], settings["other"]
    for lambda2 in dict.fromkeys(settings["lambda2"]):  # a value that is given twice is one point
        for delta in dict.fromkeys(settings.get("delta", [0])):
            name = f"{sweep}-{delta if 'delta' in settings else lambda2:g}"
            entry = {"base": base, "weights": {base: 1 - lambda2, other: lambda2}, "subset": settings.get("subset", {})}
            entry |= {key: settings[key] for key in BESIDE if key in settings}
            if "delta" in settings:
                entry["threshold"] = {"delta": delta, "space": settings["space"]}
            recipe = read_recipe(f"{name} of the sweep {sweep}", entry, models)
            same = [known for known in variants if variants[known].canonical() == recipe.canonical()]
            if not same and name in variants:
                raise AoeError(
                    f"sweeps.{sweep} would give two recipes the name {name}; a sweep over δ has one λ2, and no variant "
                    "has the name of another sweep's point."
                )
            if not same:
                variants[name], entries[name] = recipe, entry
            yield Point(float(lambda2), float(delta), same[0] if same else name)
