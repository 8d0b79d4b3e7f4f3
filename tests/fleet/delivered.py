"""A fleet whose people have portraits, for tests that draw and train nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.fleet import deliver
from portrait_lora.fleet.enrol import enrol
from portrait_lora.fleet.roster import Roster
from portrait_lora.generation import save
from portrait_lora.records import Portrait, Shot
from portrait_lora.stages.context import Context
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonRecord, PersonState


def drawn(path: Path, seed: int) -> Path:
    """A portrait as the program saves it, with its record and mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    shot = Shot(path.stem, "a headshot of ohwx", "", (64, 64), seed, (("subject", "ohwx man"),))
    portrait = Portrait(path, shot, 2, 3.0, 1.0, "a" * 64)
    save.save(Image.fromarray(pixels), portrait, save.record_of(portrait, "embedded", "b" * 64, "ohwx"))
    return path


def copied(portraits: Sequence[Path], out: Path, *_: object, **__: object) -> list[Path]:
    """In place of `publish`, for tests that look at no mark."""
    out.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, out / f"portrait-{path.name}")) for path in portraits]


def accepted(
    roster: Roster, home: Path, monkeypatch: pytest.MonkeyPatch, *, make: Callable[[Path, int], Path] = drawn
) -> None:
    """Enrol everybody, and give each two portraits of their own and a record that says they passed."""
    for number, one in enumerate(enrol(roster, home)):
        assert one.problem is None
        for shot in range(2):
            make(one.folder / "portraits" / "headshots" / f"0{shot}.png", 10 * number + shot)
        person = one.entry.person
        files.write(home, PersonRecord(person=person, digest="d", state=PersonState.SUCCEEDED))

    def portraits_of(ctx: Context) -> list[Path]:
        return sorted((ctx.likeness.root / "portraits" / "headshots").glob("*.png"))

    monkeypatch.setattr(deliver, "portraits_of", portraits_of)
