"""Requests as no client library sends them: straight into the application, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.web.conftest import ORIGIN

HOST = ORIGIN.removeprefix("http://")


@dataclass(frozen=True)
class Answer:
    """Status, headers (the last of a name) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


def as_browser(client: TestClient) -> tuple[tuple[str, str], ...]:
    """The headers of a signed-in browser, its cookie among them."""
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    names = ("origin", "sec-fetch-site", "x-csrf-token")
    return ("cookie", cookie), *((name, client.headers[name]) for name in names)


def send(
    app: FastAPI,
    method: str,
    path: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    host: str | None = HOST,
    raw_path: bytes | None = None,
    query: bytes = b"",
    body: Iterable[bytes] = (b"",),
    wait_s: float = 0.0,
    kind: str = "http",
) -> Answer:
    """One request; `wait_s` before every part of the body but the first."""
    pairs = [*((("host", host),) if host is not None else ()), *headers]
    scope = {
        "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode() if raw_path is None else raw_path, "query_string": query,
        "root_path": "", "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in pairs],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    parts, sent = list(body), [0]
    messages: list[Any] = []

    async def receive() -> dict[str, object]:
        if sent[0] == len(parts):
            return {"type": "http.disconnect"}
        if sent[0]:
            await asyncio.sleep(wait_s)
        sent[0] += 1
        return {"type": "http.request", "body": parts[sent[0] - 1], "more_body": sent[0] < len(parts)}

    async def collect(message: Any) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, collect))
    start = messages[0]
    if start["type"] != "http.response.start":
        return Answer(int(start.get("code", 0)), {}, b"")
    fields = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], fields, b"".join(one.get("body", b"") for one in messages[1:]))
