"""How varied the photos are, and what to add, in words a photographer would use.

The bins follow the sign of the yaw: negative faces the left of the picture and shows the left cheek of a
mirror image, which is the subject's own right turn; the advice speaks to the subject ("your left").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora import vocabulary
from portrait_lora.dataset.photos import ImageArray
from portrait_lora.records import Coverage, Face, FloatArray, PhotoReport

YAW_BINS: Final = ("left profile", "left three-quarter", "frontal", "right three-quarter", "right profile")
UNKNOWN: Final = "unknown"
EXPRESSION_BINS: Final = (*vocabulary.EXPRESSIONS, UNKNOWN)

ALIKE_LAB: Final = 12.0
"""Colours closer than this (CIE76 in Lab) count as the same outfit or backdrop."""
_ALIKE_SHARE: Final = 0.8
_TURNS: Final = {
    "left three-quarter": "turned a little to your right",
    "frontal": "facing the camera",
    "right three-quarter": "turned a little to your left",
    "left profile": "in profile, turned to your right",
    "right profile": "in profile, turned to your left",
}
_WISHES: Final = {"left three-quarter": 2, "frontal": 3, "right three-quarter": 2}
_PROFILE_WISH_FROM: Final = 12  # photos; smaller sets have more pressing gaps


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Mean colours around a face, CIE Lab (L 0..100); None where the picture does not show them."""

    clothes_lab: tuple[float, float, float] | None
    backdrop_lab: tuple[float, float, float] | None


def yaw_bin(face: Face | None) -> str:
    """The word of `YAW_BINS` for a face, `unknown` without a pose."""
    if face is None or face.pose_deg is None:
        return UNKNOWN
    yaw = face.pose_deg[1]
    view = vocabulary.view_of(yaw)
    return view if view == vocabulary.VIEWS[0] else f"{'left' if yaw < 0 else 'right'} {view}"


def expression_bin(face: Face | None) -> str:
    """The word of `EXPRESSION_BINS` for a face."""
    known = face is not None and face.expression in vocabulary.EXPRESSIONS
    return face.expression if known and face is not None and face.expression else UNKNOWN


def coverage(reports: Sequence[PhotoReport], surroundings: Sequence[Surroundings] = ()) -> Coverage:
    """Counts per yaw × expression over the accepted photos of `reports`, gaps and advice."""
    faces = [r.face for r in reports if r.accepted]
    yaws = YAW_BINS if all(yaw_bin(f) != UNKNOWN for f in faces) else (*YAW_BINS, UNKNOWN)
    has_unknown = any(expression_bin(f) == UNKNOWN for f in faces)
    expressions = EXPRESSION_BINS if has_unknown else vocabulary.EXPRESSIONS
    table = np.zeros((len(yaws), len(expressions)), dtype=int)
    for face in faces:
        table[yaws.index(yaw_bin(face)), expressions.index(expression_bin(face))] += 1
    missing, advice = _gaps(table, yaws, expressions)
    counts = tuple(tuple(int(n) for n in row) for row in table)
    return Coverage(yaws, expressions, counts, missing, (*advice, *_alike(surroundings)))


def _gaps(
    table: np.ndarray, yaws: tuple[str, ...], expressions: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The empty bins worth filling, and sentences that ask for what is short."""
    per_yaw = dict(zip(yaws, table.sum(axis=1), strict=True))
    per_expression = dict(zip(expressions, table.sum(axis=0), strict=True))
    if table.sum() and per_yaw.get(UNKNOWN, 0) == table.sum():
        return (), ("This face pack does not measure the pose; look yourself that the views vary.",)
    can_tell = per_expression.get(UNKNOWN, 0) < max(table.sum(), 1)
    wanted = [w for w in ("neutral", "smiling") if can_tell and per_expression[w] == 0]
    short = {view: int(n - per_yaw[view]) for view, n in _WISHES.items() if per_yaw[view] < n}
    if table.sum() >= _PROFILE_WISH_FROM:
        short |= {view: 1 for view in ("left profile", "right profile") if per_yaw[view] == 0}
    missing = [view for view in yaws if view in short and per_yaw[view] == 0]
    missing += [w for w in expressions if w in wanted]
    advice = []
    for view, n in short.items():
        extra = f", {'one of them ' if n > 1 else ''}{_as_manner(wanted.pop(0))}" if wanted else ""
        advice.append(f"Add {_number(n)} {_TURNS[view]}{extra}.")
    advice += [f"Add {_number(2)} {_as_manner(w)}." for w in wanted]
    return tuple(missing), tuple(advice)


def _number(n: int) -> str:
    return f"{('one', 'two', 'three')[n - 1]} photo{'s' if n > 1 else ''}"


def _as_manner(expression: str) -> str:
    return "with a neutral face" if expression == "neutral" else expression


def _alike(surroundings: Sequence[Surroundings]) -> list[str]:
    """Warnings when nearly all photos share one outfit or one backdrop."""
    notes = []
    for name, colours in (
        ("outfit", [s.clothes_lab for s in surroundings if s.clothes_lab is not None]),
        ("backdrop", [s.backdrop_lab for s in surroundings if s.backdrop_lab is not None]),
    ):
        if len(colours) >= 4 and _share_alike(np.array(colours)) >= _ALIKE_SHARE:
            notes.append(
                f"Nearly all photos seem to show the same {name}: it will leak into every portrait. "
                f"Add photos with another {name}."
            )
    return notes


def _share_alike(colours: np.ndarray) -> float:
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    return float((distance < ALIKE_LAB).mean(axis=1).max())


def surroundings_of(image_rgb: ImageArray, face: Face) -> Surroundings:
    """Colours of clothes and backdrop; the face is in pixels of this very picture."""
    return Surroundings(
        mean_lab(clothes_pixels(image_rgb, face)),
        mean_lab(backdrop_pixels(image_rgb, face)),
    )


def clothes_pixels(image_rgb: ImageArray, face: Face) -> ImageArray:
    """(N, 3) pixels of the chest below the chin; empty when the picture ends above it."""
    x0, y0, x1, y1 = face.box_xyxy_px
    size, middle = y1 - y0, (x0 + x1) / 2
    return _window(image_rgb, middle - 0.45 * size, y1 + 0.45 * size, middle + 0.45 * size, y1 + 0.95 * size)


def backdrop_pixels(image_rgb: ImageArray, face: Face) -> ImageArray:
    """(N, 3) pixels beside the head and above the shoulders, away from hair; empty without room."""
    x0, y0, x1, y1 = face.box_xyxy_px
    size = max(x1 - x0, y1 - y0)
    left = _window(image_rgb, x0 - 1.3 * size, y0 - 0.5 * size, x0 - 0.3 * size, y0 + 0.2 * size)
    right = _window(image_rgb, x1 + 0.3 * size, y0 - 0.5 * size, x1 + 1.3 * size, y0 + 0.2 * size)
    return np.concatenate([left, right])


def _window(image_rgb: ImageArray, x0: float, y0: float, x1: float, y1: float) -> ImageArray:
    """The pixels of a window clipped to the picture, (N, 3); empty when hardly any of it is inside."""
    height, width = image_rgb.shape[:2]
    left, right = max(0, int(x0)), min(width, int(x1))
    top, bottom = max(0, int(y0)), min(height, int(y1))
    if right - left < 3 or bottom - top < 3 or (right - left) * (bottom - top) < 0.06 * (x1 - x0) * (y1 - y0):
        return np.zeros((0, 3), np.uint8)
    return image_rgb[top:bottom, left:right].reshape(-1, 3)


def to_lab(rgb: ImageArray) -> FloatArray:
    """(N, 3) sRGB bytes to CIE Lab, L 0..100."""
    scaled = rgb.reshape(1, -1, 3).astype(np.float32) / 255.0
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0], dtype=np.float32)


def mean_lab(rgb: ImageArray) -> tuple[float, float, float] | None:
    """The median colour of (N, 3) sRGB pixels in Lab; None for no pixels."""
    if len(rgb) == 0:
        return None
    lightness, a, b = (float(v) for v in np.median(to_lab(rgb), axis=0))
    return lightness, a, b
