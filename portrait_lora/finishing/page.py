"""The page of finished pictures: before and after side by side, with the likeness and every step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment

from portrait_lora import manifest

_SHOWN: Final = (".webp", ".avif")
"""Moving pictures that a browser shows as pictures."""
_TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture: files before and after (None: refused, with the reason), likeness by A and B, steps.

    `clips` are the moving pictures beside it, `moving` says what likeness their frames have.
    """

    before: Path
    after: Path | None
    likeness: Sequence[tuple[str, float | None, float | None]]
    steps: Sequence[tuple[str, float]]  # name, strength
    refused: str = ""
    clips: Sequence[Path] = ()
    moving: Sequence[str] = ()


def write_page(page: Path, pictures: Sequence[Shown], *, look: str, about: str, references: str) -> Path:
    """Write the page; it links the pictures by relative paths and loads nothing from elsewhere."""
    rows = [
        {
            "name": one.before.stem,
            "before": _link(one.before, page),
            "after": None if one.after is None else _link(one.after, page),
            "shown": one.after is not None and one.after.suffix.lower() not in (".tif", ".tiff"),
            "likeness": [
                (name, f"{a:.3f}", f"{b:.3f}", f"{b - a:+.3f}")
                for name, a, b in one.likeness
                if a is not None and b is not None
            ],
            "steps": [
                name if strength >= 1 else f"{name} at {strength:.0%}, to keep the likeness"
                for name, strength in one.steps
            ],
            "refused": one.refused,
            "clip": next((_link(p, page) for p in one.clips if p.suffix in _SHOWN), None),
            "clips": [(p.suffix[1:], _link(p, page)) for p in one.clips],
            "moving": one.moving,
        }
        for one in pictures
    ]
    done = sum(one.after is not None for one in pictures)
    template = Environment(autoescape=True).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    facts = [f"{done} of {len(rows)} finished", f"likeness to {references}", about]
    text = template.render(look=look, facts=" · ".join(filter(None, facts)), rows=rows)
    manifest.write_text_atomic(page, text)
    return page


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path.resolve(), page.parent.resolve())).as_posix())
