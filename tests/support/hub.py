"""A server on loopback that speaks as the Hugging Face Hub does, with a second one for its file storage, and faults.

Answered are the calls of huggingface_hub: a repository's listing, ``resolve`` with the Hub's headers, a redirect
to the storage for large files, ranges, tokens for Xet.  A repository can be gated (anybody may list it, its files are
refused) or private; every request is kept.
"""

import collections
import contextlib
import hashlib
import http.server
import json
import os
import re
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 100_000  # bytes from which a file is stored as the Hub stores large ones: by its SHA-256


@dataclass
class Fault:
    """One thing that goes wrong with a request of ``kind``: api, head, get (a small file), storage (a large one).

    cut: close the connection after so many bytes; short: announce and send so many bytes less; long: so many more;
    flip: alter the byte at this offset; status, retry_after: answer with an error; stall: seconds of silence within the
    body; slow: seconds between pieces, of ``piece`` bytes, of its second half; deaf: ignore the range; shift: send
    other bytes than the range asked for.
    """

    kind: str
    cut: int | None = None
    short: int = 0
    long: int = 0
    flip: int | None = None
    status: int | None = None
    retry_after: int | None = None
    stall: float = 0
    slow: float = 0
    piece: int = 65536
    deaf: bool = False
    shift: int = 0


@dataclass
class Repo:
    """``commits``: commit -> {file name: bytes, or the Path of a file}; ``refs``: branch -> commit."""

    commits: dict
    refs: dict
    gated: bool = False
    private: bool = False
    faults: list = field(default_factory=list)
    digests: dict = field(default_factory=dict)  # file name -> SHA-256, for files that are too large to be read
    xet: dict = field(default_factory=dict)  # file name -> Xet hash


class Hub:
    """``url`` is the HF_ENDPOINT; ``repos``: (model or dataset, owner/name) -> Repo; ``requests``: what was asked.

    ``token`` opens what is gated or private; ``cas`` is the address of a storage for Xet.
    """

    def __init__(self):
        self.token = f"hf_{secrets.token_hex(16)}"
        self.repos, self.requests, self.cas = {}, [], None
        self._lock, self._under_way, self.most_at_once = threading.Lock(), 0, 0
        self._hub = self._start(_HubHandler)
        self._storage = self._start(_StorageHandler)
        self.url = f"http://127.0.0.1:{self._hub.server_address[1]}"
        self.storage_url = f"http://127.0.0.1:{self._storage.server_address[1]}"

    def _start(self, handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def close(self):
        for server in (self._hub, self._storage):
            server.shutdown()
            server.server_close()

    def add(self, name, files, kind="model", **settings):
        """A repository with one commit of the files (name -> bytes or Path) on the branch main."""
        repo = self.repos[kind, name] = Repo({}, {}, **settings)
        self.commit(repo, files)
        return repo

    def add_folder(self, name, folder, **settings):
        files = {str(path.relative_to(folder)): path for path in sorted(Path(folder).rglob("*")) if path.is_file()}
        return self.add(name, files, **settings)

    def commit(self, repo, files):
        """Move main to a new commit; returns its id."""
        commit = hashlib.sha1(repr((len(repo.commits), sorted(files))).encode()).hexdigest()
        repo.commits[commit] = dict(files)
        repo.refs["main"] = commit
        return commit

    @contextlib.contextmanager
    def counting(self):
        """Counts the transfers that are under way at once, in ``most_at_once``."""
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def take_fault(self, repo, kind):
        with self._lock:
            for fault in repo.faults:
                if fault.kind == kind:
                    repo.faults.remove(fault)
                    return fault
        return None

    def facts(self, repo, file, content):
        """size, whether it is stored as large, and digest."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size >= LARGE or file in repo.digests:
            known = repo.digests.get(file)
            return size, True, known or hashlib.sha256(_bytes(content)).hexdigest()
        return size, False, hashlib.sha1(b"blob %d\0" % size + _bytes(content)).hexdigest()


def _bytes(content):
    return content.read_bytes() if isinstance(content, Path) else content


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *words):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self):
        self.hub.requests.append((self.command, self.headers.get("Host"), self.path, dict(self.headers)))
        self.answer()

    do_HEAD = do_GET  # noqa: N815

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def failing(self, fault):
        """Whether the request was answered with the fault's status."""
        if fault is None or fault.status is None:
            return False
        self.reply(fault.status, {"Retry-After": fault.retry_after} if fault.retry_after is not None else {})
        return True

    def send_content(self, content, fault, headers=()):
        """A file or a range of it, with what the fault does to it."""
        fault = fault or Fault("none")
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end, status = 0, size, 200
        if asked and not fault.deaf:
            begin, end, status = int(asked[1]), min(int(asked[2] or size - 1) + 1, size), 206
            if begin >= size:
                return self.reply(416, {"Content-Range": f"bytes */{size}"})
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        first = max(begin - fault.shift, 0)
        last = max(end - fault.short, first)
        self.send_header("Content-Length", str(last - first + fault.long))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault == Fault("none") and isinstance(content, Path):
            with open(content, "rb") as file:
                while first < last:
                    first += os.sendfile(self.connection.fileno(), file.fileno(), first, min(last - first, 1 << 30))
            return None
        body = bytearray(_bytes(content)[first:last] + bytes(fault.long))
        if fault.flip is not None and body:
            body[fault.flip % len(body)] ^= 0x10
        if fault.cut is not None:
            self.wfile.write(body[: fault.cut % max(len(body), 1)])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        middle = len(body) // 2
        self.wfile.write(body[:middle])
        time.sleep(fault.stall)
        for start in range(middle, len(body), fault.piece):
            self.wfile.write(body[start : min(start + fault.piece, len(body))])
            time.sleep(fault.slow)
        return None


class _HubHandler(_Handler):
    def answer(self):
        path = unquote(urlsplit(self.path).path)
        if listing := re.fullmatch(r"/api/(model|dataset|space)s/([^/]+/[^/]+)/revision/(.+)", path):
            return self.at(listing[1], listing[2], listing[3], self.listing, "api")
        if token := re.fullmatch(r"/api/(model|dataset|space)s/([^/]+/[^/]+)/xet-read-token/(.+)", path):
            return self.at(token[1], token[2], token[3], self.xet_token, "api")
        if file := re.fullmatch(r"/(?:(dataset|space)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind = file[1] or "model"
            return self.at(kind, file[2], file[3], lambda *args: self.resolve(*args, file[4]), None)
        return self.reply(404)

    def at(self, kind, name, revision, action, fault):
        """Run the action for a repository's commit, if whoever asks may see it."""
        repo = self.hub.repos.get((kind, name))
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repo is None or (repo.private and not known):
            return self.reply(404 if known else 401, {"X-Error-Code": "RepoNotFound"})
        if fault and self.failing(self.hub.take_fault(repo, fault)):
            return None
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        return action(repo, name, commit)

    def listing(self, repo, name, commit):
        siblings = []
        for file, content in repo.commits[commit].items():
            size, large, digest = self.hub.facts(repo, file, content)
            entry = {"rfilename": file, "size": size, "blobId": digest[:40]}
            if large:
                entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 135}
            siblings.append(entry)
        gated = "auto" if repo.gated else False
        body = {"_id": "1", "id": name, "sha": commit, "private": repo.private, "gated": gated, "siblings": siblings}
        return self.reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def xet_token(self, repo, name, commit):
        return self.reply(
            200,
            {"X-Xet-Cas-Url": self.hub.cas, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": "9999999999"},
        )

    def resolve(self, repo, name, commit, file):
        asker = self.headers.get("Authorization")
        if repo.gated and asker != f"Bearer {self.hub.token}":
            return self.reply(403 if asker else 401, {"X-Error-Code": "GatedRepo"})
        if file not in repo.commits[commit]:
            return self.reply(404, {"X-Error-Code": "EntryNotFound"})
        content = repo.commits[commit][file]
        size, large, digest = self.hub.facts(repo, file, content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"'}
        if self.command == "HEAD" and self.failing(self.hub.take_fault(repo, "head")):
            return None
        if not large:
            fault = self.hub.take_fault(repo, "get") if self.command == "GET" else None
            return None if self.failing(fault) else self.send_content(content, fault, headers)
        kind, _ = next(key for key, value in self.hub.repos.items() if value is repo)
        headers |= {
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(size),
            "Location": f"{self.hub.storage_url}/{kind}/{name}/{commit}/{file}?signature=a_signed_secret",
        }
        if file in repo.xet:
            headers["X-Xet-Hash"] = repo.xet[file]
            headers["Link"] = f'<{self.hub.url}/api/{kind}s/{name}/xet-read-token/{commit}>; rel="xet-auth"'
        return self.reply(302, headers)


class _StorageHandler(_Handler):
    def answer(self):
        with self.hub.counting():
            self.transfer()

    def transfer(self):
        kind, owner, name, commit, file = unquote(urlsplit(self.path).path)[1:].split("/", 4)
        repo = self.hub.repos[kind, f"{owner}/{name}"]
        fault = self.hub.take_fault(repo, "storage")
        if not self.failing(fault):
            self.send_content(repo.commits[commit][file], fault)


def counted(requests):
    """How often each kind of request was made: {(method, first part of the path): number}."""
    return collections.Counter((method, path.split("/")[1]) for method, _, path, _ in requests)
