"""Provenance: a finished study in one file, a Workflow Run RO-Crate.

The crate is a ZIP archive of the workflow, of what it was told (configs, lock) and of what it made (results, raw
answers, logs).  ``ro-crate-metadata.json`` in it says what every file is, with its size and SHA-256, and what was run
to make the results: on which models, when, with which releases of which software.  Weights are named there, with sizes,
digests and revisions, but are not in the archive: a study's may have terabytes.  The same files give the same bytes.
"""

import hashlib
import json
import os
import re
import stat
import zipfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import zipfile_zstd  # noqa: F401 - lets zipfile read Inspect's logs
from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate
from aoe import AoeError, __version__
from aoe.acquiring.lock import INPUT_KINDS, UNFINISHED, WEIGHTS, kind_of, read_lock
from aoe.files.configuration import read_yaml
from aoe.files.replacing import replacing
from aoe.nodes.machine import UNKNOWN
from aoe.studies.study import read_content

# what the workflow consists of, beside the study's own files
WORKFLOW = ["Snakefile", "rules", "scripts", "envs", "profiles", "report", "config", "requirements.lock", "Makefile"]
WORKFLOW += ["docs/benchmarks.json", "resources/deepseek-v3", "README.md", "LICENSE", "CITATION.cff"]
SPECIFICATION = "1.1"  # of RO-Crate; the profiles are made for it
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # RO-Crate 1.1 itself has no word for a SHA-256
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"  # of the workflow itself
HUB = "https://huggingface.co"  # the Hub itself, whichever mirror the files came from
FORMATS = {
    ".cff": "application/yaml",
    ".css": "text/css",
    ".csv": "text/csv",
    ".eval": "application/zip",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".rst": "text/x-rst",
    ".sh": "text/x-shellscript",
    ".smk": "text/x-python",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
    **dict.fromkeys(["", ".j2", ".lock", ".log", ".toml", ".txt", ".typ"], "text/plain"),
}
OTHER = "application/octet-stream"
BINARY = {".eval", ".parquet", ".pdf", ".png"}  # these are compressed already
# what an interrupted job goes on with, and what this machine alone can use
LOCAL = {"receipts", "unfinished", "__pycache__"}
SECRET_NAME = re.compile(r"(^|[._-])(token|secrets?|credentials?|passwords?|netrc|id_rsa)([._-]|$)|\.(pem|key)$")
SECRET = rb"\bhf_\w{30,}|\bsk-[\w-]{32,}|\bgh[pousr]_\w{36}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
SECRET_VARIABLE = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
SHORTEST_SECRET = 12  # characters of a variable's value
READ_BYTES = 1 << 20  # at a time
NOT_SOFTWARE = {"workflow", "machine"}  # what audits say beside the releases of their software


def write_crate(path, study, snakemake, folder=".", agent=None, without=()):
    """Pack a finished study; the archive appears at ``path`` when it is complete.

    study: its name; snakemake: the release that ran it; folder: of the workflow, with ``results/{study}`` in it; agent:
    the name of who ran it; without: files that are being written while this one is.  Returns sentences on what was
    packed, and on what was not.  Raises AoeError if the study, its lock or its results are missing, or hold a key.
    """
    folder, study_file = Path(folder), f"config/studies/{study}.yaml"
    content = read_content(study, folder / study_file)
    lock = os.path.relpath(folder / content["lock"], folder)
    if lock.startswith(".."):
        raise AoeError(f"The lock {lock} lies outside of the workflow; put it into config/studies, and name it there.")
    locked = read_lock(folder / lock, {kind: content.get(kind, {}) for kind in INPUT_KINDS})
    made, weights = _files(folder, [f"results/{study}"], [path, *without])
    if not made:
        raise AoeError(f"{folder}/results/{study} has no results; run the study {study!r} before it is packed.")
    given, _ = _files(folder, [*WORKFLOW, lock])
    secret = _secrets(os.environ)
    leaking = [name for name in dict.fromkeys([*given, *made]) if _holds_key(folder / name, secret)]
    for name in leaking:
        if name in ("Snakefile", study_file, lock):
            raise AoeError(f"{folder / name} holds what looks like a key; take it out before the study is packed.")
    given, made = ([name for name in names if name not in leaking] for names in (given, made))
    description = _Description(folder, study, content | {"lock": lock}, locked, leaking)
    with _archive(path) as archive:
        facts = {name: _put(archive, name, folder / name) for name in dict.fromkeys([*given, *made])}
        metadata = description.metadata(facts, made, weights, snakemake, agent)
        archive.writestr(_entry("ro-crate-metadata.json"), json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")
    size = Path(path).stat().st_size
    return [
        f"{len(facts)} files, {len(metadata['@graph'])} entities, {size / 1e6:.1f} MB.",
        *(f"{name} was left out: it looks like a key, or holds one." for name in leaking),
    ]


class _Description:
    """What is said of a study's files, in the words of RO-Crate."""

    def __init__(self, folder, study, content, locked, leaking):
        self.folder, self.study, self.content, self.locked, self.leaking = folder, study, content, locked, leaking
        self.crate = ROCrate(version=SPECIFICATION)
        self.crate.metadata.extra_contexts.append(TERMS)

    def metadata(self, facts, made, weights, snakemake, agent):
        """The content of ro-crate-metadata.json.

        facts: name -> {"contentSize", "sha256"} of every file in the archive; made: those of them that the run made;
        weights: those of its files that stay where they are.
        """
        citation = _read_yaml(self.folder / "CITATION.cff", "The workflow says nothing of its authors")
        start, end = _times(self.folder, made)
        self._describe_whole(citation, end)
        workflow = self._workflow(facts["Snakefile"], citation, snakemake)
        files = {name: self._file(name, facts[name]) for name in facts if name != "Snakefile"}
        if "README.md" in files:
            files["README.md"]["about"] = self.crate.root_dataset
        models = {name: self._locked(entry, end) for name, entry in self.locked.items()}
        merged = self._merged(files, weights, models)
        told = [f"config/studies/{self.study}.yaml", "config/config.yaml", self.content["lock"], "requirements.lock"]
        logs = [name for name in made if name.startswith(f"results/{self.study}/logs/")]
        run = self.crate.add_action(
            workflow,
            "#run",
            object=[*(files[name] for name in told if name in files), self._chosen(workflow), *models.values()],
            result=[*(files[name] for name in made if name not in logs), *merged],
            properties={
                "name": f"The run of the study {self.study}",
                "description": f"Snakemake made the results by the recipes and questions in {told[0]}.",
                "startTime": start,
                "endTime": end,
                "actionStatus": "http://schema.org/CompletedActionStatus",
                "agent": self._add("#operator", "Person", name=agent or "not named"),
            },
        )
        for name in logs:
            files[name]["about"] = run
        machines = self._describe_circumstances(workflow, snakemake)
        self.crate.root_dataset["mentions"] = [run, *models.values(), *merged, *machines]
        return _compacted(self.crate.metadata.generate())

    def _add(self, identifier, kind, **properties):
        return self.crate.add(ContextEntity(self.crate, identifier, properties={"@type": kind, **properties}))

    def _describe_whole(self, citation, end):
        root = self.crate.root_dataset
        root["name"] = f"{self.content['title']} (the study {self.study})"
        root["description"] = (
            "A run of the Assembly of Experts workflow: the workflow, its configuration and locks, and the results, "
            "raw answers and logs. Weights are named, with sizes, digests and revisions, but are not included."
        )
        if self.leaking:
            root["description"] += f" Left out, as they look like keys or hold some: {', '.join(self.leaking)}."
        root.datePublished = end
        root["license"] = self._add(
            f"https://spdx.org/licenses/{citation['license']}",
            "CreativeWork",
            name=citation["license"],
            description="The license of the workflow; models and datasets have their own.",
        )
        root["author"] = [self._author(number, author) for number, author in enumerate(citation["authors"], 1)]
        root["conformsTo"] = [
            self._add(identifier, "CreativeWork", name=name, version=version)
            for identifier, (name, version) in PROFILES.items()
        ]

    def _author(self, number, author):
        """An author of CITATION.cff: a group has a name, a person has several."""
        kind = "Organization" if "name" in author else "Person"
        name = author.get("name") or f"{author['given-names']} {author['family-names']}"
        others = {"url": author["website"]} if "website" in author else {}
        return self._add(f"#author-{number}", kind, name=name, **others)

    def _workflow(self, facts, citation, snakemake):
        page = {"url": citation["repository-code"]} if "repository-code" in citation else {}
        return self.crate.add_workflow(
            dest_path="Snakefile",
            main=True,
            lang="snakemake",
            lang_version=snakemake,
            properties={
                "name": citation["title"],
                "version": __version__,
                "encodingFormat": "text/x-python",
                "conformsTo": {"@id": BIOSCHEMAS},
                "license": self.crate.root_dataset["license"],
                **page,
                **facts,
            },
        )

    def _file(self, name, facts):
        return self.crate.add_file(dest_path=name, properties={"name": name, "encodingFormat": _format(name), **facts})

    def _chosen(self, workflow):
        """What a run is told beside its files: which study."""
        parameter = self.crate.add_formal_parameter("study", "Text", "#parameter-study", valueRequired=True)
        workflow["input"] = parameter
        return self._add("#study", "PropertyValue", name="study", value=self.study, exampleOfWork=parameter)

    def _locked(self, entry, end):
        """A model or dataset as it was locked, with its files, none of which is in the archive."""
        kind, files = "" if entry.kind == "models" else "datasets/", []
        for name in entry.needed:
            facts = entry.files[name]
            properties = {"name": name, "contentSize": str(facts["size"]), "encodingFormat": _format(name)}
            if kind_of(facts) == "sha256":
                properties["sha256"] = facts["sha256"]
            else:
                properties["identifier"] = f"gitoid:blob:sha1:{facts['git']}"  # the URI of a blob in git
            place = _address(facts.get("from", ""), name)
            if entry.repo:
                place = f"{HUB}/{kind}{entry.repo}/resolve/{entry.commit}/{quote(name)}"
            if place:
                files.append(self.crate.add_file(place, properties=properties | {"sdDatePublished": end}))
            else:
                files.append(self._add(f"#{entry.kind}/{quote(entry.name)}/{quote(name)}", "File", **properties))
        page = {"url": f"{HUB}/{kind}{entry.repo}/tree/{entry.commit}"} if entry.repo else {}
        return self._add(
            f"#{entry.kind}/{quote(entry.name)}",
            "Collection",
            name=self.content[entry.kind][entry.name].get("label", entry.name),
            version=entry.revision,
            hasPart=files,
            mainEntity=next((file for file in files if file["name"] == "config.json"), files[0]),
            **page,
        )

    def _merged(self, files, weights, models):
        """The published variants: their small files are in the archive, their shards are not."""
        entities = []
        for recipe in [name for name in files if re.fullmatch(r"results/[^/]+/merged/[^/]+/recipe\.json", name)]:
            folder, provenance = (
                recipe.removesuffix("recipe.json"),
                json.loads((self.folder / recipe).read_text(encoding="utf-8")),
            )
            shards = [
                self._add(
                    f"#{quote(name)}",
                    "File",
                    name=name,
                    encodingFormat=_format(name),
                    contentSize=str((self.folder / name).stat().st_size),
                )
                for name in weights
                if name.startswith(folder)
            ]
            entities.append(
                self._add(
                    f"#{quote(folder.removesuffix('/'))}",
                    "Collection",
                    name=provenance["recipe"].get("label", provenance["variant"]),
                    description="A published variant; recipe.json and its parents' files determine its bytes.",
                    hasPart=[*(file for name, file in files.items() if name.startswith(folder)), *shards],
                    mainEntity=files[recipe],
                    isBasedOn=[models[parent] for parent in provenance["parents"] if parent in models],
                )
            )
        return entities

    def _describe_circumstances(self, workflow, snakemake):
        """Name the commits and releases that the results say they were made with; returns the machines they name."""
        results, commits, machines = self.folder / "results" / self.study, set(), {}
        used = [{"snakemake": snakemake}]
        for path in sorted(results.glob("audits/*/audit.json")):
            used.append(json.loads(path.read_text(encoding="utf-8")).get("software", {}))
        for path in sorted(results.glob("answers/*/*.eval")):
            asked = _header(path)["eval"]
            used.append(asked.get("packages", {}))
            revision = asked.get("revision") or {}
            if "commit" in revision and not path.with_name("machine.json").exists():
                commits.add(revision["commit"] + ("-dirty" if revision.get("dirty") else ""))
        for path in sorted(results.glob("answers/*/machine.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            used.append(found.get("software", {}))
            if not (found.get("commit") or UNKNOWN).startswith(UNKNOWN):
                commits.add(found["commit"])
            if "machine" in found:
                words = "; ".join(f"{key}: {value}" for key, value in found["machine"].items())
                machines.setdefault(words, len(machines) + 1)
        # inspect_ai and inspect-ai are one package
        releases = {(name.lower().replace("_", "-"), str(release)) for found in used for name, release in found.items()}
        workflow["softwareRequirements"] = [
            self._release(name, release) for name, release in sorted(releases) if name not in NOT_SOFTWARE
        ]
        if commits:
            workflow["identifier"] = sorted(commits)
        return [
            self._add(f"#machine-{number}", "IndividualProduct", name=f"Machine {number}", description=words)
            for words, number in machines.items()
        ]

    def _release(self, name, release):
        url = f"pkg:{'generic' if name == 'python' else 'pypi'}/{quote(name)}@{quote(release)}"  # a package URL
        return self._add(url, "SoftwareApplication", name=name, softwareVersion=release, url=url)


def _compacted(metadata):
    """A list of one thing is written as the thing, as RO-Crate recommends."""
    graph = [
        {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}
        for entity in metadata["@graph"]
    ]
    return metadata | {"@graph": graph}


def _files(folder, places, without=()):
    """(files, weights): the names, below the folder, of the finished files in some places, in a fixed order."""
    without = {os.path.abspath(path) for path in without}
    found = [name for place in places for name in _below(folder, place)]
    found = [name for name in found if os.path.abspath(folder / name) not in without]
    return tuple([name for name in found if (Path(name).suffix in WEIGHTS) == weights] for weights in (False, True))


def _below(folder, place):
    """The names of the files at a place, without hidden ones, unfinished ones, and this machine's own."""
    if (folder / place).is_file():
        yield place
    for parent, folders, names in os.walk(folder / place):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LOCAL)
        for path in [Path(parent, name) for name in sorted(names)]:
            if path.is_file() and not path.name.startswith(".") and path.suffix not in UNFINISHED:
                yield path.relative_to(folder).as_posix()


def _secrets(environment):
    """What a key looks like: of the usual forms, and those that this process was given."""
    given = [
        value.encode()
        for name, value in environment.items()
        if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET
    ]
    return re.compile(b"|".join([SECRET, *map(re.escape, given)]))


def _holds_key(path, secret):
    if SECRET_NAME.search(path.name.lower()):
        return True
    if path.suffix == ".eval":
        return bool(secret.search(json.dumps(_header(path)).encode()))
    if path.suffix in BINARY or _format(path.name) == OTHER:
        return False
    with path.open("rb") as file:
        return any(secret.search(line) for line in file)


def _header(path):
    """The header of an Inspect log: what was asked, of which model, with which releases."""
    try:
        with zipfile.ZipFile(path) as log:
            return json.loads(log.read("header.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise AoeError(f"{path} is no finished Inspect log ({error}); answer its questions again.") from error


def _times(folder, made):
    """(start, end) of the run: when its first log and its last file were written."""
    times = {name: int((folder / name).stat().st_mtime) for name in made}
    first = min((time for name, time in times.items() if "/logs/" in name), default=min(times.values()))
    return tuple(datetime.fromtimestamp(time, UTC).isoformat() for time in (first, max(times.values())))


@contextmanager
def _archive(path):
    """A new ZIP archive, which has its name only when it is complete."""
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        yield archive


def _put(archive, name, path):
    """Copy a file into the archive; {"contentSize", "sha256"} of what was copied."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file, archive.open(_entry(name, os.fstat(file.fileno())), "w") as packed:
        while piece := file.read(READ_BYTES):
            packed.write(piece)
            digest.update(piece)
            size += len(piece)
    return {"contentSize": str(size), "sha256": digest.hexdigest()}


def _entry(name, facts=None):
    """A file's entry in the archive; without its times, which say nothing of what is in it."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix in BINARY else zipfile.ZIP_DEFLATED
    entry.file_size = facts.st_size if facts else 0
    entry.external_attr = (stat.S_IFREG | (0o755 if facts and facts.st_mode & stat.S_IXUSR else 0o644)) << 16
    return entry


def _address(origin, name):
    """Where a locked file from somewhere else than its entry's repository can be had, or None if only in a folder."""
    if not origin.startswith("hf://"):
        return origin if origin.startswith("https://") else None
    repo, _, commit = origin.removeprefix("hf://").rpartition("@")
    return f"{HUB}/{repo}/resolve/{commit}/{quote(name)}"


def _format(name):
    return FORMATS.get(Path(name).suffix, OTHER)


def _read_yaml(path, otherwise):
    try:
        return read_yaml(path)
    except OSError as error:
        raise AoeError(f"{otherwise}: {path} cannot be read ({error.strerror}).") from error
