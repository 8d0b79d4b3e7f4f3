"""Segmentation around a face by the pack's segmenter: backdrop, clothes, skin, hair, eyes, glasses,
and objects in front.

The network also predicts the face's place, covered or not; the covered share is the part of that place
which shows an object.  insightface does not support such a model, so it is run here.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from insightface.utils import face_align

from portrait_lora.errors import ArtifactError
from portrait_lora.faces.crop_model import CropModel
from portrait_lora.faces.packs import FacePack, PartModel
from portrait_lora.records import NOT_SEEN, Parts, RGBImage

CROP_PX: Final = 192
CONTEXT: Final = 2.4
"""Side of the crop over the longer side of the face box; it includes hair and shoulders."""
_BURNT: Final = 240
_BLACK: Final = 10
THING: Final = "thing"
"""The part in front of the others."""
Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]


class PartReader:
    """A pack's segmenter.  Raises ArtifactError when it cannot be loaded or its output is misshapen."""

    def __init__(self, pack: FacePack, model: PartModel, session_arguments: dict[str, Any]):
        self._names = model.parts
        path = pack.path(model.file)
        self._net = CropModel(path, "segmenter", session_arguments)
        got = self._net.answer(np.zeros((CROP_PX, CROP_PX, 3), np.uint8)).shape
        if len(got) != 3 or got[0] != len(self._names) + 1 or got[1] != got[2]:
            needed = f"({len(self._names) + 1}, S, S)"
            raise ArtifactError(
                "the segmenter has another output shape", where=path, got=str(got), needed=needed
            )

    def covered_share(self, image_rgb: RGBImage, box_xyxy_px: Box, roll_deg: float = 0.0) -> float:
        """Covered share of the face in the box, 0..1; black and blown-out pixels are left out."""
        shares, crop, _ = self._look(image_rgb, box_xyxy_px, roll_deg)
        tells = (crop.min(axis=2) < _BURNT) & (crop.max(axis=2) > _BLACK)  # beyond the picture it is black
        size = (shares.shape[2], shares.shape[1])
        face = shares[-1] * cv2.resize(tells.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        hidden = face * shares[self._names.index(THING)]
        return float(hidden.sum() / max(float(face.sum()), 1e-6))

    def parts(self, image_rgb: RGBImage, box_xyxy_px: Box, roll_deg: float = 0.0) -> Parts:
        """The most likely part of every pixel in the crop around the box."""
        shares, _, to_crop = self._look(image_rgb, box_xyxy_px, roll_deg)
        size = image_rgb.shape[1], image_rgb.shape[0]
        back = cv2.invertAffineTransform(to_crop)
        layers = [cv2.warpAffine(layer, back, size, flags=cv2.INTER_LINEAR) for layer in shares[:-1]]
        seen = np.sum(layers, axis=0) > 0.5
        labels = np.where(seen, np.argmax(layers, axis=0), NOT_SEEN).astype(np.uint8)
        labels.setflags(write=False)
        return Parts(self._names, labels)

    def _look(
        self, image_rgb: RGBImage, box_xyxy_px: Box, roll_deg: float
    ) -> tuple[Floats, RGBImage, npt.NDArray[np.float64]]:
        """(K + 1, S, S) probabilities of the parts and of the face's place, the crop, and the affine from the
        picture to the probabilities.

        The crop is rotated until the head is upright: the network was trained on upright heads only.
        """
        x0, y0, x1, y1 = box_xyxy_px
        scale = CROP_PX / (CONTEXT * max(x1 - x0, y1 - y0, 1.0))
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        crop, affine = face_align.transform(image_rgb, middle, CROP_PX, scale, -roll_deg)
        crop = np.asarray(crop, dtype=np.uint8)
        shares = self._net.answer(crop)
        shrink = shares.shape[1] / CROP_PX
        to_crop = np.asarray(affine, dtype=np.float64) * shrink
        to_crop[:, 2] += (shrink - 1) / 2  # pixel centres
        return shares, crop, to_crop
