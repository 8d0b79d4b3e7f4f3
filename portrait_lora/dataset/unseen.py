"""Reason for a missing face: too dark, or so overexposed that only the eyes are left.

A picture that is mostly dark or overexposed is searched again with its code values stretched; if a face
appears, the exposure is the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from portrait_lora.dataset.findings import CheckSettings, face_luma
from portrait_lora.records import Face, Finding, RGBImage

Find = Callable[[RGBImage], list[Face]]

DARK_PICTURE_HIGHLIGHT: Final = 110.0
"""98th percentile of the luma below which a picture without a face is brightened and searched again."""
BURNT_PICTURE_SHARE: Final = 0.1
"""Fraction of blown-out pixels from which it is darkened and searched again."""
_BURNT: Final = 250
_FROM_LEVELS: Final = (220, 150, 245)
"""Code values that become black; those above are stretched over the whole range."""


def unseen(image: RGBImage, find: Find, settings: CheckSettings) -> Finding | None:
    """The finding for an RGB picture without a detected face; None when exposure is not the reason."""
    return _too_dark(image, find, settings) or _burnt_out(image, find, settings)


def _too_dark(image: RGBImage, find: Find, settings: CheckSettings) -> Finding | None:
    highlight = float(np.percentile(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), 98))
    if highlight >= DARK_PICTURE_HIGHLIGHT:
        return None
    brighter = np.clip(image.astype(np.float32) * (220.0 / max(highlight, 1.0)), 0, 255).astype(np.uint8)
    faces = find(brighter)
    if not faces:
        return None
    luma = float(face_luma(image, faces[0]).mean())
    advice = "The picture is so dark that the face is hardly visible. Use a photo with light on the face."
    return Finding("under_exposed", "reject", luma, settings.min_brightness, advice)


def _burnt_out(image: RGBImage, find: Find, settings: CheckSettings) -> Finding | None:
    if float(np.mean(image.min(axis=2) >= _BURNT)) < BURNT_PICTURE_SHARE:
        return None
    for level in _FROM_LEVELS:
        table = np.clip((np.arange(256) - level) * (255.0 / (255 - level)), 0, 255).astype(np.uint8)
        faces = find(table[image])
        if faces:
            blown = float(np.mean(face_luma(image, faces[0]) >= float(_BURNT)))
            if blown <= settings.max_blown_share:
                return None
            advice = (
                "The picture is so bright that the face is hardly visible. Use a photo with softer light."
            )
            return Finding("over_exposed", "reject", blown, settings.max_blown_share, advice)
    return None
