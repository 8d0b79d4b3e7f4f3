"""Photos that the settings name: a name that is not there is an error with the nearest one beside it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from portrait_lora.errors import InputError


def require_named(wanted: Iterable[str], names: Sequence[str], key: str) -> None:
    """Raise `InputError` for the first of `wanted` that is no file among `names`; `key` is the setting."""
    for file in wanted:
        if file not in names:
            close = difflib.get_close_matches(file, names, 1, cutoff=0.5)
            raise InputError(
                "no photo of this name",
                where=key,
                got=file,
                needed="the name of a file among the photos",
                remedy=f"Did you mean {close[0]}?" if close else "Correct the name, or take it out.",
            )
