"""Where a study's models and datasets come from: what a study has to say, and whether the lock has the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from aoe import AoeError
from aoe.acquiring.lock import Locked, LockError
from aoe.acquiring.sources import FolderSource, open_source


def check_sources(name: str, entry: Mapping[str, Any]) -> None:
    """Raise AoeError if the entry of a model or dataset has no place or source, or has two."""
    if not entry.keys() & {"source", "sources", "path"}:
        raise AoeError(f"{name} says neither where it lies (path) nor where it comes from (source).")
    if "sources" in entry and entry.keys() & {"source", "files"}:
        raise AoeError(f"{name} has `sources`, each with its own `files`; leave out `source` and `files` beside them.")
    for part in entry.get("sources", []):
        source = open_source(part["source"], name)
        if source.repo and not source.commit:
            raise AoeError(f"{name}: {source.repo}, one of its `sources`, needs a commit instead of {source.asked!r}.")


def check_locked(name: str, parts: Sequence[Mapping[str, Any]], locked: Locked) -> None:
    """Raise LockError if a study's sources of a model or dataset are others, or name other commits, than the lock.

    parts: [{"source", …}] as the study writes them.  A folder may hold what was locked from elsewhere.
    """
    origins = {file["from"] for file in locked.files.values() if "from" in file}
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
