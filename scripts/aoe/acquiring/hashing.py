"""Digests of files: SHA-256, and git's blob id where the Hub states only that."""

import hashlib
import os
import queue
import threading
from pathlib import Path
from typing import Any, Self

from aoe.acquiring.lock import FileEntry, kind_of
from aoe.files.disk import start_flushing

BATCH = 256 << 10  # bytes that are written at a time
MOST_PIECES = os.sysconf("SC_IOV_MAX")  # that the system writes at once
HASHED_BYTES = 4 << 20  # at a time
FLUSHED = 64 << 20  # bytes after which the system is asked to write them to the disk


def sha256(path: Path | str) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts_of(path: Path | str) -> dict[str, Any]:
    """Return {"size", "sha256"} of a file."""
    return {"size": Path(path).stat().st_size, "sha256": sha256(path)}


def digest_of(path: Path | str, facts: FileEntry) -> str:
    """Return the digest of a file's content, of the kind that the lock has for it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: _begun(facts, Path(path).stat().st_size)).hexdigest()


def _begun(facts, size):
    """A hash object, for content of ``size`` bytes; git hashes their number, too."""
    if kind_of(facts) == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


class HashedWriter:
    """Goes on writing a file after its first ``offset`` bytes, and hashes all of it, in a thread of its own.

    What was written when the ``with`` block ends, in whatever way, is in the file; ``size`` counts it, the first bytes
    included.  After the block, ``digest`` is what the lock's should be.
    """

    def __init__(self, path: Path | str, facts: FileEntry, offset: int) -> None:
        self._file = open(path, "r+b" if os.path.exists(path) else "w+b", buffering=0)  # noqa: SIM115 - closed on exit
        self._file.truncate(offset)
        self._file.seek(offset)
        self._hash = _begun(facts, facts["size"])
        self._batch, self._waiting = [], 0
        self._written = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.size = self._flushed = offset

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._write_batch()
        finally:
            self._written.put(None)
            self._thread.join()
            self._file.close()

    def write(self, piece: bytes) -> None:
        """Append bytes; they may be written somewhat later.  Raises OSError if the file cannot take them."""
        self._batch.append(piece)
        self._waiting += len(piece)
        self.size += len(piece)
        if self._waiting >= BATCH or len(self._batch) >= MOST_PIECES:
            self._write_batch()

    @property
    def digest(self) -> str:
        """The digest of all that was written, in hexadecimal."""
        return self._hash.hexdigest()

    def _write_batch(self):
        batch, size = self._batch, self._waiting
        self._batch, self._waiting = [], 0
        written = os.writev(self._file.fileno(), batch)
        if written < size:  # a full disk takes a part first
            self._file.write(b"".join(batch)[written:])
        self._written.put(self.size)
        if self.size - self._flushed >= FLUSHED:
            start_flushing(self._file, self._flushed, self.size - self._flushed)
            self._flushed = self.size

    def _follow(self):
        """Hash what was written, read back from the system's cache: in large pieces, lest two threads keep waiting for
        Python's lock."""
        buffer, done, written = memoryview(bytearray(HASHED_BYTES)), 0, 0
        while written is not None:
            written = self._written.get()
            if written is not None and written - done < HASHED_BYTES:
                continue
            while size := os.preadv(self._file.fileno(), [buffer], done):
                self._hash.update(buffer[:size])
                done += size
