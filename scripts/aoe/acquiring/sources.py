"""Where models and datasets come from: a repository of the Hugging Face Hub (or of a mirror), a folder, or the web.

A source lists its files as a lock states them, reads a few bytes of one, and transfers one to a path; what it transfers
is checked by the caller.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.acquiring.hashing import facts_of
from aoe.acquiring.hub import HubSource
from aoe.acquiring.lock import UNFINISHED, FileEntry, check_name, names_beside
from aoe.acquiring.transfer import STALL_SECONDS
from aoe.acquiring.web import UrlSource
from aoe.files.disk import share_blocks


def open_source(
    text: str, where: str = "The study", commit: str | None = None, stall_seconds: float = STALL_SECONDS
) -> Source:
    """Return the HubSource of ``hf://owner/name@revision`` (or ``hf://datasets/…``, ``spaces/…``), the UrlSource of
    ``https://host/file`` or ``https://host/folder/``, or the FolderSource of ``file:folder``.

    commit: the locked one, which then is read instead of the revision; stall_seconds: after which a connection that
    delivers too little is dropped.  Raises AoeError, beginning with ``where``, for anything else.
    """
    if text.startswith("file:") and len(text) > len("file:"):
        return FolderSource(text.removeprefix("file:"))
    if text.startswith("hf://"):
        return HubSource(text, where, commit, stall_seconds)
    if text.startswith(("https://", "http://")):
        return UrlSource(text, where, stall_seconds)
    raise AoeError(
        f"{where} has the source {text!r}; write hf://owner/name@revision, https://host/path/file or file:folder."
    )


def sources_in(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return [{"source", "files" if any}] of a study's entry of a model or dataset; none if it only has a path."""
    if "sources" in entry:
        return entry["sources"]
    return [{key: entry[key] for key in ("source", "files") if key in entry}] if "source" in entry else []


class FolderSource:
    """A folder on this machine; symbolic links in it are followed to what they stand for."""

    repo = asked = commit = None

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(os.path.expanduser(directory))

    def __str__(self) -> str:
        return f"the folder {self.directory}"

    def origin(self, file: str) -> str:
        """Return where a file comes from, as a source's text."""
        return f"file:{self.directory}"

    def snapshot(self, deep: bool = False, patterns: Iterable[str] = ("*",)) -> dict[str, dict[str, Any]]:
        """Return {file: {"size", "sha256"}} of the folder's files that a pattern matches; ``deep``: also of all in
        folders below it, and not only of what belongs to a checkpoint there.

        What is hidden, or unfinished, is left out.  Raises AoeError if a file cannot be read, or is none.
        """
        names = self.names(patterns, deep)
        for name in names:
            check_name(name, f"The folder {self.directory}")
            with self._told(name):
                self._file(name)
        with self._told(), ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(lambda name: facts_of(self.directory / name), names), strict=True))

    def names(self, patterns: Iterable[str], deep: bool = False) -> list[str]:
        """Return the names of the files that a pattern matches, as ``snapshot`` finds them."""
        with self._told():
            names = self._all_names() if deep else names_beside(self.directory)
        return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]

    def _all_names(self):
        return sorted(str(path.relative_to(self.directory)) for path in self._paths(self.directory))

    def _paths(self, folder):
        for path in folder.iterdir():
            if path.name.startswith(".") or path.suffix in UNFINISHED:
                continue
            if path.is_dir():
                yield from self._paths(path)
            else:
                yield path

    def read(self, file: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file; fewer where it ends.  Raises AoeError if it cannot be read."""
        with self._told(file), open(self._file(file), "rb") as source:
            source.seek(begin)
            return source.read(end - begin)

    def transfer(self, file: str, facts: FileEntry, target: Path) -> None:
        """Put a file at ``target``, in place of what is there: sharing blocks, as a hard link, or as a copy."""
        with self._told(file):
            original = self._file(file)
            size = original.stat().st_size
            if size != facts["size"]:
                raise AoeError(f"{self.directory / file} has {size} bytes instead of the locked {facts['size']}.")
            target.unlink(missing_ok=True)
            if not share_blocks(original, target):
                try:
                    os.link(original, target)
                except OSError:  # another file system, or one without links
                    shutil.copyfile(original, target)

    def _file(self, file):
        """What a name stands for.  Raises AoeError for a pipe or a device, OSError if there is nothing."""
        original = (self.directory / file).resolve(strict=True)
        if not original.is_file():
            raise AoeError(f"{self.directory / file} is no file.")
        return original

    @contextlib.contextmanager
    def _told(self, file=""):
        try:
            yield
        except RuntimeError as error:  # what pathlib says of links in a circle
            raise AoeError(f"{self.directory / file} is a symbolic link that leads to itself.") from error
        except OSError as error:
            place = self.directory / file
            if place.is_symlink() and isinstance(error, FileNotFoundError):
                raise AoeError(f"{place} is a symbolic link to {os.readlink(place)}, which does not exist.") from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise AoeError(f"There is no room left for {file} of {self}.") from error
            raise AoeError(f"{place} cannot be read ({error.strerror or error}).") from error


Source = HubSource | UrlSource | FolderSource
