"""Folder names of a fleet's people: a slug of the name, the same whoever else is on the roster.

What a slug cannot say (accents, other scripts, a hyphen) is kept apart by six characters of a digest, so that
`José` and `Jose` never share a folder, and none moves when the other comes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from typing import Final

PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MOST: Final = 40
_LETTERS: Final = str.maketrans(
    {"þ": "th", "ð": "d", "ø": "o", "ł": "l", "ß": "ss", "æ": "ae", "œ": "oe", "đ": "d", "ı": "i", "ħ": "h"}
)
"""Letters that no decomposition takes apart."""
_RESERVED: Final = re.compile(r"con|prn|aux|nul|com\d|lpt\d")


def same_name(name: str) -> str:
    """What two spellings of one name share: case, spaces and the form of their accents do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def slug_of(name: str) -> str:
    """`anna-lee` for `Anna Lee`; `jose-k3x9qd` for `José`, and `person-k3x9qd` where no letter is Latin."""
    whole = same_name(name)
    plain = unicodedata.normalize("NFKD", whole.translate(_LETTERS)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if slug and slug.replace("-", " ") == whole and len(slug) <= _MOST and not _RESERVED.fullmatch(slug):
        return slug
    code = base64.b32encode(hashlib.sha256(whole.encode(errors="replace")).digest()).decode().lower()[:6]
    return f"{slug[:_MOST].strip('-') or 'person'}-{code}"
