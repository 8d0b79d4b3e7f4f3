"""Ids in addresses: short digests and slugs, never paths or names of files."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from typing import Final

PERSON: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LETTERS: Final = 16


def digest_id(name: str) -> str:
    """16 characters of base32 for a relative name; the same name gives the same id, and no way back."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return base64.b32encode(digest).decode().lower()[:_LETTERS]


def person_id(name: str) -> str:
    """A slug of the name and six random characters: `anna-lee-x3k9qd`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "person"
    return f"{slug}-{base64.b32encode(secrets.token_bytes(5)).decode().lower()[:6]}"
