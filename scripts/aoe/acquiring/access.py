"""Can a study's models and datasets be had?  Asked in seconds, before anything is fetched."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import Any

from aoe import AoeError
from aoe.acquiring.sources import Source, open_source

NEEDED = {"models": ("config.json", "*.safetensors"), "datasets": ("*",)}  # of each at least one file


def check_access(
    name: str,
    kind: str,
    written: str | list[dict[str, Any]],
    patterns: Sequence[str] | None = None,
    commit: str | None = None,
) -> None:
    """Raise AoeError, one sentence, unless a model's or dataset's files can be read now by whoever asks.

    Every source is listed at its commit, and one byte is read of one file for every pattern: the listing of a gated
    repository is public, its files are not.  What is in the files is not looked at, and nothing is written.

    name: the study's for it; kind: ``models`` or ``datasets``; written: the source as the study writes it, or, where a
    dataset has several, its list of {"source", "files"}; patterns: the shell patterns of the files that are needed of
    the only source, by default NEEDED; commit: the one that is locked of the only source, if there is a lock.
    """
    for part in sources_of(written, patterns):
        source = open_source(part["source"], f"{kind}.{name}", commit if isinstance(written, str) else None)
        wanted = part.get("files") or NEEDED[kind]
        check_readable(f"{kind}.{name}", source, source.names(wanted, deep=kind == "datasets"), wanted)


def sources_of(written: str | list[dict[str, Any]], patterns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return [{"source", "files"}] of a source as the study writes it, or of its list of them."""
    return [{"source": written, "files": patterns}] if isinstance(written, str) else written


def check_readable(where: str, source: Source, files: Iterable[str], patterns: Iterable[str]) -> None:
    """Raise AoeError if a pattern matches none of a source's files, or the first that it matches cannot be read.

    where: what the sentence begins with, such as ``datasets.gpqa``; files: the names of the source's files.
    """
    for pattern in patterns:
        matching = sorted(file for file in files if fnmatch(file, pattern))
        if not matching:
            raise AoeError(f"{where}: the pattern {pattern!r} matches no file of {source}; correct the study.")
        source.read(matching[0], 0, 1)
