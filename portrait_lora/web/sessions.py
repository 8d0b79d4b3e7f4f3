"""Browsers that have signed in: a random cookie each, of which only the digest is kept, in memory alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST: Final = 10_000


@dataclass(slots=True)
class Session:
    """A browser of a user; `csrf` goes into its forms.  Times in seconds of a steady clock."""

    user: str
    csrf: str
    opened: float
    used: float

    def is_csrf(self, token: str) -> bool:
        """Whether this is the session's own token; in constant time."""
        return hmac.compare_digest(token.encode(errors="replace"), self.csrf.encode())


class Sessions:
    """Opened at every sign-in under a new cookie, whatever cookie came along."""

    def __init__(self, idle_s: float, longest_s: float, clock: Callable[[], float] = time.monotonic):
        self._idle_s, self._longest_s, self._clock = idle_s, longest_s, clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self, user: str) -> str:
        """The cookie of a new session."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._drop_ended(now)
            if len(self._sessions) >= _MOST:
                del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].used)]
            self._sessions[_key(cookie)] = Session(user, secrets.token_urlsafe(32), now, now)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, unless it ended."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_key(cookie))
            if session is None or self._has_ended(session, now):
                return None
            session.used = now
            return session

    def close(self, cookie: str) -> None:
        """End a session; one that is not there is fine."""
        with self._lock:
            self._sessions.pop(_key(cookie), None)

    def _has_ended(self, session: Session, now: float) -> bool:
        return now - session.used > self._idle_s or now - session.opened > self._longest_s

    def _drop_ended(self, now: float) -> None:
        for key in [key for key, one in self._sessions.items() if self._has_ended(one, now)]:
            del self._sessions[key]


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode(errors="replace")).hexdigest()
