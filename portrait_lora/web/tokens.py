"""Tokens for programs, in `HOME/tokens.json`: made once, shown once, kept as digests.

A token has 256 random bits, so a plain sha256 hides it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.web.problems import NotFound, Refused

PREFIX: Final = "pl_"
LONGEST_DAYS: Final = 366
_MOST: Final = 100
Scope = Literal["read", "write"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "write")
"""`read` alone may look, but not change anything."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret; times in seconds of the epoch."""

    id: str
    user: str
    name: str
    created: float
    expires: float
    scopes: tuple[Scope, ...] = SCOPES

    def json_value(self) -> dict[str, object]:
        """As JSON."""
        return {
            "id": self.id,
            "user": self.user,
            "name": self.name,
            "created": self.created,
            "expires": self.expires,
            "scopes": list(self.scopes),
        }


class Tokens:
    """All tokens of a studio; safe from several threads and processes."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time):
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._state: tuple[int, int] | None = None
        self._rows: dict[str, Token] = {}

    def create(
        self, user: str, name: str, days: int = 90, scopes: tuple[Scope, ...] = SCOPES
    ) -> tuple[Token, str]:
        """A new token and its secret, which nothing can show again.  Raises `Refused` for too many."""
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        ends = now + min(max(days, 1), LONGEST_DAYS) * 86400
        token = Token(secrets.token_hex(8), user, name[:80], now, ends, tuple(sorted(set(scopes))))
        with manifest.locked(self._path):
            rows = {key: one for key, one in self._read().items() if one.expires > now}
            if sum(one.user == user for one in rows.values()) >= _MOST:
                raise Refused("too many tokens", needed=f"at most {_MOST}", remedy="Revoke one.")
            self._write(rows | {_key(secret): token})
        return token, secret

    def of(self, user: str) -> list[Token]:
        """The user's tokens that still hold, the newest first."""
        now = self._clock()
        rows = [one for one in self._now().values() if one.user == user and one.expires > now]
        return sorted(rows, key=lambda one: one.created, reverse=True)

    def revoke(self, user: str, id: str) -> None:
        """End a token.  Raises `NotFound` for one that is not the user's."""
        with manifest.locked(self._path):
            rows = self._read()
            kept = {key: one for key, one in rows.items() if (one.user, one.id) != (user, id)}
            if len(kept) == len(rows):
                raise NotFound("no such token", where="token")
            self._write(kept)

    def find(self, secret: str) -> Token | None:
        """The token of this secret, unless it is none, or has expired."""
        token = self._now().get(_key(secret))
        return token if token and token.expires > self._clock() else None

    def _now(self) -> dict[str, Token]:
        with self._lock:
            try:
                status = self._path.stat()
            except OSError:
                return {}
            state = (status.st_mtime_ns, status.st_size)
            if state != self._state:
                self._rows, self._state = self._read(), state
            return self._rows

    def _read(self) -> dict[str, Token]:
        if not self._path.exists():
            return {}
        value = strict_json.load_object(self._path, "list of tokens")
        rows = cast(dict[str, dict[str, object]], value.get("tokens", {}))
        try:
            return {key: _token(row) for key, row in rows.items()}
        except TypeError as error:
            raise ArtifactError("the list of tokens is damaged", where=self._path) from error

    def _write(self, rows: dict[str, Token]) -> None:
        value = {"version": 1, "tokens": {key: one.json_value() for key, one in rows.items()}}
        manifest.write_json_atomic(self._path, value)


def _token(row: dict[str, object]) -> Token:
    scopes = cast(list[Scope], row.pop("scopes", list(SCOPES)))
    return Token(**row, scopes=tuple(scopes))  # pyright: ignore[reportArgumentType]


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
