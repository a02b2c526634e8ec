"""HTTP transfers that cannot hang: attempts are repeated, and a connection that delivers too little is dropped."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from aoe.acquiring.hashing import HashedWriter
from aoe.acquiring.lock import FileEntry

ATTEMPTS = 5  # that bring too little, one after another
FIRST_WAIT = 1  # seconds; twice as many after every further failure
LONGEST_WAIT = 300  # seconds, whatever a server asks for
TRANSIENT = (408, 429, 500, 502, 503, 504)
STALL_SECONDS = 120  # after which a connection is measured
SLOWEST = 10_000  # bytes a second: slower is a stall, at which a shard of 4.3 GB would take five days

T = TypeVar("T")


class StallError(OSError):
    """A connection delivered too little in the time that it had."""


class Pace:
    """Measures how fast bytes come, in windows of some seconds; one that brings too few is a StallError."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._begun, self._size = seconds, time.monotonic(), 0

    @property
    def left(self) -> float:
        """Seconds until the window ends."""
        return max(self._begun + self.seconds - time.monotonic(), 0)

    def count(self, size: int) -> None:
        """Count bytes that have come; 0 looks at the clock alone."""
        self._size += size
        if self.left:
            return
        if self._size < SLOWEST * self.seconds:
            raise StallError(f"{self._size} bytes came in {self.seconds:g} seconds")
        self._begun, self._size = time.monotonic(), 0


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what ``call()`` returns or raises; raises StallError after some seconds.

    A call that is given up goes on in a thread that does not keep the process from ending.  For requests whose answers
    are small: a server that sends a byte now and then would get around their timeouts.
    """
    result: list[tuple[Any, BaseException | None]] = []

    def run():
        try:
            result.append((call(), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise StallError(f"no answer came in {seconds:g} seconds")
    value, error = result[0]
    if error is not None:
        raise error
    return value


def retried(attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Return what ``attempt()`` returns, tried again after what may pass.

    progress: gives the bytes that are there.  Raises the last error when ATTEMPTS attempts, one after another, brought
    fewer bytes than SLOWEST in the time that they took.
    """
    from tenacity import Retrying, retry_if_exception

    failures = _Failures(progress)
    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        after=failures.count,
        stop=lambda state: failures.number >= ATTEMPTS,
        wait=lambda state: _wait(state.outcome and state.outcome.exception(), failures.number),
        reraise=True,
    )
    return retrying(attempt)


class _Failures:
    """The number of failed attempts, one after another, that brought too little."""

    def __init__(self, progress: Callable[[], int]) -> None:
        self.number, self._progress = 0, progress
        self._reached, self._since = progress(), time.monotonic()

    def count(self, _state):
        """Count an attempt that failed; one that brought enough is the first of a new row."""
        there, now = self._progress(), time.monotonic()
        enough = there - self._reached > SLOWEST * (now - self._since)
        self.number = 1 if enough else self.number + 1
        self._reached, self._since = there, now


def may_pass(error: BaseException) -> bool:
    """Return whether an error can be gone at the next attempt: the network, overload, a body cut short."""
    from httpx2 import LocalProtocolError, TransportError, UnsupportedProtocol
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    if isinstance(error, TransportError):
        return not isinstance(error, (LocalProtocolError, UnsupportedProtocol))
    # our own of too few or too many bytes have no number; Xet's are RuntimeErrors
    return (isinstance(error, OSError) and error.errno is None) or type(error) is RuntimeError


def is_stall(error: BaseException) -> bool:
    """Return whether an error says that nothing, or too little, came."""
    from httpx2 import TimeoutException

    return isinstance(error, (StallError, TimeoutException))


def _wait(error, failures):
    """Seconds to wait before the next attempt: what the server asks for, or ever longer."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(int(asked) if asked.isdigit() else FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT)


def cause(error: object) -> str:
    """Return an error in few words, without the addresses in it."""
    return re.sub(r"\w+://\S+", "…", " ".join(str(error).split()))[:300] or type(error).__name__


def advice(error: BaseException) -> str:
    """Return what to do after the last attempt failed with an error that may pass."""
    kept = "What has come is kept; the same command goes on from there."
    if not is_stall(error):
        return kept
    return (
        f"{kept}  Connections that stall are often the network's doing: fetch on a transfer or compute node, and set "
        "HF_HUB_DISABLE_XET=1."
    )


@contextlib.contextmanager
def answer(url: str, headers: Mapping[str, str], stall_seconds: float) -> Iterator[Any]:
    """Return the response to one GET, as a context in which its body can be read; redirects are followed.

    Raises StallError if its headers do not come in time; for the body, a Pace is the caller's.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import http_stream_backoff

    timeout = min(constants.HF_HUB_DOWNLOAD_TIMEOUT, stall_seconds)
    request = http_stream_backoff(
        "GET", url, headers={**headers, "Accept-Encoding": "identity"}, timeout=timeout, max_retries=0
    )
    with contextlib.ExitStack() as stack:
        response = within(stall_seconds, request.__enter__)
        stack.push(request.__exit__)
        yield response


def read_range(url: str, headers: Mapping[str, str], begin: int, end: int, stall_seconds: float) -> bytes:
    """Return bytes ``begin`` to ``end`` of a file; fewer where it ends."""
    from huggingface_hub.utils import hf_raise_for_status

    pace = Pace(stall_seconds)
    with answer(url, {**headers, "Range": f"bytes={begin}-{end - 1}"}, stall_seconds) as response:
        if response.status_code == 416:
            return b""
        hf_raise_for_status(response)
        skip = 0 if response.status_code == 206 else begin  # a server that knows no ranges begins at 0
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            pace.count(len(piece))
            if response.status_code != 206 and len(content) >= skip + end - begin:
                break
        return bytes(content[skip : skip + end - begin])


def stream(url: str, headers: Mapping[str, str], facts: FileEntry, target: Path, stall_seconds: float) -> str | None:
    """Request the bytes after those that ``target`` holds; return the digest of all of them.

    The Hub's own function for this begins anew after a kill, and is three times slower.  Raises OSError if fewer, more,
    or others come than were asked for, or if they come too slowly.
    """
    from huggingface_hub.utils import hf_raise_for_status

    offset = target.stat().st_size if target.exists() else 0
    if offset == facts["size"] > 0:
        return None
    if offset > facts["size"]:
        offset = 0
    if offset:
        headers = {**headers, "Range": f"bytes={offset}-"}
    with answer(url, headers, stall_seconds) as response:
        if response.status_code == 416:
            target.unlink(missing_ok=True)
            raise OSError("the server knows no such range")
        hf_raise_for_status(response)
        if response.status_code != 206:
            offset = 0  # a server that knows no ranges begins at the first byte
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            target.unlink(missing_ok=True)
            raise OSError("another range came than was asked for")
        return _write(response, facts, target, offset, Pace(stall_seconds))


def _write(response, facts, target, offset, pace):
    """Write a response's body after the first ``offset`` bytes of ``target``; returns the digest of the whole."""
    with HashedWriter(target, facts, offset) as writer:
        for piece in response.iter_bytes():
            writer.write(piece)
            if writer.size > facts["size"]:
                break
            pace.count(len(piece))
    if writer.size != facts["size"]:
        raise OSError(f"{writer.size} bytes came instead of {facts['size']}")
    return writer.digest
