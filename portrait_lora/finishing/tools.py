"""The tools of a chain: the face measured once per canvas, seeded noise, files by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.families import layout
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.step import Redraw
from portrait_lora.records import Face, Parts, RGBImage

RIVAL: Final = 0.6
"""A second face of this share of the largest one's size makes it unclear whose portrait it is."""
FindModel = Callable[[str], Path]


class Finder(Protocol):
    """The part of a face pack that finishing uses."""

    def find(self, image_rgb: RGBImage) -> list[Face]:
        """The faces of an RGB uint8 HWC picture, largest first."""
        ...

    def parts(self, image_rgb: RGBImage, face: Face) -> Parts | None:
        """The segmentation around a face, or None."""
        ...


class PictureTools:
    """See `step.Tools`; `seed` decides every random number of the chain.

    `keeps`: the canvases of all steps stay in memory for the steps that need them.
    """

    def __init__(
        self,
        finder: Finder,
        folder: Path,
        seed: int,
        find_model: FindModel,
        *,
        keeps: bool = False,
        studio: bool = False,
        commercial: bool = False,
        redraw: Redraw | None = None,
        mark: bytes = b"",
    ):
        self.folder, self.studio, self.commercial, self.redraw = folder, studio, commercial, redraw
        self.mark = mark
        self.trail: Sequence[tuple[str, Canvas]] = ()
        self._keeps = keeps
        self._finder, self._seed, self._find_model = finder, seed, find_model
        self._place = 0
        self._used: dict[str, str] = {}
        self._seen: tuple[bytes, Face] | None = None

    def begin(self, place: int, name: str, canvas: Canvas) -> None:
        """The step at this place comes next, after the step `name` with its result (the source first)."""
        self._place, self._used = place, {}
        self.trail = [*self.trail[: None if self._keeps else 1], (name, canvas)]

    def opening(self, place: int) -> None:
        """The step at this place opens what it names, without a picture."""
        self._place, self._used = place, {}

    def used(self) -> Mapping[str, str]:
        """Name -> sha256 of the files and models that the present step has used."""
        return self._used

    def face(self, canvas: Canvas) -> Face:
        """The subject's face.  Raises `InputError` without a face, and with several prominent ones."""
        pixels = canvas.flat()
        key = hashlib.sha256(pixels.tobytes()).digest() + repr(canvas.size_px).encode()
        if self._seen is not None and self._seen[0] == key:
            return self._seen[1]
        faces = sorted(self._finder.find(pixels), key=lambda one: -one.size_px)
        if not faces:
            raise InputError(
                "no face in this picture",
                needed="a portrait with one visible face",
                remedy="Use another one.",
            )
        if len(faces) > 1 and faces[1].size_px >= RIVAL * faces[0].size_px:
            raise InputError(
                "several faces of nearly one size in this picture",
                got=f"{len(faces)} faces, {faces[0].size_px:.0f} and {faces[1].size_px:.0f} px",
                needed="a portrait of one person",
                remedy="Crop it to the person first.",
            )
        self._seen = key, faces[0]
        return faces[0]

    def parts(self, canvas: Canvas) -> Parts | None:
        """The segmentation around the subject's face; None from a pack without a segmenter."""
        return self._finder.parts(canvas.flat(), self.face(canvas))

    def random(self, name: str) -> np.random.Generator:
        """A generator that depends on the seed of the chain, the place of the step and `name`."""
        words = int(manifest.digest([self._seed, self._place, name])[:16], 16)
        return np.random.default_rng(words)

    def file(self, name: str, what: str) -> Path:
        """A file that the settings name, relative to the look's folder; its sha256 is recorded."""
        path = self.folder / Path(name).expanduser()
        if not path.is_file():
            raise InputError(
                f"no such {what}", where=path, remedy="Paths in a look are relative to its file."
            )
        self._used[name] = manifest.sha256_file(path)
        return path

    def model(self, name: str) -> Path:
        """A model by its name; its digest is recorded."""
        path = self._find_model(name)
        self._used[name] = layout.files_digest(path) if path.is_dir() else manifest.sha256_file(path)
        return path

    def folder_of(self, name: str, what: str) -> Path:
        """A folder that the settings name, relative to the look's; the digest of its files is recorded."""
        path = self.folder / Path(name).expanduser()
        if not path.is_dir():
            raise InputError(
                f"no such {what}", where=path, remedy="Paths in a look are relative to its file."
            )
        self._used[name] = layout.files_digest(path)
        return path

    def embedded(self, path: Path) -> Path:
        """A model inside the package; its digest is recorded."""
        self._used[path.name] = manifest.sha256_file(path)
        return path
