"""Locks: which files a study's models consist of, with their sizes and SHA-256, and whether a directory agrees.

A lock is a JSON file: ``{"models": {name: {"path": …, "files": {file: {"size": bytes, "sha256": hex}}}}}``.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aoe import AoeError
from aoe.checkpoint import Checkpoint


def read_lock(path, models):
    """{model: {"path": …, "files": …}}.  Raises AoeError if the lock is missing, broken, or lacks one of the models."""
    try:
        locked = json.loads(Path(path).read_text())["models"]
    except OSError as error:
        raise AoeError(
            f"The lock file {path} cannot be read ({error.strerror}); `snakemake --cores 1 lock` writes one."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise AoeError(f"The lock file {path} is broken ({error}).") from error
    for model in models:
        if model not in locked:
            raise AoeError(f"The lock file {path} does not have the model {model!r}.")
    return locked


def check_files(models, lock):
    """Raises AoeError, naming the model, unless every locked file is there (whatever it holds).

    models: name -> {"path": …}; lock: as read_lock returns it.
    """
    for model, entry in lock.items():
        if model not in models:
            continue
        directory = Path(models[model]["path"])
        if not isinstance(entry.get("files"), dict) or not entry["files"]:
            raise AoeError(
                f"The lock has no files of the model {model}; write it anew with `snakemake --cores 1 lock`."
            )
        for file in entry["files"]:
            if not (directory / file).is_file():
                raise AoeError(
                    f"The model {model} lacks the locked file {directory / file}; fetch it again, or correct "
                    f"models.{model}.path in the study."
                )


def lock_directories(directories):
    """The lock's content for local directories, model name -> path: every file in them but their README."""
    models = {}
    for model, directory in directories.items():
        files = sorted(path for path in Path(directory).iterdir() if path.is_file() and path.name != "README.md")
        models[model] = {
            "path": str(directory),
            "files": {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files},
        }
    return {"models": models}


def revision(entry):
    """What a locked model is called for good: a digest of its file names and their SHA-256 sums."""
    lines = "".join(f"{file['sha256']}  {name}\n" for name, file in sorted(entry["files"].items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_size(path, size):
    """Raises AoeError unless the file is there and has the locked size (bytes)."""
    if not path.is_file():
        raise AoeError(f"{path} is missing, although the lock lists it; fetch it again.")
    actual = path.stat().st_size
    if actual != size:
        raise AoeError(f"{path} has {actual} bytes instead of the locked {size}; it is truncated or another file.")


def verify_file(path, size, digest):
    """Raises AoeError, naming the file and the difference, unless it has the locked size (bytes) and SHA-256."""
    verify_size(path, size)
    actual = sha256(path)
    if actual != digest:
        raise AoeError(
            f"{path} has the SHA-256 {actual[:16]}… instead of the locked {digest[:16]}…: its content was altered; "
            "fetch it again, or lock it anew if the change is wanted."
        )


def verify_model(name, directory, files, threads=1):
    """Check every locked file of a model and the structure of its shards; returns the number of bytes checked.

    Raises AoeError for a missing, truncated or altered file, and for an index that does not agree with the shards.
    """
    directory = Path(directory)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda item: verify_file(directory / item[0], item[1]["size"], item[1]["sha256"]), files.items()))
    check_structure(Checkpoint(directory, name))
    return sum(entry["size"] for entry in files.values())


def check_structure(checkpoint):
    """Raises AoeError unless every shard is what its header says, the index agrees with them, and all scales fit."""
    held = {}
    for file in checkpoint.shard_names:
        for tensor in checkpoint.shard(file).tensors:
            if tensor in held:
                raise AoeError(f"{checkpoint.name}: both {held[tensor]} and {file} hold the tensor {tensor}.")
            held[tensor] = file
    if held != checkpoint.files:
        odd = sorted(held.items() ^ checkpoint.files.items())[0][0]
        raise AoeError(
            f"{checkpoint.name}: the index and the shards of {checkpoint.directory} disagree about the tensor {odd}."
        )
    checkpoint.check_scales()
