"""A model hub on this machine: the part of the hub's API that downloads use, and its bad days.

`Fault`s are used up one per request: a connection cut half-way, other bytes, fewer bytes, an HTTP status.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = 1000
"""Files of this size and more are large ones, which the hub knows by sha256."""


@dataclass
class LocalHub:
    """Repositories by name, each a mapping of path → bytes; requests are kept in `log`."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[str | int]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    address: str = ""

    def commit(self, repo: str) -> str:
        """A commit that follows from the content, as git's does."""
        names = sorted(self.repos[repo].items())
        return hashlib.sha1(repr([(n, hashlib.sha1(d).hexdigest()) for n, d in names]).encode()).hexdigest()

    def fault(self, path: str) -> str | int | None:
        """The next trouble of a path."""
        planned = self.faults.get(path)
        return planned.pop(0) if planned else None


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if len(data) >= LARGE else blob_id(data)


@contextmanager
def serving(hub: LocalHub) -> Iterator[LocalHub]:
    """Run the hub on a free port."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.served, self.path.split("?")[0]
        hub.log.append((self.command, path, self.headers.get("Range", "")))
        if (token := self.headers.get("Authorization")) is not None:
            hub.tokens.add(token)
        if path == "/api/whoami-v2":
            self._status(401 if token is None or token.removeprefix("Bearer ") in hub.expired else 200)
        elif path.startswith("/api/models/"):
            self._model(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            repo, _, rest = path.lstrip("/").partition("/resolve/")
            self._file(repo, rest.partition("/")[2], body)
        elif path.startswith("/plain/"):
            self._send(hub.repos["plain"][path.removeprefix("/plain/")], path, body, {})
        else:
            self._status(404)

    def _model(self, rest: str) -> None:
        hub = self.served
        repo, _, revision = rest.partition("/revision/")
        trouble = hub.fault(f"api:{repo}")
        if isinstance(trouble, int):
            self._status(trouble)
        elif repo not in hub.repos:
            self._status(404, "RepoNotFound")
        elif revision not in ("", "main", hub.commit(repo)):
            self._status(404, "RevisionNotFound")
        else:
            siblings = []
            for name, data in sorted(hub.repos[repo].items()):
                row: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob_id(data)}
                if len(data) >= LARGE:
                    row["lfs"] = {"sha256": etag(data), "size": len(data), "pointerSize": 130}
                siblings.append(row)
            value = {"_id": "1", "id": repo, "modelId": repo, "sha": hub.commit(repo), "siblings": siblings}
            self._bytes(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, True)

    def _file(self, repo: str, name: str, body: bool) -> None:
        hub = self.served
        data = hub.repos.get(repo, {}).get(name)
        if data is None:
            self._status(404, "EntryNotFound")
        elif repo in hub.gated:
            self._status(403, "GatedRepo")
        else:
            headers = {
                "ETag": f'"{etag(data)}"',
                "X-Repo-Commit": hub.commit(repo),
                "X-Linked-ETag": f'"{etag(data)}"',
                "X-Linked-Size": str(len(data)),
            }
            self._send(data, f"{repo}/{name}", body, headers)

    def _send(self, data: bytes, path: str, body: bool, headers: dict[str, str]) -> None:
        trouble = self.served.fault(path) if body else self.served.fault(f"head:{path}")
        if isinstance(trouble, int):
            self._status(trouble)
            return
        if trouble == "wrong":
            data = bytes(b ^ 0x5A for b in data)
        elif trouble == "short":
            data = data[: len(data) // 2]
        start = 0
        if span := self.headers.get("Range"):
            start = int(span.removeprefix("bytes=").split("-")[0])
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        part = data[start:]
        if trouble == "cut":
            self._head(206 if span else 200, len(part), headers)
            self.wfile.write(part[: max(1, len(part) // 2)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self._bytes(206 if span else 200, part, headers | {"Accept-Ranges": "bytes"}, body)

    def _status(self, status: int, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        if status == 429:
            headers["Retry-After"] = "0"
        self._bytes(status, b"", headers, True)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _bytes(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self._head(status, len(data), headers)
        if body and self.command != "HEAD":
            self.wfile.write(data)
