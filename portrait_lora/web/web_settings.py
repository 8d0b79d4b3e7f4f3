"""Settings of one start of the studio: who may come in, from where, and how much at once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names of this machine in a `Host` header."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do; sizes in bytes, times in seconds, rates per second."""

    body_bytes: int = 1 << 20
    """Of a form or a JSON document."""
    upload_bytes: int = 1 << 30
    """Of a request with files; every file has the limit of the picture reader besides."""
    upload_files: int = 500
    form_fields: int = 1000
    url_bytes: int = 4096
    idle_s: float = 30.0
    """Without a byte of a body that is still to come."""
    slowest_bytes_per_s: float = 1024.0
    """On average, once the first `idle_s` are over."""
    reads_per_s: float = 1000.0
    reads_at_once: int = 5000
    writes_per_s: float = 50.0
    writes_at_once: int = 2000
    sign_ins_per_s: float = 1 / 30
    sign_ins_at_once: int = 10
    session_idle_s: float = 12 * 3600.0
    session_s: float = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the studio was started; `token` opens it for the one user of a studio without `users`."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    users: Path | None = None
    """A file of users and their roles (`users.py`); without one there is one user, the owner."""
    port: int = 0
    secure: bool = False
    """Whether the server speaks TLS itself."""
    hosts: frozenset[str] = LOOPBACK
    """Names, without port, that a `Host` header may carry."""
    devices: tuple[str, ...] = ("auto",)
    """Where jobs run, one at a time on each; auto is what the settings of a likeness choose."""
    likenesses: tuple[Path, ...] = ()
    """Likeness folders elsewhere that are opened with the studio."""
    runs_jobs: bool = True
    webhook_hosts: tuple[str, ...] = ()
    """`HOST` or `HOST:PORT` of this network that webhooks may be sent to, by http too."""
    limits: Limits = field(default_factory=Limits)
