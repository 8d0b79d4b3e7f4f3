"""Contrast of the light on a face: stops between its lit and its shadowed side; the chroma of its skin."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from portrait_lora.records import Face, RGBImage

_SIDE_PX: Final = 128
_ERODE_SHARE: Final = 0.05
_ELLIPSE: Final = (0.72, 0.6)
"""Half axes in distances between the eyes, and from the eyes to the mouth."""
_ELLIPSE_DROP: Final = 0.25
"""Its middle below the eyes, in distances from the eyes to the mouth: brows to cheeks, above the beard."""
_LEAST_SIDE: Final = 0.2
_GAP: Final = 0.05
_FLOOR: Final = 1.5e-4
"""Half a code value of eight-bit sRGB: darker values are black."""
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # ITU-R BT.709
_SPLITS: Final = 9
_BLACK: Final = 2.4e-3
"""Eight code values of sRGB."""
_NEARLY_ALL: Final = 0.9
_LEAST_STRIP: Final = 0.2
_COLOUR_LUMA: Final = (40, 245)
_COLOUR_SHARE: Final = 0.2
"""Least share of the face at those code values."""


def contrast_stops(image_rgb: RGBImage, face: Face) -> float:
    """log2 of the luminance of the brighter side of the face over that of the other.

    The skin inside the landmarks (from the brows to the cheeks for packs without) is split across the line of
    the eyes, where the medians of both parts differ most; each part is at least a fifth of it.  Medians of
    parts from top to bottom, so that beards, dark glasses and shaded eyes, which are on both sides, have
    little effect.  A black side counts even where the landmarks leave it out.
    """
    points = _outline(face)
    low, high = points.min(axis=0), points.max(axis=0)
    step = max(1, int(max(high - low) / _SIDE_PX))
    height, width = image_rgb.shape[:2]
    x0, y0 = (int(np.clip(v, 0, edge - 1)) for v, edge in zip(low, (width, height), strict=True))
    x1, y1 = (int(np.clip(v + 1, 1, edge)) for v, edge in zip(high, (width, height), strict=True))
    part = image_rgb[y0 : max(y1, y0 + 1) : step, x0 : max(x1, x0 + 1) : step]
    mask = _inside((points - (x0, y0)) / step, part.shape[:2])
    if not mask.any():
        return 0.0
    rows, columns = np.nonzero(mask)
    across = np.asarray(face.keypoints_px[1] - face.keypoints_px[0], dtype=np.float64)
    order = np.argsort(columns * across[0] + rows * across[1], kind="stable")
    stops = np.log2(np.maximum(_linear(part[rows, columns]) @ _LUMINANCE, _FLOOR))[order]
    shares = np.linspace(_LEAST_SIDE, 1 - _LEAST_SIDE, _SPLITS)
    within = max(abs(_step(stops, s)) for s in shares)
    if face.landmarks_px is None:
        return within
    return max(within, _beside(image_rgb, points, float(np.median(stops))))


def _beside(image_rgb: RGBImage, points: np.ndarray, face_stops: float) -> float:
    """Stops from the face down to the black beside it; 0 unless exactly one side is black.

    A landmark model mistakes the lit half of a face for a profile.  Then the dark half is beside the
    landmarks, and so is the black of neck and shoulder, where the dark backdrop of a true profile would not
    be.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    wide, tall = high - low
    darkest = []
    for near, far in (
        (low[0] - 0.1 * wide, low[0] - 0.45 * wide),
        (high[0] + 0.1 * wide, high[0] + 0.45 * wide),
    ):
        rows = slice(max(int(low[1]), 0), max(int(high[1] + 0.4 * tall), 1))
        strip = image_rgb[rows, max(int(min(near, far)), 0) : max(int(max(near, far)), 0)]
        if strip.size < 3 * _LEAST_STRIP * wide * tall:
            return 0.0
        step = max(1, int(max(strip.shape[:2]) / _SIDE_PX))
        darkest.append(float(np.quantile(_linear(strip[::step, ::step]) @ _LUMINANCE, _NEARLY_ALL)))
    if (darkest[0] <= _BLACK) == (darkest[1] <= _BLACK):
        return 0.0
    return face_stops - float(np.log2(max(min(darkest), _FLOOR)))


def _step(stops: np.ndarray, share: float) -> float:
    """Difference of the medians on both sides of a position, with a small gap."""
    left, right = (int(np.clip(share + side * _GAP, 0.02, 0.98) * len(stops)) for side in (-1, 1))
    return float(np.median(stops[: max(left, 1)]) - np.median(stops[min(right, len(stops) - 1) :]))


def _outline(face: Face) -> np.ndarray:
    """Points around the face: its landmarks, or an ellipse over eyes and mouth."""
    if face.landmarks_px is not None:
        return np.asarray(face.landmarks_px, dtype=np.float64)
    eyes, mouth = face.keypoints_px[:2].mean(axis=0), face.keypoints_px[3:].mean(axis=0)
    across = (face.keypoints_px[1] - face.keypoints_px[0]) * _ELLIPSE[0]
    down = (mouth - eyes) * _ELLIPSE[1]
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    middle = eyes + _ELLIPSE_DROP * (mouth - eyes)
    return np.asarray(middle + np.cos(turn) * across + np.sin(turn) * down, dtype=np.float64)


def _inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels well inside the hull of the points."""
    mask = np.zeros(shape[:2], dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 1)
    size = 2 * int(_ERODE_SHARE * max(shape[:2])) + 1
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.erode(padded, np.ones((size, size), np.uint8))[1:-1, 1:-1].astype(bool)


def _linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light 0..1 of eight-bit sRGB (IEC 61966-2-1)."""
    value = srgb.astype(np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def chroma(image_rgb: RGBImage, face: Face) -> float | None:
    """75th percentile of the CIELAB chroma inside the face box, 0..180; about 0 in black-and-white photos.

    Only pixels that can show a colour count, which black and burnt ones cannot; None with too few of them.
    """
    height, width = image_rgb.shape[:2]
    x0, y0, x1, y1 = face.box_xyxy_px
    left, right = int(np.clip(x0, 0, width - 1)), int(np.clip(np.ceil(x1), 1, width))
    top, bottom = int(np.clip(y0, 0, height - 1)), int(np.clip(np.ceil(y1), 1, height))
    step = max(1, max(right - left, bottom - top) // _SIDE_PX)
    part = np.ascontiguousarray(
        image_rgb[top : max(bottom, top + 1) : step, left : max(right, left + 1) : step]
    )
    luma = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    shown = (luma >= _COLOUR_LUMA[0]) & (luma <= _COLOUR_LUMA[1])
    if shown.mean() < _COLOUR_SHARE:
        return None
    lab = cv2.cvtColor(part.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return float(np.percentile(np.hypot(lab[..., 1], lab[..., 2])[shown], 75))
