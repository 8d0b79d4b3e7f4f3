"""Pages of a list: an opaque cursor stands for the last row shown, so rows that come or go shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from portrait_lora.errors import InputError

LIMIT: Final = 50
MAX_LIMIT: Final = 200
T = TypeVar("T")


def encode(key: str) -> str:
    """The cursor behind the row with this key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """The key of a cursor; empty for none.  Raises `InputError` for text that is no cursor."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InputError(
            "not a cursor", where="cursor", got=cursor[:80], needed="`next` of an earlier page"
        ) from error


def page(rows: Iterable[T], key: Callable[[T], str], cursor: str, limit: int) -> tuple[list[T], str | None]:
    """The rows behind the cursor in the order of their keys, at most `limit`, and the next cursor or None."""
    after = decode(cursor)
    ordered = sorted((row for row in rows if not cursor or key(row) > after), key=key)
    shown = ordered[:limit]
    return shown, encode(key(shown[-1])) if len(ordered) > limit else None
