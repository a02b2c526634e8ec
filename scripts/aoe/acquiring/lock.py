"""Locks: which files a study's models and datasets consist of, so that later runs read those and no others.

A lock is a JSON file, written once and then kept with the study:

    {"models": {name: {"repo": "owner/name", "asked": "main", "commit": hex, "files": {file: facts}}}, "datasets": {…}}

``repo``, ``asked`` (a branch, tag or commit) and ``commit`` are missing for what was locked from a folder, from the web
or from several sources.  A file's facts are its ``size`` in bytes, its ``sha256``, or ``git`` where the Hub states only
git's blob id (small text files), where it is ``from`` (its source as a study writes it) unless that follows from the
entry, and, for a shard, what it ``holds``: {tensor group: [layers]}, from which follows which shards a recipe reads
before a single one is there.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint

INPUT_KINDS = ("models", "datasets")
UNFINISHED = {".partial", ".lock"}  # what an interrupted transfer or merge leaves
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"}  # formats of weights
LONGEST_NAME = 200  # bytes; file systems take 255, of which .partial and a digest need some
UNKNOWN = "unknown"  # what locks of earlier versions call the group ``other``
ABOUT = ("README.md", ".gitattributes")  # files about a model, which nothing reads
# what a checkpoint has in folders of its own: further chat templates, code, settings of processors, vocabularies
IN_FOLDERS = {".jinja", ".json", ".py", ".txt", ".model", ".tiktoken", ".bpe", ".vocab", ".spm", ".yaml", ".yml"}


class LockError(AoeError):
    """There is no lock, or none that suits the study: one has to be written."""


# What a lock says of a file: its ``size``, ``sha256`` or ``git``, and ``from`` and ``holds`` where it has them.
FileEntry = Mapping[str, Any]


@dataclass(frozen=True)
class Locked:
    """One locked model or dataset: ``files`` (name -> facts), and where from: ``repo``, the revision that was ``asked``
    for, and the ``commit`` that it was, or None."""

    name: str
    kind: str
    files: dict[str, dict[str, Any]]
    repo: str | None = None
    asked: str | None = None
    commit: str | None = None

    @property
    def revision(self) -> str:
        """What it is called for good: repository and commit, or a digest of its file names and their digests."""
        if self.repo:
            return f"{self.repo}@{self.commit}"
        lines = "".join(f"{digest(facts)}  {name}\n" for name, facts in sorted(self.files.items()))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    @property
    def short_revision(self) -> str:
        """The first twelve digits of the commit, or of the digest, for the name of a folder."""
        return (self.commit or self.revision.removeprefix("sha256:"))[:12]

    def provenance(self, recipe: Any) -> dict[str, Any]:
        """Return this parent's entry in a merged checkpoint: {"revision", "files": those read, "repo" if any}."""
        files = {name: {k: v for k, v in self.files[name].items() if k != "holds"} for name in self.needed_by(recipe)}
        return {"revision": self.revision, "files": files} | ({"repo": self.repo} if self.repo else {})

    @property
    def needed(self) -> list[str]:
        """The names of the files that a study reads.

        Of a model: its shards that the index names, and what ``belonging`` finds.
        """
        if self.kind == "datasets":
            return list(self.files)
        belonging_ = belonging(self.files)
        return [name for name, facts in self.files.items() if name in belonging_ or "holds" in facts]

    def needed_by(self, recipe: Any) -> list[str]:
        """Return the names of the files that a recipe reads of this parent; if it is not the base, its part in S."""
        return [
            name
            for name in self.needed
            if "holds" not in self.files[name] or recipe.reads(self.name, self.files[name]["holds"])
        ]

    @property
    def shards(self) -> list[str]:
        """The names of the shards."""
        return [name for name in self.needed if name.endswith(".safetensors")]

    def size(self, names: Iterable[str]) -> int:
        """Return the bytes of some of the files."""
        return sum(self.files[name]["size"] for name in names)


def kind_of(facts: FileEntry) -> str:
    """Return the kind of digest that the lock has for a file: ``sha256``, else ``git``."""
    return "sha256" if "sha256" in facts else "git"


def digest(facts: FileEntry) -> str:
    """Return a locked file's digest, whichever the lock has."""
    return facts[kind_of(facts)]


def belonging(names: Iterable[str]) -> set[str]:
    """Return the set of those files of a model that belong to its checkpoint beside the shards.

    names: of all files, relative to its folder.  Beside the config, these are all but weights in whatever format and
    texts about the model.  In folders, these are IN_FOLDERS; a folder that has weights is another model, or the same
    one in another format.
    """
    paths = [PurePosixPath(name) for name in names]
    others = {path.parent for path in paths if path.suffix in WEIGHTS and len(path.parts) > 1}
    found = set()
    for path in paths:
        if len(path.parts) == 1:
            read = path.suffix not in WEIGHTS and path.name not in ABOUT
        else:
            hidden = any(part.startswith((".", "__")) for part in path.parts[:-1])
            read = path.suffix in IN_FOLDERS and not hidden and not others & {path.parent, *path.parents}
        if read:
            found.add(str(path))
    return found


def names_beside(folder: Path | str) -> list[str]:
    """Return the sorted names of a folder's files, and of files in folders below it that belong to a checkpoint.

    What is hidden or unfinished is left out; so are folders that cannot be read, and links that lead back up.
    """
    folder, above = Path(folder), []

    def below(place):
        above.append(place.resolve())
        for path in place.iterdir():
            if path.name.startswith(".") or path.suffix in UNFINISHED:
                continue
            if not path.is_dir():
                yield path
            elif os.access(path, os.R_OK | os.X_OK) and path.resolve() not in above:
                yield from below(path)
        above.pop()

    names = sorted(str(path.relative_to(folder)) for path in below(folder))
    belonging_ = belonging(names)
    return [name for name in names if "/" not in name or (name in belonging_ and (folder / name).is_file())]


def read_lock(
    path: Path | str, names: Mapping[str, Collection[str]], check: Callable[[Any], object] = lambda content: None
) -> dict[str, Locked]:
    """Return {name: Locked} of a lock file.

    names: the study's models and datasets, {"models": …, "datasets": …}; check: raises AoeError if the content is not
    what the schema says.  Raises LockError if the lock is missing, or lacks a model or dataset; AoeError if it is
    broken, or names a file outside of its folder.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except OSError as error:
        raise LockError(f"The lock file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise AoeError(f"The lock file {path} is broken ({error}).") from error
    check(content)
    locked = {}
    for kind in INPUT_KINDS:
        for name in names[kind]:
            if name not in content.get(kind, {}):
                raise LockError(f"The lock file {path} does not have the {kind.removesuffix('s')} {name!r}.")
            entry = content[kind][name]
            for file in entry["files"]:
                check_name(file, f"The lock file {path}")
            locked[name] = Locked(name, kind, **entry)
            check_needed(locked[name], f"The lock file {path}")
    return locked


def _unique(pairs):
    """The dict of a JSON object.  Raises ValueError for a key that is given twice, of which JSON keeps the last."""
    content = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} is given twice")
        content[key] = value
    return content


def check_name(file: str, where: str) -> None:
    """Raise AoeError for a file name that would lead out of its folder, or is none."""
    path = PurePosixPath(file)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in file or not file.isprintable():
        raise AoeError(f"{where} names the file {file!r}, which does not lie in the model's folder; nothing is read.")
    if max(len(part.encode()) for part in path.parts) > LONGEST_NAME:
        raise AoeError(f"{where} names the file {file[:40]!r}…, whose name is too long for a file system.")


def check_needed(locked: Locked, where: str) -> None:
    """Raise AoeError for a needed file with braces in its name, which stand for patterns, or if none is needed."""
    for file in locked.needed:
        if "{" in file or "}" in file:
            raise AoeError(f"{where} names the file {file!r}; braces in a name cannot be handled.")
    if not locked.needed:
        raise AoeError(f"{where} has no files of {locked.name} that a study reads; look at its source and patterns.")


def format_lock(locked: Collection[Locked]) -> str:
    """Return the text of a lock file: one line a file, so that a change of it can be read.

    locked: Locked entries, in the order that they are written.
    """
    sections = []
    for kind in INPUT_KINDS:
        entries = [_format_entry(entry) for entry in locked if entry.kind == kind]
        if entries:
            sections.append(f' "{kind}": {{\n' + ",\n".join(entries) + "\n }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _format_entry(entry):
    origin = (
        f'"repo": "{entry.repo}", "asked": {json.dumps(entry.asked, ensure_ascii=False)}, "commit": "{entry.commit}", '
        if entry.repo
        else ""
    )
    files = ",\n".join(f"   {json.dumps(name)}: {json.dumps(facts)}" for name, facts in sorted(entry.files.items()))
    return f'  "{entry.name}": {{{origin}"files": {{\n{files}\n  }}}}'


def holdings(checkpoint: Checkpoint) -> dict[str, dict[str, list[int]]]:
    """Return {shard: {tensor group: [layers]}} of a Checkpoint, from its config and index.

    Raises AoeError for a config that names no layers.
    """
    architecture, held = Architecture(checkpoint.config), {}
    for tensor, file in checkpoint.files.items():
        place = architecture.place(tensor)
        layers = held.setdefault(file, {}).setdefault(str(place.group), set())
        if place.layer is not None:
            layers.add(place.layer)
    return {file: {group: sorted(layers) for group, layers in sorted(held[file].items())} for file in sorted(held)}


def changes(old: Locked, new: Locked) -> list[str]:
    """Return sentences on the differences of two Locked entries of the same model or dataset."""
    lines = []
    if old.repo == new.repo and old.repo and old.commit != new.commit:
        lines.append(f"{new.name}: {new.repo} has moved from the commit {old.commit} to {new.commit}.")
    elif (old.repo, old.commit) != (new.repo, new.commit):
        lines.append(f"{new.name}: locked from {old.repo or 'a folder'} before, from {new.repo or 'a folder'} now.")
    moved = bool(lines)
    for file in sorted(old.files.keys() | new.files.keys()):
        if file not in new.files:
            lines.append(f"{new.name}: {file} is gone.")
        elif file not in old.files:
            lines.append(f"{new.name}: {file} is new.")
        elif not _same(old.files[file], new.files[file]):
            how = "has changed" if moved else "was uploaded anew under the same commit" if old.repo else "was altered"
            lines.append(f"{new.name}: {file} {how} ({old.files[file]['size']} bytes, {new.files[file]['size']} now).")
    return lines


def compare(path: Path | str, entries: Iterable[Locked]) -> list[str]:
    """Return sentences on what differs between a lock file, if there is one, and newly locked entries."""
    if not Path(path).exists():
        return []
    lines = []
    for entry in entries:
        names = {kind: [entry.name] if kind == entry.kind else [] for kind in INPUT_KINDS}
        try:
            lines += changes(read_lock(path, names)[entry.name], entry)
        except (AoeError, AttributeError, TypeError, KeyError) as error:
            lines.append(f"{entry.name} cannot be compared with the present lock: {error}")
    return lines


def resolved(entries: Iterable[Locked]) -> str | None:
    """Return a sentence on branches and tags and their commits, or None if the study names commits only."""
    found = [f"{e.repo}@{e.asked} is {e.commit}" for e in entries if e.repo and e.asked != e.commit]
    return f"Not pinned by the study, but by this lock: {', '.join(found)}." if found else None


def _same(one, two):
    """Whether two facts can be of one file: the digests that both have are equal, the sizes too."""
    shared = [kind for kind in ("sha256", "git") if kind in one and kind in two]
    return one["size"] == two["size"] and all(one[kind] == two[kind] for kind in shared)
