"""What a step of finishing is: typed settings, and a pure function from canvas to canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from portrait_lora.finishing.canvas import Canvas
from portrait_lora.records import Face, Parts, RGBImage
from portrait_lora.settings import Section


class Redraw(Protocol):
    """Image to image by the base model with the person's own adapter, for the detail pass."""

    side_px: int
    """Tiles are squares of this side, the resolution of the base."""

    def __call__(self, rgb: RGBImage, strength: float, seed: int) -> RGBImage:
        """The tile drawn over; `strength` 0 keeps it, 1 ignores it."""
        ...


class Tools(Protocol):
    """What a step may ask for beside its canvas; everything is a function of picture, look and seed."""

    folder: Path
    """Files that a look names are relative to this folder."""
    trail: Sequence[tuple[str, Canvas]]
    """The source, then name and result of every step before; only first and last if no step needs all."""
    studio: bool
    """Whether pictures are of the synthetic studio, which embedded models know; else they are photographs."""
    commercial: bool
    """Whether models must be licensed for commercial use."""
    redraw: Redraw | None
    """None for a picture that no model of the person has drawn."""

    mark: bytes
    """The XMP packet that says how the picture came to be, for every product; empty for an unmarked one."""

    def face(self, canvas: Canvas) -> Face:
        """The subject's face in pixels of the canvas, measured once per canvas.

        Raises `InputError` without a face, and with several prominent ones.
        """
        ...

    def parts(self, canvas: Canvas) -> Parts | None:
        """The segmentation around that face; None from a face pack without a segmenter."""
        ...

    def random(self, name: str) -> np.random.Generator:
        """A generator that depends on the seed of the chain, the place of the step and `name`."""
        ...

    def file(self, name: str, what: str) -> Path:
        """A file that the settings name; its sha256 is recorded.  `InputError` when it is missing."""
        ...

    def folder_of(self, name: str, what: str) -> Path:
        """A folder that the settings name; the digest of its files is recorded.  `InputError` without it."""
        ...

    def model(self, name: str) -> Path:
        """The folder or file of a model by its name; its digest goes into the record.

        Raises `InputError` naming the command that downloads it.
        """
        ...

    def embedded(self, path: Path) -> Path:
        """A model inside the package; its digest goes into the record."""
        ...


class Step(Protocol):
    """One step.  `of_colour`: it maps colours and leaves every edge where it is, or changes only what is
    behind the person, who can thereby become less recognisable, but not another one; likeness is then
    measured to references that went through the same step.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> type[Section]: ...

    @property
    def of_colour(self) -> bool: ...

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The finished canvas.  Raises `InputError` when the picture does not allow this step."""
        ...

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """The canvas in the size of the result without what may change the person, to be blended with.

        None: the result cannot be weakened, only refused.
        """
        ...


@runtime_checkable
class Opens(Protocol):
    """A step whose settings may name files or need an extra."""

    def open(self, settings: Any, tools: Tools) -> None:
        """Open what the settings name, before any picture is touched.

        Raises `InputError` or `ArtifactError` for what would stop every picture.
        """
        ...


class BehindOnly:
    """For steps that leave the opaque pixels of the person to the bit and change only what is behind them.

    Embedders answer to another backdrop as well, by more than the gate allows (22 to 39 % of 18 studio
    portraits): such a step is reported, and refused only when the face is no longer found.
    """

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """None: half a backdrop is none."""
        return None


class SameSize:
    """For steps that keep the size: weakened by blending with what was there before."""

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """The canvas itself."""
        return canvas


class OfLight(SameSize):
    """For steps that put the person into another light, which embedders see as well: two pictures of one
    person that differ in their light alone are less alike than a picture is to itself.

    Against photos of the person such a step is gated as any other; without any, likeness to the picture
    before would measure the light: it is reported, and the step is weakened only until a face is found.
    """


def settings_record(settings: Section) -> Mapping[str, object]:
    """The settings as they stand in a record: only what differs from the defaults, as JSON values."""
    return settings.model_dump(mode="json", exclude_defaults=True)
