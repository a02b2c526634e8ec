"""Repositories of the Hugging Face Hub, or of a mirror, as a source.

The Hub's library finds the mirror (``HF_ENDPOINT``) and the token (``HF_TOKEN``, or the one that ``hf auth login``
stored); neither is ever shown.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aoe import AoeError
from aoe.acquiring.lock import FileEntry, check_name, kind_of
from aoe.acquiring.transfer import STALL_SECONDS, advice, cause, may_pass, read_range, retried, stream, within
from aoe.acquiring.xet import download

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the Hub's library asks and tells nothing but what is fetched

COMMIT = re.compile("[0-9a-f]{40}")
# every repository has a branch main, and git then has no branch main/…
WITH_FOLDER = re.compile(r"(main|[0-9a-fA-F]{40}|refs/pr/[0-9]+|refs/convert/\w+)/.+")
NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|^[/.]|\.$|@\{|/\.|\.lock$")


class HubSource:
    """A repository of the Hub at one revision."""

    def __init__(
        self, uri: str, where: str = "The study", commit: str | None = None, stall_seconds: float = STALL_SECONDS
    ) -> None:
        try:
            from huggingface_hub.errors import HfUriError
            from huggingface_hub.utils import disable_progress_bars, get_token, logging, parse_hf_uri
        except ValueError as error:
            raise AoeError(f"One of the variables HF_… has an impossible value ({error}).") from error
        if not re.fullmatch("[!-~]*", get_token() or ""):
            raise AoeError("The token in HF_TOKEN, or the stored one, holds characters that no token has; set it anew.")
        _site()
        logging.set_verbosity_error()  # its warnings show signed addresses
        disable_progress_bars()
        address, revision = _split_revision(uri, where)
        try:
            parsed = parse_hf_uri(address)
        except HfUriError as error:
            reason = str(error).rstrip(" .")
            raise AoeError(f"{where} has the source {uri!r}, which is no address of a repository: {reason}.") from error
        if parsed.type not in ("model", "dataset", "space") or parsed.path_in_repo:
            raise AoeError(
                f"{where} has the source {uri!r}; write hf://owner/name@revision, hf://datasets/… or hf://spaces/…, "
                "without a folder or file of the repository."
            )
        self.repo, self.type, self.stall_seconds = parsed.id, parsed.type, stall_seconds
        self.revision = commit or revision
        self.asked = revision
        self.commit = commit or (revision if COMMIT.fullmatch(revision) else None)

    def __str__(self) -> str:
        return f"{self.repo} at {self.revision[:12]}"

    def origin(self, file: str) -> str:
        """Return where a file comes from, as a source's text with the commit."""
        kind = "" if self.type == "model" else f"{self.type}s/"
        return f"hf://{kind}{self.repo}@{self.commit}"

    def snapshot(self, deep: bool = True, patterns: Iterable[str] = ("*",)) -> dict[str, dict[str, Any]]:
        """Return {file: {"size", "sha256" or "git"}} of the revision's files that a pattern matches, as the Hub states
        them; sets ``commit``.

        Raises AoeError if the repository cannot be read, or a file's name leads out of it.
        """
        from huggingface_hub import HfApi

        with self._told():
            info = self._asked_for(
                lambda: HfApi().repo_info(
                    self.repo, repo_type=self.type, revision=self.revision, files_metadata=True, timeout=60
                )
            )
            self.commit, files = info.sha, {}
            for file in info.siblings:
                check_name(file.rfilename, f"The repository {self.repo}")
                facts = {"sha256": file.lfs.sha256} if file.lfs else {"git": file.blob_id}
                files[file.rfilename] = {"size": file.lfs.size if file.lfs else file.size, **facts}
            stated = [self.commit, *(value for facts in files.values() for value in facts.values())]
            if None in stated:
                raise ValueError("a commit, a size or a digest is missing")
        return {file: facts for file, facts in files.items() if any(fnmatch(file, pattern) for pattern in patterns)}

    def names(self, patterns: Iterable[str], deep: bool = True) -> list[str]:
        """Return the names of the files that a pattern matches."""
        return list(self.snapshot(deep, patterns))

    def read(self, file: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file; fewer where it ends.  Raises AoeError if it cannot be read."""
        from huggingface_hub.utils import build_hf_headers

        with self._told(file):
            return retried(lambda: read_range(self._url(file), build_hf_headers(), begin, end, self.stall_seconds))

    def transfer(self, file: str, facts: FileEntry, target: Path) -> str | None:
        """Download a file to ``target``, going on after the bytes that it holds already.

        Xet is used for a file of which nothing is there, where the Hub offers it and ``hf_xet`` is there; after a first
        failure, plain HTTP goes on.  Interruptions, stalls and overload are waited out, until too little has come in
        ATTEMPTS attempts.  Returns the file's digest, if it was hashed on the way.  Raises AoeError if the file cannot
        be had, or is not the locked one.
        """
        from huggingface_hub.utils import build_hf_headers
        from huggingface_hub.utils._runtime import is_xet_available

        xet = is_xet_available()

        def there():
            return target.stat().st_size if target.exists() else 0

        def attempt():
            nonlocal xet
            headers = build_hf_headers()
            stored = self._check_unmoved(file, facts, headers)
            if target.exists() and target.stat().st_nlink > 1:
                target.unlink()  # a hard link that a FolderSource left: its bytes are somebody else's, too
            if stored is None or not xet or there():
                return stream(self._url(file), headers, facts, target, self.stall_seconds)
            xet = False
            return download(stored, facts["size"], target, self.stall_seconds)

        with self._told(file):
            return retried(attempt, there)

    def _asked_for(self, request):
        """What a request with a short answer returns, tried again after what may pass."""
        return retried(lambda: within(self.stall_seconds, request))

    def _check_unmoved(self, file, facts, headers):
        """What Xet knows a file by, or None; one request.

        Raises AoeError if the Hub states another digest or size than the lock; a mirror may have its own.
        """
        from huggingface_hub import constants
        from huggingface_hub.file_download import get_hf_file_metadata

        headers = {**headers, "Accept-Encoding": "identity"}
        metadata = within(
            self.stall_seconds,
            lambda: get_hf_file_metadata(self._url(file), headers=headers, timeout=constants.HF_HUB_ETAG_TIMEOUT),
        )
        etag, stated = metadata.etag or "", kind_of(facts)
        comparable = re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", etag) and len(etag) == len(facts[stated])
        if (comparable and etag != facts[stated]) or (metadata.size is not None and metadata.size != facts["size"]):
            raise AoeError(
                f"{file} of {self.repo} was uploaded anew under the locked commit {self.revision[:12]}: the Hub states "
                f"{metadata.size} bytes with the digest {etag[:16]}…, the lock {facts['size']} with "
                f"{facts[stated][:16]}….  Lock anew if the change is wanted."
            )
        return metadata.xet_file_data

    def _url(self, file):
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, file, repo_type=self.type, revision=self.commit or self.revision)

    @contextlib.contextmanager
    def _told(self, file="its files"):
        """Turn what the Hub's library raises into a sentence, without addresses that could hold a secret."""
        from huggingface_hub import errors

        site = _site()
        page = f"{site}/{'' if self.type == 'model' else f'{self.type}s/'}{self.repo}"
        what = f"{file} of {self.repo}"
        token = "set HF_TOKEN or run `hf auth login`"
        try:
            yield
        except AoeError:
            raise
        except errors.GatedRepoError as error:
            raise AoeError(f"The repository {self.repo} is gated: ask for access at {page}, then {token}.") from error
        except errors.DisabledRepoError as error:
            raise AoeError(f"The repository {self.repo} was disabled by {site}.") from error
        except errors.RepositoryNotFoundError as error:
            raise AoeError(
                f"There is no repository {self.repo} at {site}, or it is private: check the name, or {token} of an "
                "account that may read it."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise AoeError(
                f"The repository {self.repo} has no revision {self.revision} (any more){_hint(self.revision)}."
            ) from error
        except errors.EntryNotFoundError as error:
            raise AoeError(f"{what} is not there at {self.revision[:12]} (any more).") from error
        except errors.OfflineModeIsEnabled as error:
            raise AoeError(f"{what} is not here, and HF_HUB_OFFLINE forbids to fetch it.") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise AoeError(
                    f"{site} refuses {what} (HTTP {status}); {token} of an account that may read it."
                ) from error
            raise AoeError(f"{site} answered HTTP {status} for {what}; run the same command again later.") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise AoeError(f"There is no room left for {what}.") from error
            hint = (
                advice(error)
                if may_pass(error)
                else "Is it a Hub?  Look at HF_ENDPOINT, the proxy (HTTPS_PROXY) and the certificates (SSL_CERT_FILE)."
            )
            raise AoeError(f"{what} could not be fetched from {site}: {cause(error)}.  {hint}") from error


def _split_revision(uri, where):
    """(address without it, revision) of a Hub source; all that follows the first ``@`` is the revision, slashes too.

    Raises AoeError for what git takes for no branch or tag, and for what is a branch or commit with a folder behind it.
    """
    address, at, revision = uri.partition("@")
    if not at:
        return address, "main"
    revision = unquote(revision.rstrip("/"))
    if COMMIT.fullmatch(revision.lower()):
        return address, revision.lower()
    if not revision:
        raise AoeError(f"{where} has the source {uri!r}, which has no revision after the @; write one, or no @.")
    if folder := WITH_FOLDER.fullmatch(revision):
        raise AoeError(
            f"{where} has the source {uri!r}; nothing can follow the revision {folder[1]}, as a source is a whole "
            "repository: name a dataset's files in `files`."
        )
    if NO_REVISION.search(revision):
        raise AoeError(
            f"{where} has the source {uri!r}; {revision!r} cannot be a branch or tag of git, which has no spaces, "
            "none of ~^:?*[\\ and no .. or // in it."
        )
    return address, revision


def _hint(revision):
    """What may be wrong with a revision that a repository does not have."""
    if re.fullmatch("[0-9a-fA-F]{4,39}", revision):
        return "; a commit is named with all of its 40 digits"
    return "; what follows the @ is the revision as a whole, and no folder" if "/" in revision else ""


def _site():
    """The Hub's or the mirror's address, without what else may be in it.  Raises AoeError if it is none."""
    from huggingface_hub import constants

    try:
        endpoint = urlsplit(constants.ENDPOINT)
        port = f":{endpoint.port}" if endpoint.port else ""
    except ValueError:
        endpoint = None
    if endpoint is None or endpoint.scheme not in ("http", "https") or not endpoint.hostname:
        raise AoeError("HF_ENDPOINT is no address: write https://host, and a password in it with %2F for /.")
    return f"{endpoint.scheme}://{endpoint.hostname}{port}"
