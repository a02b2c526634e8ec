"""Files of the web as a source: one by its address, or several by the folder that they lie in.

A web server lists nothing and states no digests, so files are named, and are fetched once while they are locked.  No
token is sent to it.
"""

import contextlib
import errno
import hashlib
import ipaddress
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from aoe import AoeError
from aoe.acquiring.lock import FileEntry, check_name
from aoe.acquiring.transfer import STALL_SECONDS, Pace, advice, answer, cause, may_pass, read_range, retried, stream


class UrlSource:
    """The file at ``https://host/path/file``, or the files that are named below ``https://host/folder/``."""

    repo = asked = commit = None

    def __init__(self, url: str, where: str = "The study", stall_seconds: float = STALL_SECONDS) -> None:
        self.url, self.where, self.stall_seconds = url, where, stall_seconds
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
            raise AoeError(f"{where} has a source that is no address of a file: write https://host/path/file.")
        if parts.scheme == "http" and not _is_loopback(host):
            raise AoeError(f"{where} has the source {url!r}, which anybody on the way could alter; write https://.")
        self.name = unquote(PurePosixPath(parts.path).name) if not parts.path.endswith("/") else None
        if not parts.path.strip("/") or (self.name is None and parts.query):
            raise AoeError(f"{where} has the source {url!r}, which names no file; write https://host/path/file.")
        self.site = f"{parts.scheme}://{parts.netloc}"

    def __str__(self) -> str:
        return self.url.partition("?")[0]

    def origin(self, file: str) -> str:
        """Return the address of a file."""
        return self.url if self.name else urljoin(self.url, quote(file))

    def snapshot(self, deep: bool = True, patterns: Iterable[str] = ("*",)) -> dict[str, dict[str, Any]]:
        """Return {file: {"size", "sha256"}} of the file, or of those that ``patterns`` name; all of them are fetched.

        Raises AoeError if a file cannot be had, or the files of a folder are not named.
        """
        return {file: self._facts(file) for file in self.names(patterns)}

    def names(self, patterns: Iterable[str], deep: bool = True) -> list[str]:
        """Return the files that are meant.  Raises AoeError if the files of a folder are not named one by one."""
        if self.name:
            return [self.name] if any(fnmatch(self.name, pattern) for pattern in patterns) else []
        for pattern in patterns:
            if any(character in pattern for character in "*?["):
                raise AoeError(f"{self.where}: {self} cannot be listed; name its `files` instead of {pattern!r}.")
            check_name(pattern, self.where)
        return list(patterns)

    def read(self, file: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file; fewer where it ends.  Raises AoeError if it cannot be read."""
        with self._told(file):
            return retried(lambda: read_range(self.origin(file), {}, begin, end, self.stall_seconds))

    def transfer(self, file: str, facts: FileEntry, target: Path) -> str | None:
        """Download a file to ``target``, going on after the bytes that it holds already; returns its digest, if it was
        hashed on the way.  Raises AoeError if the file cannot be had."""
        with self._told(file):
            return retried(
                lambda: stream(self.origin(file), {}, facts, target, self.stall_seconds),
                lambda: target.stat().st_size if target.exists() else 0,
            )

    def _facts(self, file):
        from huggingface_hub.utils import hf_raise_for_status

        def attempt():
            digest, size, pace = hashlib.sha256(), 0, Pace(self.stall_seconds)
            with answer(self.origin(file), {}, self.stall_seconds) as response:
                hf_raise_for_status(response)
                for piece in response.iter_bytes():
                    digest.update(piece)
                    size += len(piece)
                    pace.count(len(piece))
            return {"size": size, "sha256": digest.hexdigest()}

        with self._told(file):
            return retried(attempt)

    @contextlib.contextmanager
    def _told(self, file):
        """Turn what the library raises into a sentence."""
        from huggingface_hub import errors

        try:
            yield
        except errors.OfflineModeIsEnabled as error:
            raise AoeError(f"{file} of {self} is not here, and HF_HUB_OFFLINE forbids to fetch it.") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            then = "is the address right?" if status < 500 and status not in (408, 429) else "try again later."
            raise AoeError(f"{self.site} answered HTTP {status} for {file} of {self}; {then}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise AoeError(f"There is no room left for {file} of {self}.") from error
            raise self._unreached(file, error) from error
        except AoeError:
            raise
        except Exception as error:
            raise self._unreached(file, error) from error

    def _unreached(self, file, error):
        hint = advice(error) if may_pass(error) else "Look at the address, the proxy (HTTPS_PROXY) and SSL_CERT_FILE."
        return AoeError(f"{file} of {self} could not be fetched: {cause(error)}.  {hint}")


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
