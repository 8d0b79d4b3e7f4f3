"""Idempotency-Key: the same request again gets the answer of the first one, for a day."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Final

from portrait_lora.errors import InputError
from portrait_lora.web.problems import Conflict
from portrait_lora.web.store import Store

MAX_KEY: Final = 200
_KEPT_SECONDS: Final = 86_400.0
_ABANDONED_SECONDS: Final = 60.0
"""A request without an answer for so long died with its server: the next one with its key is let through."""


class KeyReused(InputError):
    """The key came with another request before."""


class StillWorking(Conflict):
    """The first request with this key has no answer yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first request was answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def fingerprint(method: str, target: str, body: bytes) -> str:
    """Hex sha256 that identifies a request; `target` is path and query."""
    h = hashlib.sha256()
    for part in (method.encode(), target.encode(), body):
        h.update(len(part).to_bytes(8, "big") + part)
    return h.hexdigest()


class Keys:
    """The keys in a store; every owner has their own."""

    def __init__(self, store: Store):
        self._store = store

    def begin(self, owner: str, key: str, request: str) -> Answer | None:
        """Reserve a key for a request (its `fingerprint`), or the answer that it has already.

        Raises `KeyReused` for a key of another request, `StillWorking` while the first one is worked on.
        """
        now = time.time()
        with self._store.writing() as db:
            db.execute("DELETE FROM idempotency WHERE created < ?", (now - _KEPT_SECONDS,))
            row = db.execute("SELECT * FROM idempotency WHERE owner = ? AND key = ?", (owner, key)).fetchone()
            if row is not None and row["fingerprint"] != request:
                raise KeyReused(
                    "this key belongs to another request",
                    where="Idempotency-Key",
                    got=key,
                    needed="the same method, path and body as before",
                    remedy="Take a new key for a new request.",
                )
            if row is not None and row["status"] is not None:
                pairs = tuple((str(k), str(v)) for k, v in json.loads(row["headers"]))
                return Answer(row["status"], pairs, row["body"])
            if row is not None and now - row["created"] < _ABANDONED_SECONDS:
                raise StillWorking(
                    "the first request with this key is still being worked on",
                    where="Idempotency-Key",
                    got=key,
                    remedy="Ask again in a moment.",
                )
            db.execute(
                "INSERT OR REPLACE INTO idempotency (owner, key, fingerprint, created) VALUES (?, ?, ?, ?)",
                (owner, key, request, now),
            )
        return None

    def finish(self, owner: str, key: str, answer: Answer) -> None:
        """Keep the answer."""
        with self._store.writing() as db:
            db.execute(
                "UPDATE idempotency SET status = ?, headers = ?, body = ? WHERE owner = ? AND key = ?",
                (answer.status, json.dumps(answer.headers), answer.body, owner, key),
            )

    def release(self, owner: str, key: str) -> None:
        """The request failed: the key is free for another try."""
        with self._store.writing() as db:
            db.execute("DELETE FROM idempotency WHERE owner = ? AND key = ? AND status IS NULL", (owner, key))
