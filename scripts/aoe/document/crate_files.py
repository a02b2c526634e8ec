"""The files of a crate: which belong into the archive, what format they have, and which of them hold a key."""

import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zipfile_zstd  # noqa: F401 - lets zipfile read Inspect's logs
from aoe import AoeError
from aoe.acquiring.lock import UNFINISHED, WEIGHTS

# what the workflow consists of, beside the study's own files
WORKFLOW = ["Snakefile", "rules", "scripts", "envs", "profiles", "report", "config", "requirements.lock", "Makefile"]
WORKFLOW += ["docs/benchmarks.json", "resources/deepseek-v3", "README.md", "LICENSE", "CITATION.cff"]
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


def finished_files(folder: Path, places: Iterable[str], without: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Return (files, weights): the names, below the folder, of the finished files in some places, in a fixed order.

    without: paths of files that do not belong to them.
    """
    excluded = {os.path.abspath(path) for path in without}
    found = [name for place in places for name in _below(folder, place)]
    found = [name for name in found if os.path.abspath(folder / name) not in excluded]
    weights = [name for name in found if Path(name).suffix in WEIGHTS]
    return [name for name in found if Path(name).suffix not in WEIGHTS], weights


def _below(folder: Path, place: str) -> Iterator[str]:
    """The names of the files at a place, without hidden ones, unfinished ones, and this machine's own."""
    if (folder / place).is_file():
        yield place
    for parent, folders, names in os.walk(folder / place):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LOCAL)
        for path in [Path(parent, name) for name in sorted(names)]:
            if path.is_file() and not path.name.startswith(".") and path.suffix not in UNFINISHED:
                yield path.relative_to(folder).as_posix()


def key_pattern(environment: Mapping[str, str]) -> re.Pattern[bytes]:
    """Return the pattern of keys: of the usual forms, and those that this process was given."""
    given = [
        value.encode()
        for name, value in environment.items()
        if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET
    ]
    return re.compile(b"|".join([SECRET, *map(re.escape, given)]))


def holds_key(path: Path, secret: re.Pattern[bytes]) -> bool:
    """Tell whether a file is called like a key, or has one in it."""
    if SECRET_NAME.search(path.name.lower()):
        return True
    if path.suffix == ".eval":
        return bool(secret.search(json.dumps(log_header(path)).encode()))
    if path.suffix in BINARY or format_of(path.name) == OTHER:
        return False
    with path.open("rb") as file:
        return any(secret.search(line) for line in file)


def log_header(path: Path) -> dict[str, Any]:
    """Read the header of an Inspect log: the questions, the model, and the releases of software.

    Raises AoeError if the log is not finished.
    """
    try:
        with zipfile.ZipFile(path) as log:
            return json.loads(log.read("header.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise AoeError(f"{path} is no finished Inspect log ({error}); answer its questions again.") from error


def format_of(name: str) -> str:
    """Return the media type of a file by its ending."""
    return FORMATS.get(Path(name).suffix, OTHER)
