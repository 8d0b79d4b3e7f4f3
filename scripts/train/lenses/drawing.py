"""Things drawn on an aligned grey face: lenses, frames, shade, make-up; and how a picture is spoilt.

Pictures are float32 luma 0..255 of `SIDE` px, aligned as in `faces.quality.aligned_crop` with a margin of
`MARGIN` px on every side; eyes are (2, 2) points in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]
Rng = np.random.Generator

MARGIN: Final = 24
SIDE: Final = 112 + 2 * MARGIN
_FAR: Final = 80.0
"""Below a shadow's edge by this many of its widths nothing is darker; exp of more than 88 overflows."""
_SHAPES: Final = ("oval", "round", "square", "aviator", "wayfarer", "narrow", "shield")


def lenses(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Sunglasses: dark, graded, mirrored or brown lenses of a random shape, with or without a frame."""
    shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
    masks, outlines = _lens_masks(image, eyes, shape, rng)
    kind = rng.choice(("dark", "graded", "mirror"), p=(0.5, 0.2, 0.3))
    skin = float(np.median(image[SIDE // 2 :, MARGIN:-MARGIN]))
    opacity = float(rng.uniform(0.86, 1.0))
    fill = np.full_like(image, float(rng.uniform(2, 0.4 * skin + 4)))
    if kind == "graded":
        rows = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None]
        fill = fill + np.clip((rows - 0.38) * 6, 0, 1) * float(rng.uniform(0.1, 0.45)) * skin
    if kind == "mirror":
        fill = _scene(rng, image.shape, float(rng.uniform(20, 160)), float(rng.uniform(15, 70)))
    elif rng.random() < 0.5:  # a reflection of the surroundings
        gloss = _scene(rng, image.shape, 0.0, 1.0)
        fill = fill + np.maximum(gloss, 0) * float(rng.uniform(4, 45))
    alpha = np.max(masks, axis=0)[..., None][..., 0] * opacity
    out = image * (1 - alpha) + fill * alpha
    return _frame(out, eyes, outlines, rng) if rng.random() < 0.75 else out


def frames(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Clear glasses: a frame, and lenses that are hardly darker, now and then with a reflection."""
    shape = _SHAPES[int(rng.integers(len(_SHAPES) - 2))]
    masks, outlines = _lens_masks(image, eyes, shape, rng)
    alpha = np.max(masks, axis=0)
    out = image * (1 - alpha * float(rng.uniform(0, 0.2)))
    if rng.random() < 0.4:
        gloss = np.clip(_scene(rng, image.shape, 0.0, 1.0), 0, 1)
        out = out + alpha * gloss * float(rng.uniform(10, 70))
    return _frame(out, eyes, outlines, rng)


def brim_shade(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """The shadow of a brim or of hair: everything above a line is darker, the bridge of the nose too."""
    height = float(eyes[:, 1].mean() + rng.uniform(2, 26))
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    bend = float(rng.uniform(-0.004, 0.004)) * (columns - image.shape[1] / 2) ** 2
    lean = float(rng.uniform(-0.25, 0.25)) * (columns - image.shape[1] / 2)
    below = (rows - height - bend - lean) / float(rng.uniform(0.5, 7))
    edge = 1 / (1 + np.exp(np.minimum(below, _FAR)))
    return np.asarray(image * (1 - edge * float(rng.uniform(0.3, 0.85))), dtype=np.float32)


def sockets(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Deep-set eyes, hard light from above, or eye shadow: soft dark patches from the lids to the brows."""
    out = image
    wide, tall = float(rng.uniform(7, 14)), float(rng.uniform(4, 9))
    lift, soft = float(rng.uniform(-6, 3)), float(rng.uniform(0.8, 4))
    for x, y in eyes:
        patch = np.zeros_like(image)
        _ellipse(patch, (x, y + lift), (wide, tall), 0.0)
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), soft), dtype=np.float32)
        out = out * (1 - patch * float(rng.uniform(0.25, 0.75)))
    if rng.random() < 0.5:  # what light is left in the eyes: their whites, and a reflection
        for x, y in eyes:
            spot = np.zeros_like(image)
            _ellipse(spot, (x + rng.uniform(-2, 2), y + rng.uniform(-1, 1)), (1.2, 1.0), 0.0)
            out = out + spot * float(rng.uniform(20, 120))
    return np.asarray(out, dtype=np.float32)


def tint(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Tinted lenses through which the eyes are seen."""
    masks, outlines = _lens_masks(image, eyes, _SHAPES[int(rng.integers(len(_SHAPES)))], rng)
    alpha = np.max(masks, axis=0) * float(rng.uniform(0.1, 0.45))
    out = image * (1 - alpha) + alpha * float(rng.uniform(5, 90))
    return _frame(out, eyes, outlines, rng) if rng.random() < 0.7 else np.asarray(out, dtype=np.float32)


def dark_eyes(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Narrowed, shaded or painted eyes: the whole opening dark."""
    out, dark = image, float(rng.uniform(0.05, 0.6))
    wide, tall, lean = float(rng.uniform(5, 9.5)), float(rng.uniform(1.3, 3.6)), float(rng.uniform(-10, 10))
    for (x, y), side in zip(eyes, (-1, 1), strict=True):
        patch = np.zeros_like(image)
        _ellipse(patch, (x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)), (wide, tall), side * lean)
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), float(rng.uniform(0.5, 1.2))), dtype=np.float32)
        out = out * (1 - patch * (1 - dark))
    return np.asarray(out, dtype=np.float32)


def brows(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Thick dark brows close to the eyes."""
    out, dark = image.copy(), float(rng.uniform(0.05, 0.6))
    lift, thick = float(rng.uniform(3.5, 12)), float(rng.uniform(1.2, 3.8))
    for x, y in eyes:
        line = np.zeros_like(image)
        at = (x + rng.uniform(-2, 2), y - lift)
        _ellipse(line, at, (float(rng.uniform(9, 14)), thick), float(rng.uniform(-12, 12)))
        line = np.asarray(cv2.GaussianBlur(line, (0, 0), 0.8), dtype=np.float32)
        out = out * (1 - line * (1 - dark))
    return np.asarray(out, dtype=np.float32)


def strands(image: Grey, eyes: npt.NDArray[np.float64], rng: Rng) -> Grey:
    """Hair over the forehead and over one eye."""
    out = image.copy()
    tone = float(rng.uniform(5, 120))
    centre = float(eyes[int(rng.integers(2)), 0])
    for _ in range(int(rng.integers(3, 18))):
        x = centre + float(rng.normal(0, 14))
        points = np.array([(x, 0), (x + rng.normal(0, 8), 60), (x + rng.normal(0, 16), rng.uniform(60, 150))])
        cv2.polylines(
            out, [points.astype(np.int32)], False, tone * float(rng.uniform(0.6, 1.4)), 1, cv2.LINE_AA
        )
    return out


def spoilt(image: Grey, rng: Rng) -> Grey:
    """Another face texture, light, focus, noise, JPEG; what photographs have and renders have not."""
    out = image * (1 + _scene(rng, image.shape, 0.0, float(rng.uniform(0, 0.16))))
    across = np.linspace(-1, 1, image.shape[1], dtype=np.float32)[None]
    out = out * np.exp2(across * float(rng.normal(0, 0.5)))
    if rng.random() < 0.5:
        out = 255 * np.clip(out / 255, 0, 1) ** float(rng.uniform(0.5, 2.0))
    out = (out - 128) * float(rng.uniform(0.6, 1.3)) + 128 + float(rng.uniform(-40, 40))
    if rng.random() < 0.7:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.6)))
    out = np.clip(out + rng.normal(0, float(rng.uniform(0, 7)), image.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        out = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return np.asarray(out, dtype=np.float32)


HARMLESS: Final[tuple[tuple[Callable[[Grey, npt.NDArray[np.float64], Rng], Grey], float], ...]] = (
    (sockets, 0.35),
    (dark_eyes, 0.4),
    (brows, 0.45),
    (frames, 0.2),
    (tint, 0.08),
    (brim_shade, 0.25),
    (strands, 0.1),
)
"""What is drawn on faces without dark lenses, in this order, and how often."""


def _scene(rng: Rng, shape: tuple[int, ...], mean: float, spread: float) -> Grey:
    """Smooth random shapes, as a face's texture or what a mirror shows."""
    cells = int(rng.integers(3, 14))
    coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    method = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_LINEAR
    return np.asarray(
        mean + spread * cv2.resize(coarse, shape[1::-1], interpolation=method), dtype=np.float32
    )


def _lens_masks(
    image: Grey, eyes: npt.NDArray[np.float64], shape: str, rng: Rng
) -> tuple[list[Grey], list[npt.NDArray[np.int32]]]:
    apart = float(np.hypot(*(eyes[1] - eyes[0])))
    lean = float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    wide = apart * float(rng.uniform(0.34, 0.47))
    tall = (
        wide
        * {"oval": 0.72, "round": 0.95, "square": 0.75, "aviator": 0.9, "wayfarer": 0.78, "narrow": 0.42}.get(
            shape, 0.7
        )
        * float(rng.uniform(0.85, 1.15))
    )
    drop = float(rng.uniform(-0.1, 0.35)) * tall
    power = {"oval": 2.0, "round": 2.0, "square": 4.5, "aviator": 2.6, "wayfarer": 3.2, "narrow": 2.4}.get(
        shape, 3.5
    )
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    masks, outlines = [], []
    for side, (x, y) in zip((-1, 1), eyes, strict=True):
        c, s = np.cos(turn), np.sin(turn)
        px = np.sign(c) * np.abs(c) ** (2 / power) * wide
        py = np.sign(s) * np.abs(s) ** (2 / power) * tall
        if shape == "aviator":  # a drop towards the outside below
            px = px + side * 0.18 * wide * np.clip(py / tall, 0, 1)
        if shape == "wayfarer":  # higher outside
            py = py * np.where(py < 0, 1 + 0.18 * side * px / wide, 1.0)
        if shape == "shield":
            px = np.where(np.sign(px) == -side, px * (0.52 * apart / wide), px * 1.1)
        a = np.radians(lean)
        points = np.stack(
            [px * np.cos(a) - (py + drop) * np.sin(a), px * np.sin(a) + (py + drop) * np.cos(a)], 1
        )
        outline = np.rint((points + np.array([x, y])) * 16).astype(np.int32)
        mask = np.zeros_like(image)
        cv2.fillPoly(mask, [outline], 1.0, cv2.LINE_AA, 4)
        masks.append(mask)
        outlines.append(outline)
    return masks, outlines


def _frame(
    image: Grey, eyes: npt.NDArray[np.float64], outlines: list[npt.NDArray[np.int32]], rng: Rng
) -> Grey:
    tone = float(rng.choice((rng.uniform(0, 60), rng.uniform(100, 240)), p=(0.75, 0.25)))
    thick = int(rng.integers(1, 4))
    out = np.array(image, dtype=np.float32)
    for outline in outlines:
        cv2.polylines(out, [outline], True, tone, thick, cv2.LINE_AA, 4)
    a, b = (np.rint(e * 16).astype(int) for e in eyes)
    inner = (outlines[0][:, 0].max(), outlines[1][:, 0].min())
    rise = int(rng.uniform(-80, 20))
    cv2.line(
        out, (int(inner[0]), int(a[1] + rise)), (int(inner[1]), int(b[1] + rise)), tone, thick, cv2.LINE_AA, 4
    )
    for outline, end in ((outlines[0], -400), (outlines[1], 16 * SIDE + 400)):
        x = int(outline[:, 0].min() if end < 0 else outline[:, 0].max())
        cv2.line(out, (x, int(a[1])), (end, int(a[1] - 64)), tone, thick, cv2.LINE_AA, 4)
    return out


def _ellipse(image: Grey, at: tuple[float, float], axes: tuple[float, float], lean_deg: float) -> None:
    centre = (round(at[0] * 16), round(at[1] * 16))
    size = (round(axes[0] * 16), round(axes[1] * 16))
    cv2.ellipse(image, centre, size, lean_deg, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
