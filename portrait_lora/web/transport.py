"""How the client of the API talks to a studio: standard library alone, problems as exceptions, bounded waits.

from portrait_lora.web.client import Client

studio = Client("http://127.0.0.1:7860", token)
studio.upload("anna-x3k9qd", Path("IMG_0412.jpg"))
job = studio.wait(studio.check("anna-x3k9qd")["id"])
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast
from urllib.parse import quote, urlencode, urlsplit

from portrait_lora.errors import InputError, PortraitError

PIECE_BYTES: Final = 4 * 1024 * 1024
_BLOCK: Final = 1 << 16
_WAIT_SECONDS: Final = 20
_TRIES: Final = 3
_ENDED: Final = ("succeeded", "failed", "cancelled")


class Unset:
    """Stands for an argument that is not sent."""


UNSET: Final = Unset()


class ApiError(PortraitError):
    """What the studio refused; `status` is that of HTTP, the other fields are those of the problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        self.status, self.problem = status, dict(problem)
        words = {key: problem.get(key, "") for key in ("where", "got", "needed", "remedy")}
        super().__init__(str(problem.get("what") or problem.get("title") or f"status {status}"), **words)


class Transport:
    """A connection to one studio; not to be shared between threads."""

    def __init__(
        self, address: str, token: str, *, timeout: float = 90.0, context: ssl.SSLContext | None = None
    ):
        """`address` is `http://HOST:PORT` or https, `token` one of `POST /v1/tokens` or that of the start."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("not the address of a studio", got=address, needed="http://HOST:PORT")
        self._parts, self._token, self._timeout, self._context = parts, token, timeout, context
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, job_id: str, seconds: float = float("inf")) -> Any:
        """The job once it is over, or as it stands after so many seconds."""
        ends = time.monotonic() + seconds
        while True:
            left = max(0.0, min(_WAIT_SECONDS, ends - time.monotonic()))
            job = self._json("GET", f"/v1/jobs/{quote(job_id)}", query={"wait": f"{left:.2f}"})
            if job["state"] in _ENDED or time.monotonic() >= ends:
                return job

    def events(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events of a job as they happen, until it is over; a stream that breaks off is gone on with."""
        while True:
            connection = self._open()
            headers = {**self._headers(), "Last-Event-ID": str(after), "Accept": "text/event-stream"}
            try:
                connection.request("GET", f"/v1/jobs/{quote(job_id)}/events", headers=headers)
                answer = connection.getresponse()
                if answer.status == http.HTTPStatus.NO_CONTENT:
                    return
                self._refuse(answer.status, answer)
                for kind, data in _messages(answer):
                    if kind == "end":
                        return
                    after = int(data["number"])
                    yield data
            except (ConnectionError, http.client.HTTPException):
                time.sleep(1.0)
            finally:
                connection.close()

    def upload(self, likeness: str, path: Path, *, piece_bytes: int = PIECE_BYTES) -> Any:
        """Send a photo in pieces; what became of it.  A line that breaks is gone on with where it broke."""
        data = path.read_bytes()
        begun = {"name": path.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        place = f"/v1/likenesses/{quote(likeness)}/uploads"
        one = self._json("POST", place, body=begun, key=secrets.token_hex(16))
        here, offset, tries = f"{place}/{one['id']}", int(one["offset"]), 0
        while offset < len(data):
            headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
            try:
                piece = data[offset : offset + piece_bytes]
                offset = int(self._json("PATCH", here, data=piece, headers=headers)["offset"])
                tries = 0
            except (ConnectionError, http.client.HTTPException):
                tries += 1
                if tries >= _TRIES:
                    raise
                offset = int(self._json("GET", here)["offset"])
        return self._json("POST", f"{here}/complete")

    def save(self, address: str, target: Path, **query: str) -> Path:
        """Write what an address of the API answers (a picture, a zip) into a new file."""
        if target.exists():
            raise InputError("this file is there already", where=target, remedy="Name another one.")
        part = target.with_name(f".{target.name}.part")
        answer = self._answer("GET", address, query=query)
        with part.open("wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
        part.replace(target)
        return target

    def _json(self, method: str, path: str, **more: Any) -> Any:
        answer = self._answer(method, path, **more)
        data = answer.read()
        return json.loads(data) if data else None

    def _bytes(self, method: str, path: str, **more: Any) -> bytes:
        return self._answer(method, path, **more).read()

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        key: str = "",
    ) -> http.client.HTTPResponse:
        """One exchange; a read, or what has a key, is tried again once when the connection had died."""
        fields = {**self._headers(), **_set(headers or {})}
        if body is not None:
            data = json.dumps(_set(body)).encode()
            fields["Content-Type"] = "application/json"
        if key:
            fields["Idempotency-Key"] = key
        pairs = urlencode(_set(query or {}), doseq=True)
        target = path + (f"?{pairs}" if pairs else "")
        try:
            answer = self._exchange(method, target, data, fields)
        except (ConnectionError, http.client.HTTPException):
            if not (method == "GET" or key):
                raise
            answer = self._exchange(method, target, data, fields)
        self._refuse(answer.status, answer)
        return answer

    def _exchange(
        self, method: str, target: str, data: bytes | None, fields: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._connection = self._connection or self._open()
        try:
            self._connection.request(method, target, data, dict(fields))
            return self._connection.getresponse()
        except BaseException:
            self.close()
            raise

    def _form(self, method: str, path: str, files: Sequence[Path]) -> Any:
        boundary = secrets.token_hex(16)
        parts: list[bytes] = []
        for file in files:
            name = quote(file.name, safe=" ()+,-.[]_@")
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
            parts += [head.encode(), file.read_bytes(), b"\r\n"]
        data = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        return self._json(
            method, path, data=data, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
        )

    def _refuse(self, status: int, answer: http.client.HTTPResponse) -> None:
        if status < http.HTTPStatus.BAD_REQUEST:
            return
        data = answer.read()
        try:
            problem = json.loads(data)
        except ValueError:
            problem = {"title": data[:200].decode(errors="replace")}
        raise ApiError(status, cast(dict[str, Any], problem) if isinstance(problem, dict) else {})

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    def _open(self) -> http.client.HTTPConnection:
        host, port = cast(str, self._parts.hostname), self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        context = self._context or ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not isinstance(value, Unset)}


def _messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a stream of events."""
    kind, data = "message", ""
    for raw in answer:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data:
                yield kind, json.loads(data)
            kind, data = "message", ""
        elif line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
