"""Made-up photographs: a head with hair over clothes before a background, each of any pixels."""

from __future__ import annotations

import cv2
import numpy as np

from portrait_lora.records import Face, RGBImage

from .made_up import made_up_face

SIZE = (600, 800)  # W, H
BOX = (230.0, 250.0, 370.0, 425.0)
SKIN = (205, 160, 135)
HAIR = (40, 26, 20)


def face(**changes) -> Face:
    """The face in `photograph`."""
    x0, y0, x1, y1 = BOX
    points = [(0.3, 0.42), (0.7, 0.42), (0.5, 0.62), (0.34, 0.78), (0.66, 0.78)]
    keypoints = np.array([(x0 + a * (x1 - x0), y0 + b * (y1 - y0)) for a, b in points], np.float32)
    return made_up_face(SIZE, **({"box_xyxy_px": BOX, "keypoints_px": keypoints} | changes))


def photograph(background, clothes, hair_px: int = 0) -> RGBImage:
    """`background` and `clothes` are colours or (H, W, 3) pixels; the hair rises by twice `hair_px`."""
    width, height = SIZE
    x0, y0, x1, y1 = (round(v) for v in BOX)
    middle = (x0 + x1) // 2
    image = np.empty((height, width, 3), np.uint8)
    image[:] = background
    torso = np.zeros((height, width), np.uint8)
    cv2.ellipse(torso, (middle, height), (250, height - y1 - 20), 0, 0, 360, 1, -1)
    worn = np.empty_like(image)
    worn[:] = clothes
    image[torso > 0] = worn[torso > 0]
    cv2.ellipse(image, (middle, 320 - hair_px), (100, 120 + hair_px), 0, 0, 360, HAIR, -1)
    image[y1:][(image[y1:] == HAIR).all(axis=-1)] = SKIN
    cv2.rectangle(image, (middle - 40, y1 - 30), (middle + 40, y1 + 30), SKIN, -1)
    cv2.ellipse(image, (middle, (y0 + y1) // 2), (70, 88), 0, 0, 360, SKIN, -1)
    for x, y in face().keypoints_px[[0, 1, 3, 4]]:
        cv2.circle(image, (round(float(x)), round(float(y))), 7, (45, 25, 25), -1)
    noise = np.random.default_rng(0).normal(0, 1.0, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def pattern(kind: str) -> RGBImage:
    """Backgrounds and cloths: `logo wall`, `hedge`, `hedge out of focus`, `gradient`, `stripes`."""
    width, height = SIZE
    rng = np.random.default_rng(1)
    image = np.full((height, width, 3), 235, np.uint8)
    if kind == "logo wall":
        for y in range(40, height, 90):
            for x in range(-30 * (y // 90 % 2), width, 170):
                cv2.putText(image, "BANK", (x, y), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (20, 40, 140), 6)
    elif kind.startswith("hedge"):
        leaves = rng.integers(0, 120, (height // 6, width // 6, 1)) * np.array([0.5, 1.0, 0.4])
        image = cv2.resize(leaves.astype(np.uint8), SIZE, interpolation=cv2.INTER_NEAREST)
        if kind.endswith("out of focus"):
            coarse = rng.integers(0, 230, (6, 5, 1)) * np.array([0.5, 1.0, 0.4])
            image = cv2.resize(coarse.astype(np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    elif kind == "gradient":
        image[:] = np.linspace(150, 168, height)[:, None, None].astype(np.uint8)
    elif kind == "stripes":
        image[:] = (150, 25, 40)
        image[:, ::40] = 0
        for x in range(0, width, 40):
            image[:, x : x + 20] = (30, 50, 130)
    return np.asarray(image, dtype=np.uint8)
