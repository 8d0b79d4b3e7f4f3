"""Folders of small pictures and rosters of them, for tests that look at no face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from portrait_lora.fleet import roster
from portrait_lora.fleet.roster import Roster

SETTINGS = "base=embedded; face_pack=embedded; allow_synthetic_models=true"


def picture(path: Path, seed: int) -> Path:
    """A picture like no other of another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), (seed % 256, seed // 256 % 256, 77)).save(path)
    return path


def pictures(folder: Path, count: int = 3, seed: int = 0) -> Path:
    """A folder of `count` pictures: `p0.png` and so on."""
    for n in range(count):
        picture(folder / f"p{n}.png", seed + n)
    return folder


def listed(folder: Path, rows: Sequence[str], header: str = "name,photos,consent,settings") -> Roster:
    """The roster `people.csv` of these rows."""
    path = folder / "people.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return roster.read(path)


def consent(
    path: Path, who: str = "Anna Lee", until: str = "2999-01-01", purposes: str = "training, portraits"
) -> Path:
    """A consent file as a person would give it."""
    path.write_text(f"who: {who}\npurposes: [{purposes}]\nuntil: {until}\nstatement: I agree.\n", "utf-8")
    return path
