"""Licences of the weights that steps of finishing use, where pictures are wanted for commercial use."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora.errors import InputError
from portrait_lora.finishing.step import Tools

PERMISSIVE: Final = (
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "ISC", "Unlicense",
)  # fmt: skip
"""SPDX names of licences that allow commercial use of weights without further conditions on pictures."""
_HOW: Final = "model_licence: …"


def require(tools: Tools, model: Path | str, licence: str, *, how: str = _HOW) -> None:
    """Raise `InputError` where commercial use is asked for and the licence is not known to allow it.

    `how`: where a licence is named.
    """
    if tools.commercial and licence not in PERMISSIVE:
        raise InputError(
            "commercial use is requested, and this model's licence is not known to allow it",
            where=model,
            got=licence or "no licence",
            needed=f"one of {', '.join(PERMISSIVE)}",
            remedy=f"Name the licence in the look ({how}), choose another model, or set commercial: false.",
        )
