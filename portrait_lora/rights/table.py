"""May this be sold?  What the licences of base and face pack mean for the adapter and the portraits.

Summaries for orientation, not legal advice: every row names the licence that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from portrait_lora.errors import InputError

Answer = Literal["yes", "conditional", "no"]


@dataclass(frozen=True, slots=True)
class Right:
    """One thing, its licence, whether it may be used commercially, and why."""

    what: str
    name: str
    licence: str
    commercial: Answer
    terms: str


def table(base: Right, pack: Right) -> tuple[Right, ...]:
    """The rows for a journey: base, face pack, adapter, portraits."""
    adapter = Right(
        "adapter",
        "what training makes",
        base.licence,
        base.commercial,
        "It is made from the base model: the base's licence goes with it.",
    )
    portraits = Right(
        "portraits",
        "what generating makes",
        base.licence,
        "yes" if base.commercial == "yes" else "conditional",
        "The person's consent has to cover it."
        if base.commercial == "yes"
        else "Read what the base's licence says of outputs; the person's consent has to cover it too.",
    )
    return base, pack, adapter, portraits


def refuse_commercial(rows: Sequence[Right]) -> None:
    """`InputError` when something that is needed may not be used commercially."""
    forbidden = [r for r in rows if r.commercial == "no"]
    if forbidden:
        first = forbidden[0]
        raise InputError(
            f"commercial use is asked for, and the {first.what} {first.name!r} does not allow it",
            where="commercial",
            got=first.licence,
            needed="a base and a face pack whose licences allow it",
            remedy="Choose others (portrait-lora models), or set commercial: false.",
        )


def lines(rows: Sequence[Right]) -> list[str]:
    """The table for people."""
    head = f"{'':<10} {'sell?':<12} {'licence':<28} what it means"
    return [head, *(f"{r.what:<10} {r.commercial:<12} {r.licence:<28} {r.terms}" for r in rows)]
