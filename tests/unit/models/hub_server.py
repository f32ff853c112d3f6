"""A hub on the loopback interface: repositories made of folders, with ranges, gates and stalls."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = {".safetensors", ".bin", ".ckpt", ".msgpack"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository at one commit, whatever the revision asked for, except ``none``."""

    folder: Path
    commit: str = COMMIT
    gate: int | None = None  # the status that its files answer with
    lie_about: str | None = None  # a path whose announced hash is wrong


@dataclass
class Sent:
    """One answered request for a file."""

    path: str
    start: int
    size: int = 0


@dataclass
class HubServer:
    """What the server serves, and what it has been asked for."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    # path -> bytes after which an answer breaks off (once), or stops without an end
    break_after: dict[str, int] = field(default_factory=dict)
    stall_after: dict[str, int] = field(default_factory=dict)
    ignore_ranges: bool = False
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def requests(self, path: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.path == path]


@contextmanager
def serve() -> Iterator[HubServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    state = HubServer(url=f"http://127.0.0.1:{server.server_port}")
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> HubServer:
        return self.server.state  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        self.hub.tokens.append(token)
        if token == "Bearer hf_wrong":
            self._refuse(401, message="Invalid credentials in Authorization header")
            return
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            if parts[-1] == "none" and parts[-2] == "revision":
                self._refuse(404, "RevisionNotFound")
                return
            self._info("/".join(parts[2:4]), blobs="blobs" in parse_qs(url.query))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._refuse(404, "RepoNotFound")

    def _info(self, name: str, *, blobs: bool) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            # What the real hub says to a stranger, lest it tell which private names exist.
            self._refuse(401, "RepoNotFound")
            return
        files = sorted(path for path in repo.folder.rglob("*") if path.is_file())
        siblings = [_sibling(repo, path, blobs=blobs) for path in files]
        body = json.dumps({"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings})
        self._headers(200, len(body))
        self.wfile.write(body.encode())

    def _file(self, name: str, path: str) -> None:
        hub = self.hub
        repo = hub.repos[name]
        if repo.gate is not None:
            self._refuse(repo.gate, "GatedRepo")
            return
        content = (repo.folder / path).read_bytes()
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        start = 0 if hub.ignore_ranges else int(wanted)
        sent = Sent(path, start)
        hub.sent.append(sent)
        self._headers(206 if start else 200, len(content) - start)
        end = len(content)
        broken = hub.break_after.pop(path, None)
        stalling = hub.stall_after.pop(path, None)
        for limit in (broken, stalling):
            end = end if limit is None else start + limit
        self.wfile.write(content[start:end])
        self.wfile.flush()
        sent.size = end - start
        if stalling is not None:
            hub.stalled.set()
            hub.released.wait()
        if broken is not None or stalling is not None:
            self.close_connection = True

    def _headers(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.send_response(status)
        for name, value in (("X-Error-Code", code), ("X-Error-Message", message)):
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _sibling(repo: Repo, file: Path, *, blobs: bool) -> dict[str, object]:
    name = file.relative_to(repo.folder).as_posix()
    if not blobs:
        return {"rfilename": name}
    content = file.read_bytes()
    lie = b"lie" if name == repo.lie_about else b""
    blob = b"blob %d\0" % len(content) + content + lie
    sibling: dict[str, object] = {
        "rfilename": name,
        "size": len(content),
        "blobId": hashlib.sha1(blob).hexdigest(),
    }
    if file.suffix in LFS_SUFFIXES:
        sha256 = hashlib.sha256(content + lie).hexdigest()
        sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return sibling
