"""Attributes of a face by the pack's attribute network: expression, glasses, beard, lighting, direction of
the light, and the covered share.

insightface does not support such a model, so it is kept in a subfolder of the pack and run here, on the same
crop that insightface uses for the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from insightface.utils import face_align

from portrait_lora.errors import ArtifactError
from portrait_lora.faces.crop_model import CropModel
from portrait_lora.faces.packs import AttributeModel, FacePack
from portrait_lora.records import RGBImage

CROP_PX: Final = 192
CONTEXT: Final = 1.5
"""Side of the crop over the longer side of the face box, as insightface cuts it for landmarks."""


@dataclass(frozen=True, slots=True)
class Read:
    """The most likely word of every group; the unit vector towards the key light (x right, y up, z near); the
    covered share of the face, 0..1, None when the network does not predict it."""

    words: dict[str, str]
    light_direction: tuple[float, float, float]
    covered_share: float | None = None


class AttributeReader:
    """The network of a pack.  Raises ArtifactError when it cannot be loaded or its output is misshapen."""

    def __init__(self, pack: FacePack, model: AttributeModel, session_arguments: dict[str, Any]):
        self._model = model
        path = pack.path(model.file)
        self._net = CropModel(path, "attribute model", session_arguments)
        got = self._net.answer(np.zeros((CROP_PX, CROP_PX, 3), np.uint8)).shape
        if got != (model.width,):
            raise ArtifactError(
                "the attribute model has another number of outputs",
                where=path,
                got=got,
                needed=model.width,
            )

    def read(self, image_rgb: RGBImage, box_xyxy_px: tuple[float, float, float, float]) -> Read:
        """The attributes of the face in the box."""
        x0, y0, x1, y1 = box_xyxy_px
        scale = CROP_PX / (CONTEXT * max(x1 - x0, y1 - y0, 1.0))
        crop, _ = face_align.transform(image_rgb, ((x0 + x1) / 2, (y0 + y1) / 2), CROP_PX, scale, 0)
        values = self._net.answer(np.asarray(crop, dtype=np.uint8))
        words: dict[str, str] = {}
        start = 0
        for name, labels in self._model.groups.items():
            words[name] = labels[int(values[start : start + len(labels)].argmax())]
            start += len(labels)
        towards = values[start : start + 3]
        x, y, z = towards / max(float(np.linalg.norm(towards)), 1e-9)
        covered = float(1 / (1 + np.exp(-values[start + 3]))) if self._model.covered else None
        return Read(words, (float(x), float(y), float(z)), covered)
