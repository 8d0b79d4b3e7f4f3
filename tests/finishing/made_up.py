"""Steps, tools and judges that are written out here, for the tests of finishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.look import Planned
from portrait_lora.finishing.step import OfLight, SameSize, Tools
from portrait_lora.records import Face, Parts, RGBImage
from portrait_lora.settings import Section


def canvas(side_px: int = 32, seed: int = 0) -> Canvas:
    """A picture of a gradient with a little noise."""
    rows = np.linspace(0.1, 0.9, side_px, dtype=np.float32)
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, (side_px, side_px, 3))
    return Canvas.of(np.clip((rows[:, None, None] + noise) * 255, 0, 255).astype(np.uint8))


class Settings(Section):
    """How much is added."""

    amount: float = 0.5


class Brighter(SameSize):
    """Adds light; the judge below counts it as loss of likeness."""

    name = "brighter"
    settings = Settings
    of_colour = False

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """Brighter by the amount."""
        return canvas.with_rgb(canvas.rgb_HW3 + settings.amount)


class Relit(OfLight, Brighter):
    """Adds light to the person."""

    name = "relit"


class Larger(Brighter):
    """A step that cannot be weakened."""

    name = "larger"

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """None."""
        return None


class LightJudge:
    """Likeness falls with mean brightness; in white no face is found."""

    threshold = 0.3

    def __init__(self, *, has_photos: bool = True) -> None:
        self.colours: list[int] = []
        self.has_photos = has_photos

    def likeness(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """1 minus the mean."""
        self.colours.append(len(colours))
        mean = float(image_rgb.mean()) / 255
        return None if mean > 0.999 else 1 - mean

    def reported(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """The same."""
        return self.likeness(image_rgb, colours)


class NoTools:
    """Tools without a face and without models."""

    commercial = False
    redraw = None
    mark = b""

    def __init__(self, folder: Path = Path(), *, studio: bool = False):
        self.folder, self.studio = folder, studio
        self.trail: Sequence[tuple[str, Canvas]] = ()

    def begin(self, place: int, name: str, canvas: Canvas) -> None:
        """The trail grows."""
        self.trail = (*self.trail, (name, canvas))

    def used(self) -> Mapping[str, str]:
        """Nothing was used."""
        return {}

    def face(self, canvas: Canvas) -> Face:
        """There is none."""
        raise InputError("no face in this picture")

    def parts(self, canvas: Canvas) -> Parts | None:
        """There are none."""
        return None

    def folder_of(self, name: str, what: str) -> Path:
        """Relative to the folder of these tools."""
        return self.folder / name

    def random(self, name: str) -> np.random.Generator:
        """Always the same."""
        return np.random.default_rng(5)

    def file(self, name: str, what: str) -> Path:
        """In the folder."""
        return self.folder / name

    def model(self, name: str) -> Path:
        """There is none."""
        raise InputError("no such model", got=name)

    def embedded(self, path: Path) -> Path:
        """As it is."""
        return path


def planned(step: Any, **values: object) -> Planned:
    """A step with its settings."""
    return Planned(step, step.settings(**values))
