"""A face drawn by hand: 68 landmarks in iBUG order around a centre, and a picture to go with it."""

from __future__ import annotations

import cv2
import numpy as np

from portrait_lora.records import Face, readonly


def landmarks(cx: float, cy: float, size: float) -> np.ndarray:
    """(68, 2) landmarks of a frontal face whose jaw is `size` wide; (cx, cy) is between the eyes."""
    jaw = [(np.cos(a), np.sin(a)) for a in np.linspace(np.pi, 0, 17)]
    points = [(cx + 0.5 * size * x, cy + 0.62 * size * y) for x, y in jaw]
    for side in (-1, 1):
        points += [(cx + size * side * x, cy - 0.16 * size) for x in np.linspace(0.36, 0.08, 5)[::side]]
    points += [(cx, cy + size * y) for y in np.linspace(0, 0.2, 4)]
    points += [(cx + size * x, cy + 0.24 * size) for x in np.linspace(-0.08, 0.08, 5)]
    for side in (-1, 1):
        middle = cx + 0.2 * side * size
        ring = np.linspace(np.pi, 3 * np.pi, 7)[:6]
        points += [(middle + 0.08 * size * np.cos(a), cy + 0.035 * size * np.sin(a)) for a in ring]
    ring = np.linspace(np.pi, 3 * np.pi, 13)[:12]
    points += [(cx + 0.16 * size * np.cos(a), cy + (0.4 + 0.06 * np.sin(a)) * size) for a in ring]
    ring = np.linspace(np.pi, 3 * np.pi, 9)[:8]
    points += [(cx + 0.1 * size * np.cos(a), cy + (0.4 + 0.02 * np.sin(a)) * size) for a in ring]
    return np.array(points, dtype=np.float32)


def face(
    cx: float = 64, cy: float = 56, size: float = 48, *, light: tuple[float, float, float] | None = None
) -> Face:
    """A `Face` with those landmarks."""
    points = landmarks(cx, cy, size)
    box = (cx - 0.5 * size, cy - 0.4 * size, cx + 0.5 * size, cy + 0.62 * size)
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    return Face(
        box_xyxy_px=box,
        score=0.9,
        keypoints_px=readonly(five),
        embedding=readonly(np.eye(1, 8)[0]),
        embedder_id="none",
        sharpness=100.0,
        brightness=120.0,
        landmarks_px=readonly(points),
        light_direction=light,
    )


def picture(face: Face, px: int = 128) -> np.ndarray:
    """A head, hair and shoulders in flat colours with a little grain on a grey ground."""
    rng = np.random.default_rng(3)
    image = np.full((px, px, 3), 128, np.uint8)
    x0, y0, x1, y1 = face.box_xyxy_px
    middle, size = round((x0 + x1) / 2), x1 - x0
    cv2.ellipse(image, (middle, px), (round(1.1 * size), round(px - y1 + 4)), 0, 180, 360, (30, 40, 90), -1)
    cv2.ellipse(
        image, (middle, round(y0 + 8)), (round(0.62 * size), round(0.7 * size)), 0, 0, 360, (40, 25, 20), -1
    )
    cv2.ellipse(
        image,
        (middle, round(y0 + 0.45 * size)),
        (round(0.5 * size), round(0.62 * size)),
        0,
        0,
        360,
        (205, 160, 140),
        -1,
    )
    for x, y in np.asarray(face.keypoints_px)[:2]:
        cv2.circle(image, (round(x), round(y)), 3, (20, 20, 20), -1)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
