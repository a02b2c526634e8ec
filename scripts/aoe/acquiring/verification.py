"""Is every file what the lock says, and every shard what its header says?"""

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aoe import AoeError
from aoe.acquiring.hashing import digest_of
from aoe.acquiring.lock import FileEntry, Locked, digest, kind_of
from aoe.checkpoints.checkpoint import INDEX, SINGLE, Checkpoint
from aoe.files.locking import alone
from aoe.files.replacing import replace_text


def verify_size(path: Path, facts: FileEntry) -> None:
    """Raise AoeError unless the file is there and has the locked size."""
    if not path.is_file():
        raise AoeError(f"{path} is missing, although the lock lists it; fetch it again.")
    actual = path.stat().st_size
    if actual != facts["size"]:
        raise AoeError(
            f"{path} has {actual} bytes instead of the locked {facts['size']}; it is truncated or another file."
        )


def verify_file(path: Path, facts: FileEntry, receipt: Path | None = None) -> None:
    """Raise AoeError, naming the file and the difference, unless it has the locked size and digest.

    receipt: path of a file that remembers what was found; as long as neither the file nor the lock changes, nothing is
    read again, and of several jobs that ask for it at once, one reads.
    """
    verify_size(path, facts)
    found = _state(path, facts)
    if receipt is None:
        _compare(path, facts)
        return
    if _read_receipt(receipt) == found:
        return
    receipt.parent.mkdir(parents=True, exist_ok=True)
    with alone(receipt.with_name(f"{receipt.name}.lock")):
        if _read_receipt(receipt) == found:  # another job has read it, meanwhile
            return
        _compare(path, facts)
        replace_text(receipt, json.dumps(found), shared=True)  # where there are no locks, several jobs come here


def _compare(path, facts):
    actual = digest_of(path, facts)
    if actual != digest(facts):
        kind = {"sha256": "SHA-256", "git": "git blob id"}[kind_of(facts)]
        raise AoeError(
            f"{path} has the {kind} {actual[:16]}… instead of the locked {digest(facts)[:16]}…: its content was "
            "altered; delete it and fetch it again, or lock it anew if the change is wanted."
        )


def check_present(locked: Mapping[str, Locked], directories: Mapping[str, Path | str]) -> None:
    """Raise AoeError, naming model and file, unless every file that is needed is there (whatever it holds).

    locked: name -> Locked; directories: name -> folder.
    """
    for name, entry in locked.items():
        for file in entry.needed:
            path = Path(directories[name]) / file
            if not path.is_file():
                raise AoeError(
                    f"{name} lacks the locked file {path}; fetch it again, or correct {entry.kind}.{name}.path in the "
                    "study."
                )


def is_lost(record: Path | str, path: Path | str, facts: FileEntry) -> bool:
    """Return whether a download was recorded whose file is gone, or has another size."""
    path = Path(path)
    return Path(record).exists() and not (path.is_file() and path.stat().st_size == facts["size"])


def doubtful(
    directory: Path | str, files: Mapping[str, FileEntry], receipts: Path | str, verified: bool = False
) -> list[str]:
    """Return the files that are no longer what their receipt is for: moved, replaced, or written to since.

    verified: whether all of them were verified before, so that one without a receipt is doubtful too.
    """
    known = {file: _read_receipt(Path(receipts) / f"{file}.json") for file in files}
    return [
        file
        for file, facts in files.items()
        if (verified if known[file] is None else known[file] != _state(Path(directory) / file, facts))
    ]


def _state(path, facts):
    """What a receipt remembers.  The change time tells of a replaced file even if its time of writing is an old one."""
    if not path.is_file():
        return None
    stat = path.stat()
    where = {"path": str(path.absolute()), "size": stat.st_size, "inode": stat.st_ino}
    return {**where, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns, "digest": digest(facts)}


def _read_receipt(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def verify(
    name: str,
    directory: Path | str,
    files: Mapping[str, FileEntry],
    receipts: Path | str | None = None,
    threads: int = 1,
    whole: bool = True,
    scales: bool = True,
) -> int:
    """Check locked files of a model or dataset, several at a time; return the number of their bytes.

    files: name -> facts; of a model's shards, the headers are checked too.  receipts: folder for one receipt a file, by
    which an interrupted verification goes on.  whole: whether the files are to be all that the index names; scales:
    whether FP8 weights have to have theirs, as in whatever is assembled or served.  Raises AoeError for a missing,
    truncated or altered file, and for a header or an index that does not fit.
    """
    directory = Path(directory)

    def check(file):
        verify_file(directory / file, files[file], Path(receipts) / f"{file}.json" if receipts else None)

    with ThreadPoolExecutor(threads) as pool:
        # the longest first, so that no thread is left alone with one at the end
        list(pool.map(check, sorted(files, key=lambda file: -files[file]["size"])))
    shards = {file for file in files if file.endswith(".safetensors")}
    if shards and {INDEX, SINGLE} & files.keys():
        checkpoint = Checkpoint(directory, name)
        unlocked = set(checkpoint.shard_names) - shards
        if whole and unlocked:
            raise AoeError(
                f"{name}: the index names the shard {min(unlocked)}, which the lock does not have; lock anew."
            )
        check_structure(checkpoint, shards, scales)
    return sum(facts["size"] for facts in files.values())


def check_structure(checkpoint: Checkpoint, files: Collection[str] | None = None, scales: bool = True) -> None:
    """Raise AoeError unless every shard is what its header says, the index agrees with them, and all scales fit.

    files: the names of the shards to look at; without them, all.  scales: whether to look at those.
    """
    files = checkpoint.shard_names if files is None else sorted(files)
    held = {}
    for file in files:
        for tensor in checkpoint.shard(file).tensors:
            if tensor in held:
                raise AoeError(f"{checkpoint.name}: both {held[tensor]} and {file} hold the tensor {tensor}.")
            held[tensor] = file
    indexed = {tensor: file for tensor, file in checkpoint.files.items() if file in files}
    if held != indexed:
        odd = sorted(held.items() ^ indexed.items())[0][0]
        raise AoeError(
            f"{checkpoint.name}: the index and the shards of {checkpoint.directory} disagree about the tensor {odd}."
        )
    if scales and set(files) == set(checkpoint.shard_names):
        checkpoint.check_scales()
