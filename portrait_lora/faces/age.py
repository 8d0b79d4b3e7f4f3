"""How old somebody looks: insightface's network where a pack has it; nothing is guessed without one.

Such networks err by years, more for the young and for people unlike those that they were trained on.  How far
this one errs was not measured here: `ERROR_YEARS` is an assumption on the wide side.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Protocol

import numpy as np

from portrait_lora.errors import ArtifactError
from portrait_lora.faces.packs import FacePack
from portrait_lora.records import RGBImage

FILE: Final = "heads/genderage.onnx"
"""Where the network lies in a pack that has one; its checksum stands in the pack's list."""
ERROR_YEARS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Age:
    """Years that a face looks, and the interval that the age is taken to lie in."""

    years: float
    low: float
    high: float


class AgeReader(Protocol):
    """Whatever reads an age."""

    def read(self, image_rgb: RGBImage, box_xyxy_px: tuple[float, float, float, float]) -> Age | None:
        """The age of the face in the box; None where it cannot be told."""
        ...


def reader_of(pack: FacePack) -> AgeReader | None:
    """The network of a pack; None for a pack without one, such as the embedded one.

    Raises `ArtifactError` when it cannot be loaded.
    """
    return GenderAge(pack) if pack.path(FILE).is_file() else None


class GenderAge:
    """insightface's `genderage`, run by insightface: only the age is read."""

    def __init__(self, pack: FacePack):
        from insightface.model_zoo.attribute import Attribute

        path = pack.path(FILE)
        try:
            self._network: Any = Attribute(str(path))
            self._network.prepare(-1)
        except Exception as error:  # onnx and onnxruntime raise many unrelated types
            raise ArtifactError(
                "the age network cannot be loaded", where=path, got=str(error)[:200]
            ) from error
        if self._network.taskname != "genderage":
            raise ArtifactError("this network reads no age", where=path, got=self._network.taskname)

    def read(self, image_rgb: RGBImage, box_xyxy_px: tuple[float, float, float, float]) -> Age | None:
        """The age of the face in the box."""
        face = _Face(bbox=np.asarray(box_xyxy_px, dtype=np.float32))
        bgr = np.ascontiguousarray(image_rgb[..., ::-1])
        years = float(self._network.get(bgr, face)[1])
        if not 0 <= years <= 120:
            return None
        return Age(years, max(0.0, years - ERROR_YEARS), years + ERROR_YEARS)


class _Face(SimpleNamespace):
    """What insightface reads of a face, and writes into it."""

    def __setitem__(self, key: str, value: object) -> None:
        setattr(self, key, value)
