"""Files that are complete or not there at all: written beside their place first, then renamed."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from aoe.files.disk import flush


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, shared: bool = False, flushed: bool = False) -> Iterator[Path]:
    """Yield a partial path beside ``path``.  The block writes that file; it is renamed to ``path`` when the block ends.

    If the block raises, the partial file is deleted and ``path`` stays as it was.  A killed process leaves its partial
    file, which the next one writes over.

    shared: whether several processes may write ``path`` at the same time; each gets a partial file of its own.
    flushed: whether to wait until the content is on the disk before the file is renamed.
    """
    path = Path(path)
    # no tempfile: its files are readable by their owner alone
    own = f".{secrets.token_hex(4)}" if shared else ""
    partial = path.with_name(f"{path.name}{own}.partial")
    try:
        yield partial
        if flushed:
            flush(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def replace_text(path: str | os.PathLike[str], text: str, *, shared: bool = False) -> None:
    """Write a UTF-8 text file at once, so that no reader sees half of it.  See ``replacing`` for ``shared``."""
    with replacing(path, shared=shared) as partial:
        partial.write_text(text, encoding="utf-8")
