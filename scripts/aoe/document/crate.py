"""Provenance: a finished study in one file, a Workflow Run RO-Crate.

The crate is a ZIP archive of the workflow, its inputs (configs, lock) and its outputs (results, raw answers, logs).
``ro-crate-metadata.json`` in it describes every file, with its size and SHA-256, and the run that made the results: its
models, its times, and the releases of its software.  Weights are named there, with sizes, digests and revisions, but
are not in the archive: they may have terabytes.  The same files give the same bytes.
"""

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aoe import AoeError
from aoe.acquiring.lock import INPUT_KINDS, read_lock
from aoe.document.crate_files import BINARY, WORKFLOW, finished_files, holds_key, key_pattern
from aoe.document.crate_metadata import Description, Packed
from aoe.files.replacing import replacing
from aoe.studies.content import read_content

READ_BYTES = 1 << 20  # at a time


def write_crate(
    path: str,
    study: str,
    snakemake: str,
    folder: str | Path = ".",
    agent: str | None = None,
    without: Sequence[str] = (),
) -> list[str]:
    """Pack a finished study; the archive appears at ``path`` when it is complete.

    study: its name; snakemake: the release that ran it; folder: of the workflow, with ``results/{study}`` in it; agent:
    the name of who ran it; without: files that are being written while this one is.  Returns sentences on the files
    that were packed, and on those that were not.  Raises AoeError if the study, its lock or its results are missing, or
    hold a key.
    """
    folder, study_file = Path(folder), f"config/studies/{study}.yaml"
    content = read_content(study, folder / study_file)
    lock = os.path.relpath(folder / content["lock"], folder)
    if lock.startswith(".."):
        raise AoeError(f"The lock {lock} lies outside of the workflow; put it into config/studies, and name it there.")
    locked = read_lock(folder / lock, {kind: content.get(kind, {}) for kind in INPUT_KINDS})
    made, weights = finished_files(folder, [f"results/{study}"], [path, *without])
    if not made:
        raise AoeError(f"{folder}/results/{study} has no results; run the study {study!r} before it is packed.")
    given, _ = finished_files(folder, [*WORKFLOW, lock])
    secret = key_pattern(os.environ)
    leaking = [name for name in dict.fromkeys([*given, *made]) if holds_key(folder / name, secret)]
    for name in leaking:
        if name in ("Snakefile", study_file, lock):
            raise AoeError(f"{folder / name} holds what looks like a key; take it out before the study is packed.")
    given, made = ([name for name in names if name not in leaking] for names in (given, made))
    description = Description(folder, study, content | {"lock": lock}, locked, leaking)
    with _archive(path) as archive:
        packed = {name: _put(archive, name, folder / name) for name in dict.fromkeys([*given, *made])}
        metadata = description.metadata(packed, made, weights, snakemake, agent)
        archive.writestr(_entry("ro-crate-metadata.json"), json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")
    size = Path(path).stat().st_size
    return [
        f"{len(packed)} files, {len(metadata['@graph'])} entities, {size / 1e6:.1f} MB.",
        *(f"{name} was left out: it looks like a key, or holds one." for name in leaking),
    ]


@contextmanager
def _archive(path: str) -> Iterator[zipfile.ZipFile]:
    """A new ZIP archive, which has its name only when it is complete."""
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        yield archive


def _put(archive: zipfile.ZipFile, name: str, path: Path) -> Packed:
    """Copy a file into the archive."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file, archive.open(_entry(name, os.fstat(file.fileno())), "w") as packed:
        while piece := file.read(READ_BYTES):
            packed.write(piece)
            digest.update(piece)
            size += len(piece)
    return {"contentSize": str(size), "sha256": digest.hexdigest()}


def _entry(name: str, status: os.stat_result | None = None) -> zipfile.ZipInfo:
    """A file's entry in the archive; without its times, which say nothing of its content."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix in BINARY else zipfile.ZIP_DEFLATED
    entry.file_size = status.st_size if status else 0
    entry.external_attr = (stat.S_IFREG | (0o755 if status and status.st_mode & stat.S_IXUSR else 0o644)) << 16
    return entry
