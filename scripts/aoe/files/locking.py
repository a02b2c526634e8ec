"""Locks between processes: the kernel gives them up with the process that holds them, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock, the file ``path``, which is gone afterwards; others that want it, too, wait here.

    filelock's ``FileLock`` would leave the file.  If the file were deleted here, ``FileLock`` would tell a deleted file
    by its number of links.  That number stays 1 on NFS while another process has the file open.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with contextlib.suppress(OSError):  # on a file system without locks nobody waits
            lock_descriptor(file)
        with contextlib.suppress(FileNotFoundError):  # whoever held it has deleted it, perhaps
            if path.stat().st_ino == os.fstat(file).st_ino:
                break
        os.close(file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)
