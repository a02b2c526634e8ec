"""What Linux and its file systems offer beyond Python's files: room in advance, flushing, copies inside the kernel."""

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from aoe import AoeError

NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
FICLONE = 0x40049409  # linux/fs.h
SYSTEM = ctypes.CDLL(None, use_errno=True)


def reserve(file: IO[bytes], size: int) -> None:
    """Give an open file its size and, where the file system can, its place on the disk before the first byte.

    Python's posix_fallocate writes zeros where the file system cannot, so Linux is asked directly.
    """
    file.truncate(size)
    if hasattr(SYSTEM, "fallocate"):
        failed = SYSTEM.fallocate(file.fileno(), 0, ctypes.c_int64(0), ctypes.c_int64(size))
        if failed and ctypes.get_errno() in FULL:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def start_flushing(file: IO[bytes], start: int, size: int) -> None:
    """Let the system begin to write bytes to the disk while others are still being computed."""
    if hasattr(SYSTEM, "sync_file_range"):
        SYSTEM.sync_file_range(file.fileno(), ctypes.c_int64(start), ctypes.c_int64(size), SYNC_FILE_RANGE_WRITE)


def flush(path: Path | str) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def share_blocks(original: Path, target: Path) -> bool:
    """Make ``target`` a copy of a file that shares its blocks; return whether the file system can do that."""
    with open(original, "rb") as source, open(target, "wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
            return True
        except OSError:
            target.unlink()
            return False


def copy_range(source: IO[bytes], start: int, target: IO[bytes], position: int, length: int) -> None:
    """Copy ``length`` bytes between two open files, in the kernel where it can.  Raises AoeError if the source ends."""
    kernel = hasattr(os, "copy_file_range")
    while length:
        count = 0
        if kernel:
            try:
                count = os.copy_file_range(source.fileno(), target.fileno(), length, start, position)
            except OSError as error:
                if error.errno not in NO_KERNEL_COPY:
                    raise
            kernel = count > 0  # some network file systems say 0 where they cannot
        if not count:
            piece = os.pread(source.fileno(), min(length, 4 << 20), start)
            if not piece:
                raise AoeError(f"{source.name} ends before its header says; fetch it again.")
            count = os.pwrite(target.fileno(), piece, position)
        start, position, length = start + count, position + count, length - count
