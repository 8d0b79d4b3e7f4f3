"""Who was forgotten, so that nobody is enrolled again by a roster that still lists them.

`HOME/forgotten.json` holds no names: keyed digests of them, which know a name again but do not tell it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.fleet.slugs import same_name

FILE: Final = "forgotten.json"
_KEY_BYTES: Final = 32
_Change = Callable[[bytes, frozenset[str]], frozenset[str]]


def those_of(home: Path, roster: Roster) -> set[str]:
    """The folder names of those on the roster who were forgotten."""
    key, digests = _read(home)
    return {entry.person for entry in roster.entries if _digest(key, entry) in digests} if digests else set()


def remember(home: Path, entry: Entry) -> None:
    """Note that this person was forgotten."""
    _change(home, lambda key, digests: digests | {_digest(key, entry)})


def welcome(home: Path, entry: Entry) -> bool:
    """The person may be enrolled again; whether they had been forgotten."""
    key, digests = _read(home)
    if _digest(key, entry) not in digests:
        return False
    _change(home, lambda key, digests: digests - {_digest(key, entry)})
    return True


def _digest(key: bytes, entry: Entry) -> str:
    words = f"{entry.person}\n{same_name(entry.name)}".encode(errors="replace")
    return hmac.new(key, words, hashlib.sha256).hexdigest()


def _change(home: Path, change: _Change) -> None:
    with manifest.locked(home / FILE):
        key, digests = _read(home)
        rows = sorted(change(key, digests))
        manifest.write_json_atomic(home / FILE, {"version": 1, "key": key.hex(), "people": rows})


def _read(home: Path) -> tuple[bytes, frozenset[str]]:
    if not (home / FILE).is_file():
        return secrets.token_bytes(_KEY_BYTES), frozenset[str]()
    value = strict_json.load_object(home / FILE, "list of forgotten people")
    try:
        rows = cast(list[object], value["people"])
        return bytes.fromhex(str(value["key"])), frozenset(map(str, rows))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the list of forgotten people is damaged", where=home / FILE) from error
