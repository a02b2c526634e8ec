"""The metadata of a crate: every file of a study, and the run that made its results, in the words of RO-Crate."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate
from aoe import AoeError, __version__
from aoe.acquiring.lock import Locked, kind_of
from aoe.document.crate_files import format_of, log_header
from aoe.files.configuration import read_yaml
from aoe.nodes.machine import UNKNOWN

SPECIFICATION = "1.1"  # of RO-Crate; the profiles are made for it
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # RO-Crate 1.1 itself has no word for a SHA-256
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"  # of the workflow itself
HUB = "https://huggingface.co"  # the Hub itself, whichever mirror the files came from
NOT_SOFTWARE = {"workflow", "machine"}  # what audits say beside the releases of their software


class Packed(TypedDict):
    """A file in the archive: its size in bytes, as a text, and its digest."""

    contentSize: str
    sha256: str


class Description:
    """The description of a study's files in the words of RO-Crate.

    folder: of the workflow; study: its name; content: of the study file, with the lock's path in the folder; locked:
    name -> Locked; leaking: names of files that are left out, as they look like keys.
    """

    def __init__(
        self, folder: Path, study: str, content: dict[str, Any], locked: dict[str, Locked], leaking: list[str]
    ) -> None:
        self.folder, self.study, self.content, self.locked, self.leaking = folder, study, content, locked, leaking
        self.crate = ROCrate(version=SPECIFICATION)
        self.crate.metadata.extra_contexts.append(TERMS)

    def metadata(
        self, packed: dict[str, Packed], made: list[str], weights: list[str], snakemake: str, agent: str | None
    ) -> dict[str, Any]:
        """Return the content of ro-crate-metadata.json.

        packed: of every file in the archive; made: those of them that the run made; weights: the run's files that stay
        where they are; snakemake: the release that ran the study; agent: the name of who ran it.
        """
        citation = _read_yaml(self.folder / "CITATION.cff", "The workflow says nothing of its authors")
        start, end = _times(self.folder, made)
        self._describe_whole(citation, end)
        workflow = self._workflow(packed["Snakefile"], citation, snakemake)
        files = {name: self._file(name, packed[name]) for name in packed if name != "Snakefile"}
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

    def _workflow(self, packed, citation, snakemake):
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
                **packed,
            },
        )

    def _file(self, name, packed):
        properties = {"name": name, "encodingFormat": format_of(name), **packed}
        return self.crate.add_file(dest_path=name, properties=properties)

    def _chosen(self, workflow):
        """The parameter of a run beside its files: which study."""
        parameter = self.crate.add_formal_parameter("study", "Text", "#parameter-study", valueRequired=True)
        workflow["input"] = parameter
        return self._add("#study", "PropertyValue", name="study", value=self.study, exampleOfWork=parameter)

    def _locked(self, entry, end):
        """A model or dataset as it was locked, with its files, none of which is in the archive."""
        kind, files = "" if entry.kind == "models" else "datasets/", []
        for name in entry.needed:
            file = entry.files[name]
            properties = {"name": name, "contentSize": str(file["size"]), "encodingFormat": format_of(name)}
            if kind_of(file) == "sha256":
                properties["sha256"] = file["sha256"]
            else:
                properties["identifier"] = f"gitoid:blob:sha1:{file['git']}"  # the URI of a blob in git
            place = _address(file.get("from", ""), name)
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
        """The exported variants: their small files are in the archive, their shards are not."""
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
                    encodingFormat=format_of(name),
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
            asked = log_header(path)["eval"]
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


def _times(folder: Path, made: list[str]) -> tuple[str, str]:
    """(start, end) of the run: when its first log and its last file were written."""
    times = {name: int((folder / name).stat().st_mtime) for name in made}
    first = min((time for name, time in times.items() if "/logs/" in name), default=min(times.values()))
    start, end = (datetime.fromtimestamp(time, UTC).isoformat() for time in (first, max(times.values())))
    return start, end


def _address(origin, name):
    """Where a locked file from somewhere else than its entry's repository can be had, or None if only in a folder."""
    if not origin.startswith("hf://"):
        return origin if origin.startswith("https://") else None
    repo, _, commit = origin.removeprefix("hf://").rpartition("@")
    return f"{HUB}/{repo}/resolve/{commit}/{quote(name)}"


def _read_yaml(path, otherwise):
    try:
        return read_yaml(path)
    except OSError as error:
        raise AoeError(f"{otherwise}: {path} cannot be read ({error.strerror}).") from error
