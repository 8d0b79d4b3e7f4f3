"""Users and their roles: the owner alone, or those of a YAML file with hashes of passwords.

    users:
      anna: {role: admin, password: "scrypt$32768$8$3$…"}
      ben: {role: member, password: "scrypt$…"}
      carla: {role: viewer, sees: [ben], password: "scrypt$…"}

`portrait-lora web --hash-password` prints such a hash.  Admins see and change everything; members have people
of their own; viewers only look.  `sees` names users whose people may be looked at.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, cast

from portrait_lora import log, strict_yaml
from portrait_lora.errors import ConfigError, InputError, PortraitError

LEAST_PASSWORD: Final = 12
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_N, _R, _P = 1 << 15, 8, 3
_MOST_N, _MOST_R, _MOST_P = 1 << 18, 16, 8
_at_work = threading.BoundedSemaphore(2)
"""A hash takes 32 MB and a quarter of a second: never many of them at once."""
_log = log.get(__name__)


class Role(IntEnum):
    """What a user may do, each role also what those before it may."""

    VIEWER = 1
    MEMBER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class User:
    """Who sends a request; the owner of people and jobs by `name`."""

    name: str
    role: Role
    sees: tuple[str, ...] = ()

    def may_read(self, owner: str) -> bool:
        """Whether this user may look at what is `owner`'s."""
        return self.role is Role.ADMIN or owner == self.name or owner in self.sees

    def may_change(self, owner: str) -> bool:
        """Whether this user may change what is `owner`'s."""
        return self.role is Role.ADMIN or (self.role is Role.MEMBER and owner == self.name)


OWNER: Final = User("owner", Role.ADMIN)
"""The one user of a studio without a file of users."""


def hash_password(password: str) -> str:
    """A salted scrypt hash as it stands in the file.  Raises `InputError` for a short password."""
    if len(password) < LEAST_PASSWORD:
        needed = f"at least {LEAST_PASSWORD} characters"
        raise InputError("the password is too short", where="password", needed=needed)
    salt = secrets.token_bytes(16)
    parts = (base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt, _N, _R, _P)))
    return "$".join(("scrypt", str(_N), str(_R), str(_P), *parts))


def is_password(password: str, hashed: str) -> bool:
    """Whether `hashed` was made of this password; in constant time."""
    n, r, p, salt, wanted = _parts(hashed, "password")
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), wanted)


_UNKNOWN: Final = f"scrypt${_N}${_R}${_P}${'A' * 22}==${'A' * 43}="
"""Compared for names that nobody has, which then take as long as others."""


@dataclass(frozen=True, slots=True)
class _Entry:
    user: User
    password: str


class Users:
    """The users of a file, read anew when it changes; a file that became wrong leaves them as they were."""

    def __init__(self, path: Path | None):
        """Raises `ConfigError` for a file that is wrong; None is a studio of the owner alone."""
        self.path = path
        self._state = _state(path)
        self._entries = _read(path) if path else {}

    def find(self, name: str) -> User | None:
        """The user of this name, as the file is now."""
        if self.path is None:
            return OWNER if name == OWNER.name else None
        entry = self._now().get(name)
        return entry.user if entry else None

    def signed_in(self, name: str, password: str) -> User | None:
        """The user, when name and password are right; takes equally long for names that nobody has."""
        entry = self._now().get(name) if self.path else None
        right = is_password(password[:1024], entry.password if entry else _UNKNOWN)
        return entry.user if entry and right else None

    def _now(self) -> Mapping[str, _Entry]:
        state = _state(self.path)
        if self.path and state != self._state:
            self._state = state
            try:
                self._entries = _read(self.path)
            except PortraitError as error:
                _log.warning("the users stay as they were: %s", error)
        return self._entries


def _state(path: Path | None) -> tuple[int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status else None


def _read(path: Path) -> dict[str, _Entry]:
    value = strict_yaml.load(path, "file of users")
    rows = value.get("users") if isinstance(value, dict) and set(value) == {"users"} else None
    if not isinstance(rows, dict) or not rows:
        raise ConfigError("no users in this file", where=path, needed="`users:` with a name and role each")
    entries = {name: _entry(path, name, row) for name, row in cast(dict[str, object], rows).items()}
    if not any(entry.user.role is Role.ADMIN for entry in entries.values()):
        raise ConfigError("no admin among the users", where=path, remedy="Give one of them role: admin.")
    for entry in entries.values():
        if unknown := sorted(set(entry.user.sees) - set(entries)):
            raise ConfigError("no such user", where=f"{path}: {entry.user.name}.sees", got=unknown[0])
    return entries


def _entry(path: Path, name: str, row: object) -> _Entry:
    where = f"{path}: {name[:40]}"
    if not _NAME.fullmatch(name):
        needed = "lower-case letters, digits, dots, hyphens; 40 at most"
        raise ConfigError("not a name for a user", where=where, needed=needed)
    if not isinstance(row, dict):
        raise ConfigError("a user without role and password", where=where)
    fields = cast(dict[str, object], row)
    if unknown := sorted(set(fields) - {"role", "password", "sees"}):
        raise ConfigError("an unknown key", where=where, got=unknown[0], needed="role, password, sees")
    role, sees, password = fields.get("role"), fields.get("sees", []), fields.get("password")
    roles = {one.name.lower(): one for one in Role}
    if not isinstance(role, str) or role not in roles:
        raise ConfigError("no such role", where=where, got=role, needed=", ".join(roles))
    if not isinstance(sees, list) or not all(isinstance(one, str) for one in cast(list[object], sees)):
        raise ConfigError("`sees` is a list of user names", where=where, got=sees)
    if not isinstance(password, str):
        raise ConfigError("no password", where=where, needed="a hash", remedy=_MAKE)
    _parts(password, where)
    return _Entry(User(name, roles[role], tuple(cast(list[str], sees))), password)


_MAKE: Final = "Make one with: portrait-lora web --hash-password"


def _parts(hashed: str, where: str) -> tuple[int, int, int, bytes, bytes]:
    """Raises `ConfigError` for what is no hash of `hash_password`; a password in plain words is none."""
    try:
        kind, *costs, salt, digest = hashed.split("$")
        n, r, p = (int(cost) for cost in costs)
        salted, wanted = (base64.b64decode(part, validate=True) for part in (salt, digest))
        if kind != "scrypt" or len(salted) < 16 or len(wanted) != 32:
            raise ValueError
        if n & (n - 1) or not (1 << 14 <= n <= _MOST_N and 8 <= r <= _MOST_R and 1 <= p <= _MOST_P):
            raise ValueError
    except ValueError as error:
        raise ConfigError("not a hash of a password", where=where, needed="scrypt$…", remedy=_MAKE) from error
    return n, r, p, salted, wanted


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    with _at_work:
        return hashlib.scrypt(
            password.encode(errors="replace"), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32
        )
