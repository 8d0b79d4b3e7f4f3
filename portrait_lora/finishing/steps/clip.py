"""Clip: a few seconds of camera motion beside the picture, which itself stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
from pydantic import Field

from portrait_lora.errors import InputError
from portrait_lora.finishing import animated, motion
from portrait_lora.finishing.canvas import Canvas, Product
from portrait_lora.finishing.step import Tools
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import Face, readonly
from portrait_lora.settings import Section

MAX_PIXELS: Final = 160_000_000
"""Of all frames together, such as 75 of 1920 x 1080: 22 s on two cores as WebP, in 0.9 GB."""
_SPARE: Final = 1.15
"""Layers are so much larger than a frame, as the camera comes nearer."""
_NECK: Final = 0.2
"""Breathing begins so far below the chin, in sizes of the face."""


class ClipSettings(Section):
    """By default the camera comes nearer and goes back, in four seconds."""

    path: motion.Path = Field(
        default="push-in", description="push-in, drift-left, drift-right or orbit, and back to the beginning"
    )
    strength: float = Field(
        default=0.6, ge=0, le=1, description="how far the camera goes; 0: it stands still"
    )
    breathing: float = Field(default=0.4, ge=0, le=1, description="how far the chest rises; 0: not at all")
    seconds: float = Field(default=4.0, ge=2, le=5, description="length of a loop")
    fps: int = Field(default=15, ge=8, le=30, description="frames a second")
    size_px: int = Field(
        default=640, ge=64, le=1920, description="longer side of the clip; never larger than the picture"
    )
    quality: int = Field(default=80, ge=1, le=100, description="of the compression")
    files: tuple[animated.Kind, ...] = Field(
        default=("webp",), min_length=1, description="webp, avif; mp4 with the extra `mp4` (GPL ffmpeg)"
    )
    cutout: CutoutSettings = Field(
        default=CutoutSettings(), description="how the person is cut out, as in the step `cutout`"
    )


class Clip:
    """The step `clip`; the picture itself stays as it is.

    The face is moved and scaled with the person and not changed otherwise; the chest may rise and fall.
    """

    name = "clip"
    settings = ClipSettings
    of_colour = False

    def open(self, settings: Any, tools: Tools) -> None:
        """Refuse a kind of file that cannot be written here; load the network that cuts out."""
        for kind in settings.files:
            animated.require(kind)
        Cutout().open(settings.cutout, tools)

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The canvas with the clips as products, named `-clip.webp` and so on.

        Raises `InputError` for a picture without backdrop, for more pixels than a clip may have, without the
        extra, and as the cut-out does.
        """
        one: ClipSettings = settings
        size, count = size_of(canvas, one), round(one.seconds * one.fps)
        _check(canvas, one, size, count)
        layers = scene_of(canvas, one, size, tools)
        moves = motion.Motion(one.path, one.strength, one.breathing)
        products = list(canvas.products)
        for kind in dict.fromkeys(one.files):
            data = animated.encoded(
                kind, size, count, one.fps, one.quality,
                lambda number: motion.frame(layers, size, moves, number / count), tools.mark,
            )  # fmt: skip
            products.append(Product(f"-clip.{kind}", data))
        return replace(canvas, products=tuple(products))

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """Nothing changes, so nothing can be weakened."""
        return None


def size_of(canvas: Canvas, one: ClipSettings) -> tuple[int, int]:
    """(w, h) of a frame, even as video needs it."""
    scale = min(1.0, one.size_px / max(canvas.size_px))
    width, height = (max(2, int(side * scale + 1e-6) // 2 * 2) for side in canvas.size_px)
    return width, height


def _check(canvas: Canvas, one: ClipSettings, size: tuple[int, int], count: int) -> None:
    if is_cut(canvas):
        raise InputError(
            "a cut-out has no backdrop to move before",
            got="a picture with transparent places",
            remedy="Put the step `backdrop` before `clip`.",
        )
    if size[0] * size[1] * count > MAX_PIXELS:
        raise InputError(
            "the clip would be too large",
            got=f"{count} frames of {size[0]} x {size[1]} px",
            needed=f"{MAX_PIXELS // 1_000_000} million pixels in all frames together at most",
            remedy="Ask for a smaller size_px, fewer fps or fewer seconds.",
        )


def scene_of(canvas: Canvas, one: ClipSettings, size: tuple[int, int], tools: Tools) -> motion.Scene:
    """The layers of the picture, little larger than a frame.  Raises `InputError` as the cut-out does."""
    scale = _SPARE * max(size[0] / canvas.size_px[0], size[1] / canvas.size_px[1])
    small = canvas
    if scale < 1:
        wanted = round(canvas.size_px[0] * scale), round(canvas.size_px[1] * scale)
        pixels = np.asarray(cv2.resize(canvas.rgb_HW3, wanted, interpolation=cv2.INTER_AREA), np.float32)
        small = Canvas(readonly(pixels))
    face = tools.face(small)
    cut = Cutout().apply(Canvas(small.rgb_HW3), one.cutout, tools)
    assert cut.alpha_HW is not None
    width, height = small.size_px
    x0, y0, x1, y1 = face.box_xyxy_px
    focus = float(np.clip((x0 + x1) / 2 / width, 0, 1)), float(np.clip((y0 + y1) / 2 / height, 0, 1))
    return motion.scene(small.rgb_HW3, cut.rgb_HW3, cut.alpha_HW, face.size_px, focus, chest_of(face, height))


def chest_of(face: Face, height: int) -> float:
    """Where breathing begins, in shares of the height; 1 for a picture that ends above."""
    chin = face.box_xyxy_px[3]
    if face.landmarks_px is not None:
        chin = max(chin, float(np.asarray(face.landmarks_px)[:17, 1].max()))
    return min(1.0, (chin + _NECK * face.size_px) / height)
