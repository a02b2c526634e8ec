"""Fetch locked files from their source: outlines first, then whole files, each accepted only with its locked digest."""

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from filelock import lock_descriptor
from aoe import AoeError
from aoe.acquiring.access import check_readable
from aoe.acquiring.expected import check_expected
from aoe.acquiring.hashing import digest_of
from aoe.acquiring.lock import FileEntry, Locked, check_needed, digest, holdings
from aoe.acquiring.sources import FolderSource, Source, open_source
from aoe.acquiring.together import check, check_stored
from aoe.acquiring.web import UrlSource
from aoe.checkpoints.architecture import Architecture, unplaced
from aoe.checkpoints.checkpoint import INDEX, OUTLINE, SINGLE, Checkpoint
from aoe.checkpoints.shard import LARGEST_HEADER
from aoe.checkpoints.vocabulary import FILES
from aoe.files.disk import flush
from aoe.files.locking import alone
from aoe.files.replacing import replace_text, replacing

CONFIG = "config.json"
HEADER_GUESS = 128 << 10  # bytes, asked for at once; DeepSeek-V3's headers have some 80,000
REQUESTS = 16  # at a time, for headers
WRONG_CONTENTS = 2  # transfers that end with other bytes than the locked ones, before the source is not believed


def lock_all(
    inputs: Mapping[str, Mapping[str, Any]], unions: Iterable[Mapping[str, Any]] = (), say: Callable[[str], Any] = print
) -> Iterator[Locked]:
    """Yield the Locked entry of each model and dataset as its sources are now.

    In the end, the models' small files are compared; say: is given a sentence on what differs between them.

    inputs: name -> {"kind", "sources": [{"source" as the study writes it, "files": shell patterns of those that are
    meant}], "expected": what the study expects of it, or None}; unions: of Study.unions.  Raises AoeError as
    lock_source does, if what is found is not what is expected, or nothing, or if models do not fit together.
    """
    models = {}
    for name, wanted in inputs.items():
        where, parts = f"{wanted['kind']}.{name}", wanted["sources"]
        sources = [open_source(part["source"], where) for part in parts]
        patterns = [part.get("files") or ["*"] for part in parts]
        entries = [lock_source(name, wanted["kind"], *of, say) for of in zip(sources, patterns, strict=True)]
        entry = entries[0] if len(entries) == 1 else _joined(entries, sources)
        check_needed(entry, str(sources[0]))
        if wanted.get("expected"):
            config = json.loads(sources[0].read(CONFIG, 0, entry.files[CONFIG]["size"])) if entry.shards else None
            check_expected(entry, wanted["expected"], config)
        if entry.kind == "models":
            models[name] = sources[0], entry
        yield entry
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: _small_files(*of, Path(folder) / name) for name, of in models.items()}
        checkpoints = [Checkpoint(place, name) for name, place in folders.items()]
        for sentence in [*check_stored(checkpoints), *check(unions, folders)]:
            say(sentence)


def _small_files(source, entry, directory):
    """The folder of a model's config and tokenizer: where they are, or ``directory``, to which they are fetched."""
    if isinstance(source, FolderSource):
        return source.directory
    for file in small_files(entry):
        fetch(source, file, entry.files[file], directory / file)
    return directory


def small_files(entry: Locked) -> list[str]:
    """Return the names of what is compared of a locked model before its weights are there: config and tokenizer."""
    return [file for file in entry.needed if file == CONFIG or any(fnmatch(file, pattern) for pattern in FILES)]


def lock_source(
    name: str, kind: str, source: Source, patterns: Sequence[str] = ("*",), say: Callable[[str], Any] | None = None
) -> Locked:
    """Return the Locked entry of the files that a source holds now and that a pattern matches.

    Of a model, config and index are read, for what its shards hold; ``say`` is given a sentence on tensors without a
    known place.  Raises AoeError if the source cannot be read, a pattern matches nothing, or a model has no config, or
    one that names no layers.
    """
    files = source.snapshot(kind == "datasets", patterns)
    check_readable(f"{kind}.{name}", source, files, patterns)
    if kind == "models":
        for file, holds in _held(name, source, files, say).items():
            if file not in files:
                raise AoeError(f"The index of {name} names the shard {file}, which {source} does not have.")
            files[file]["holds"] = holds
    if isinstance(source, UrlSource):  # nothing else in the lock says where they are from
        files = {file: {**facts, "from": source.origin(file)} for file, facts in files.items()}
    return Locked(name, kind, files, source.repo, source.asked, source.commit)


def _held(name, source, files, say):
    """What each shard of a model holds, from its config and index, or its only shard's header."""
    with tempfile.TemporaryDirectory() as folder:
        for file in (CONFIG, INDEX):
            if file in files:
                fetch(source, file, files[file], Path(folder) / file)
        if INDEX not in files and SINGLE in files:
            _fetch_header(source, SINGLE, Path(folder))
        checkpoint = Checkpoint(folder, name)
        for sentence in unplaced(name, Architecture(checkpoint.config), checkpoint.files) if say else ():
            say(sentence)
        return holdings(checkpoint)


def _joined(entries, sources):
    """One Locked entry of the files of several sources.  Raises AoeError if two have a file of the same name."""
    files = {}
    for entry, source in zip(entries, sources, strict=True):
        for file, facts in entry.files.items():
            if file in files:
                raise AoeError(f"{entry.kind}.{entry.name}: two of its sources have a file {file}; one is {source}.")
            files[file] = {**facts, "from": source.origin(file)}
    return Locked(entries[0].name, entries[0].kind, files)


def fetch_outline(source: Source, locked: Locked, directory: Path | str) -> Checkpoint:
    """Put config, tokenizer, index and the headers of all shards into a model's folder: some MB, which show what fits
    together.

    Headers of shards that are there already are left out.  Returns the Checkpoint that can be made out so far.  Raises
    AoeError if a header is none, or promises another size than the lock.
    """
    directory = Path(directory)
    for file in (*small_files(locked), INDEX):
        if file in locked.files:
            fetch(source, file, locked.files[file], directory / file)
    _drop_other_headers(directory / OUTLINE, {file: digest(locked.files[file]) for file in locked.shards})
    missing = [file for file in locked.shards if not (directory / file).exists()]
    with ThreadPoolExecutor(REQUESTS) as pool:
        list(pool.map(lambda file: _fetch_header(source, file, directory), missing))
    checkpoint = Checkpoint(directory, locked.name)
    for file in locked.shards:
        promised, size = checkpoint.shard(file).size, locked.files[file]["size"]
        if promised != size:
            raise AoeError(f"The header of {file} of {source} promises {promised} bytes, but the file has {size}.")
    return checkpoint


def _drop_other_headers(outline, digests):
    """Delete the headers of files that another lock had under the same names; digests: file -> the locked one's."""
    note = outline / "digests.json"
    of = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    for file in of.keys() & digests.keys():
        if of[file] != digests[file]:
            (outline / file).unlink(missing_ok=True)
    outline.mkdir(parents=True, exist_ok=True)
    replace_text(note, json.dumps(digests), shared=True)


def _fetch_header(source, file, directory):
    """Put a shard's header into the outline, unless it is there."""
    path = directory / OUTLINE / file
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = source.read(file, 0, HEADER_GUESS)
    end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or end > LARGEST_HEADER:
        raise AoeError(f"{file} of {source} is no safetensors file: it begins with no header.")
    if end > len(content):
        content += source.read(file, len(content), end)
    with replacing(path, shared=True) as partial:
        partial.write_bytes(content[:end])


def fetch(source: Source, file: str, facts: FileEntry, target: Path | str) -> int:
    """Bring a locked file to ``target``; return the bytes that were transferred, 0 if it was there.

    What has come stays in ``{target}.{digest}.partial``, also over a kill, and is gone on from.  Only a file with the
    locked digest, flushed to the disk, gets its name.  Raises AoeError if there is too little room, another file has
    the name, the file cannot be had, or the source keeps giving other bytes.
    """
    target = Path(target)
    if _is_there(target, facts):
        return 0
    partial = partial_of(target, facts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _fetch_alone(source, file, facts, target, partial)
    except OSError as error:
        raise AoeError(f"{target} could not be written ({error.strerror or error}).") from error


def _is_there(target, facts):
    """Whether the file is there already, as far as its size tells.  Raises AoeError if something else has its name."""
    if not os.path.lexists(target):
        return False
    if not target.is_file():
        raise AoeError(f"{target} is no file, or a link to none; move it away to have it fetched.")
    if target.stat().st_size != facts["size"]:
        raise AoeError(
            f"{target} has {target.stat().st_size} bytes instead of the locked {facts['size']}; it is no file of this "
            "lock: move it away, or delete it to have it fetched."
        )
    return True


def _fetch_alone(source, file, facts, target, partial):
    with alone(partial.with_suffix(".lock")):
        if _is_there(target, facts):  # by another run, meanwhile
            return 0
        begun = _size(partial)
        check_room(target.parent, facts["size"] - begun, file)
        for _ in range(WRONG_CONTENTS):
            found = source.transfer(file, facts, partial) or digest_of(partial, facts)
            if _size(partial) == facts["size"] and found == digest(facts):
                flush(partial)
                partial.replace(target)
                flush(target.parent)
                return facts["size"] - begun
            partial.unlink()  # no byte of it can be trusted
            begun = 0
        raise AoeError(
            f"{source} gives other bytes for {file} than those that were locked ({digest(facts)[:16]}…); nothing of "
            "them was kept."
        )


def begin_fetching(files: Mapping[str, FileEntry], note: Path | str) -> None:
    """Check before a run's first byte that there is room for all its files; write them to ``note`` for their Progress.

    files: path -> facts.  Raises AoeError, per file system, if there is not.
    """
    missing = {}
    for path, facts in files.items():
        there = _size(Path(path)) or _size(partial_of(Path(path), facts))
        if there < facts["size"]:
            folder = _existing(Path(path).parent)
            device = missing.setdefault(folder.stat().st_dev, [folder, 0])
            device[1] += facts["size"] - there
    for folder, size in missing.values():
        check_room(folder, size, "What this run fetches")
    if files:
        Path(note).parent.mkdir(parents=True, exist_ok=True)
        Path(note).write_text(json.dumps(files), encoding="utf-8")


def _existing(directory):
    """The folder, or the nearest one above it that exists."""
    directory = Path(directory).absolute()
    return next(folder for folder in (directory, *directory.parents) if folder.exists())


def partial_of(target: Path, facts: FileEntry) -> Path:
    """Return where a file lies while it is being fetched; the digest keeps the bytes of different locks apart."""
    return target.with_name(f"{target.name}.{digest(facts)[:12]}.partial")


def check_room(directory: Path | str, missing: int, what: str) -> None:
    """Raise AoeError unless the file system of a folder has room for ``missing`` bytes."""
    free = shutil.disk_usage(_existing(directory)).free
    if missing > free:
        raise AoeError(
            f"{what} needs {missing / 1e9:,.1f} GB more in {directory}, but only {free / 1e9:,.1f} GB are free there."
        )


class Progress:
    """How far a run has come with all its files, seen from what lies on the disk, whichever job brought it."""

    def __init__(self, files: Mapping[str, FileEntry]) -> None:
        """files: path -> size in bytes and digest."""
        self.files = {Path(path): facts for path, facts in files.items()}
        self.total = sum(facts["size"] for facts in self.files.values())
        self.start, self.there_at_start = time.monotonic(), self.there()

    def there(self) -> int:
        """Return bytes of the files that have arrived, partial ones included."""
        return sum(
            min(_size(path) or _size(partial_of(path, facts)), facts["size"]) for path, facts in self.files.items()
        )

    def __str__(self) -> str:
        there = self.there()
        rate = (there - self.there_at_start) / max(time.monotonic() - self.start, 1e-3)
        text = f"{there / 1e9:,.2f} of {self.total / 1e9:,.2f} GB ({100 * there / max(self.total, 1):.0f} %)"
        if not rate or there >= self.total:
            return text
        return f"{text}, {rate / 1e6:,.0f} MB/s, {_duration((self.total - there) / rate)} left"

    @contextlib.contextmanager
    def reported(self, say: Callable[[str], Any], mutex: Path | str, interval: float = 30) -> Iterator[None]:
        """Let ``say`` report the progress every ``interval`` seconds while the block runs, unless another job does.

        mutex: path of a file that the job which reports holds locked.
        """
        done = threading.Event()

        def report():
            with open(mutex, "w", encoding="utf-8") as file:
                while not done.wait(interval):
                    with contextlib.suppress(OSError):
                        if lock_descriptor(file.fileno(), blocking=False):
                            say(str(self))

        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _size(path):
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _duration(seconds):
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )
