"""Commercial use: what the licences of base and face pack mean for the adapter and the portraits.

Summaries for orientation, not legal advice: every row names the licence that applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from portrait_lora.errors import InputError

Answer = Literal["yes", "conditional", "no"]


@dataclass(frozen=True, slots=True)
class Right:
    """One item, its licence, whether it may be used commercially, and why."""

    what: str
    name: str
    licence: str
    commercial: Answer
    terms: str


def table(base: Right, pack: Right) -> tuple[Right, ...]:
    """The rows of a run: base, face pack, adapter, portraits."""
    adapter = Right(
        "adapter",
        "result of training",
        base.licence,
        base.commercial,
        "A derivative of the base model: the base's licence applies.",
    )
    portraits = Right(
        "portraits",
        "result of generation",
        base.licence,
        "yes" if base.commercial == "yes" else "conditional",
        "The person's consent must cover it."
        if base.commercial == "yes"
        else "See the base's licence on outputs; the person's consent must cover it too.",
    )
    return base, pack, adapter, portraits


def refuse_commercial(rows: Sequence[Right]) -> None:
    """`InputError` when a required model may not be used commercially."""
    forbidden = [r for r in rows if r.commercial == "no"]
    if forbidden:
        first = forbidden[0]
        raise InputError(
            f"commercial use is requested, but the {first.what} {first.name!r} does not allow it",
            where="commercial",
            got=first.licence,
            needed="a base and a face pack whose licences allow it",
            remedy="Choose others (portrait-lora models), or set commercial: false.",
        )


def lines(rows: Sequence[Right]) -> list[str]:
    """The table as text."""
    head = f"{'':<10} {'commercial':<12} {'licence':<28} what it means"
    return [head, *(f"{r.what:<10} {r.commercial:<12} {r.licence:<28} {r.terms}" for r in rows)]
