"""Clip: a few seconds of motion beside the picture, which itself stays as it is.

A camera that glides past the layers of the picture, or, where there is a card for it, a video model that sets
the person in motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from portrait_lora import provenance
from portrait_lora.errors import InputError
from portrait_lora.finishing import animated, motion, sources
from portrait_lora.finishing.canvas import MIN_SIDE_PX, Canvas, Product, to_bytes
from portrait_lora.finishing.step import Tools
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import Face, RGBImage, readonly
from portrait_lora.rights import guard
from portrait_lora.settings import Section

if TYPE_CHECKING:
    from portrait_lora.finishing.video import Video

MODELS: Final = ("wan", "ltx")
MEASURED: Final = 8
"""Frames of a clip in which likeness is measured, evenly spaced."""
MAX_PIXELS: Final = 160_000_000
"""Of all frames together, such as 75 of 1920 x 1080: 22 s on two cores as WebP, in 0.9 GB."""
_SPARE: Final = 1.15
"""Layers are so much larger than a frame, as the camera comes nearer."""
_NECK: Final = 0.2
"""Breathing begins so far below the chin, in sizes of the face."""


_OF_CAMERA: Final = ("path", "strength", "breathing", "fps", "cutout")
_OF_MODEL: Final = ("model_licence", "prompt", "steps")


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
    model: str = Field(
        default="",
        description="a video model instead of the camera: wan or ltx (`portrait-lora pull wan`), or a folder "
        "in diffusers layout; empty: the camera",
    )
    model_licence: str = Field(default="", description="licence of that folder, for the record")
    prompt: str = Field(
        default="a person looks into the camera, breathes, blinks and begins to smile; the camera is still",
        max_length=2000,
        description="what happens in a clip of a video model",
    )
    steps: int | None = Field(
        default=None, ge=1, le=200, description="denoising steps of a video model; none: as its makers advise"
    )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ClipSettings:
        """What the other kind of clip would not read is a mistake."""
        idle = _OF_CAMERA if self.model else _OF_MODEL
        if wrong := [key for key in idle if key in self.model_fields_set]:
            kind = "a video model" if self.model else "the camera: name a model"
            raise ValueError(f"{', '.join(wrong)} says nothing to {kind}")
        if self.model and self.model not in MODELS and not self.model_licence:
            raise ValueError("model_licence must say under which licence the model's folder is used")
        return self


@dataclass(frozen=True, slots=True)
class _Film:
    """Frames (w, h), drawn one by one, and the XMP packet that says how they came to be."""

    size: tuple[int, int]
    count: int
    fps: int
    frame: Callable[[int], RGBImage]
    mark: bytes
    drawn: bool

    def some(self) -> tuple[RGBImage, ...]:
        """Evenly spaced frames, the first and the last among them."""
        numbers = np.linspace(0, self.count - 1, min(MEASURED, self.count)).round().astype(int)
        return tuple(self.frame(int(number)) for number in numbers)


class Clip:
    """The step `clip`; the picture itself stays as it is.

    Before the camera, the face is moved and scaled with the person and not changed otherwise; the chest may
    rise and fall.  What a video model draws may be somebody else: its frames are gated by the chain.
    """

    name = "clip"
    settings = ClipSettings
    of_colour = False

    def open(self, settings: Any, tools: Tools) -> None:
        """Refuse a kind of file that cannot be written here; load the network that cuts out, or the video
        model, and read its prompt as every prompt is read."""
        one: ClipSettings = settings
        for kind in one.files:
            animated.require(kind)
        if one.model:
            _refuse_prompt(one)
            _video(one, tools)
        else:
            Cutout().open(one.cutout, tools)

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The canvas with the clips as products, named `-clip.webp` and so on.

        Raises `InputError` for a picture without backdrop, for more pixels than a clip may have, without the
        extra, and as the cut-out does, or, of a video model, for a prompt that is not drawn and a picture
        smaller than it can work with.
        """
        one: ClipSettings = settings
        if is_cut(canvas):
            raise InputError(
                "a cut-out has no backdrop to move before",
                got="a picture with transparent places",
                remedy="Put the step `backdrop` before `clip`.",
            )
        film = _by_model(canvas, one, tools) if one.model else _by_camera(canvas, one, tools)
        products, frames = list(canvas.products), film.some()
        for kind in dict.fromkeys(one.files):
            data = animated.encoded(kind, film.size, film.count, film.fps, one.quality, film.frame, film.mark)
            products.append(Product(f"-clip.{kind}", data, frames, film.drawn))
            frames = ()  # every file shows the same
        return replace(canvas, products=tuple(products))

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """Nothing changes, so nothing can be weakened."""
        return None


def _by_camera(canvas: Canvas, one: ClipSettings, tools: Tools) -> _Film:
    size, count = size_of(canvas, one), round(one.seconds * one.fps)
    _check(size, count)
    layers = scene_of(canvas, one, size, tools)
    moves = motion.Motion(one.path, one.strength, one.breathing)

    def frame(number: int) -> RGBImage:
        return motion.frame(layers, size, moves, number / count)

    return _Film(size, count, one.fps, frame, tools.mark, drawn=False)


def _by_model(canvas: Canvas, one: ClipSettings, tools: Tools) -> _Film:
    """Whatever the picture was, these frames are a model's and say so."""
    from portrait_lora.finishing import video

    _refuse_prompt(one)
    tools.face(canvas)  # somebody to set in motion
    model = _video(one, tools)
    size = size_of(canvas, one, video.MULTIPLE_PX)
    count = video.count_of(model.kind, one.seconds)
    _check(size, count)
    seed = int(tools.random("clip").integers(2**31))
    frames = model.frames(_covering(canvas, size), one.prompt, count, one.steps, seed)
    mark = provenance.xmp_bytes(provenance.TRAINED)
    film = _Film(size, count, model.kind.fps, frames.__getitem__, mark, drawn=True)
    for number, frame in enumerate(film.some(), 1):
        guard.require_picture(Image.fromarray(frame), f"frame {number} of the clip")
    return film


def _refuse_prompt(one: ClipSettings) -> None:
    """Read as if it were of a minor: the step does not know who is portrayed."""
    guard.require([one.prompt], of_minor=True, where="clip")


def _video(one: ClipSettings, tools: Tools) -> Video:
    from portrait_lora.finishing import video

    name = one.model if one.model in MODELS else MODELS[0]
    (folder,) = sources.folders_of(one.model, [name], one.model_licence, tools)
    return video.opened(folder)


def _covering(canvas: Canvas, size: tuple[int, int]) -> RGBImage:
    """The picture so large that it covers the frame, cut at the sides that are over."""
    width, height = canvas.size_px
    scale = max(size[0] / width, size[1] / height)
    large = max(size[0], round(width * scale)), max(size[1], round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = np.asarray(cv2.resize(canvas.rgb_HW3, large, interpolation=way), np.float32)
    x, y = (large[0] - size[0]) // 2, (large[1] - size[1]) // 2
    return to_bytes(np.ascontiguousarray(pixels[y : y + size[1], x : x + size[0]]))


def size_of(canvas: Canvas, one: ClipSettings, multiple: int = 2) -> tuple[int, int]:
    """(w, h) of a frame, multiples of a number, and even as video needs it.

    Raises `InputError` for a picture with a side below `MIN_SIDE_PX` and that number.
    """
    scale = min(1.0, one.size_px / max(canvas.size_px))
    width, height = (int(side * scale + 1e-6) // multiple * multiple for side in canvas.size_px)
    if min(width, height) < max(MIN_SIDE_PX, multiple):
        raise InputError(
            "the picture is too small for a clip",
            got=f"{canvas.size_px[0]} x {canvas.size_px[1]} px, a longer side of {one.size_px} px asked for",
            needed=f"{max(MIN_SIDE_PX, multiple)} px a side at least",
            remedy="Put the step upscale before it, or ask for a larger size_px.",
        )
    return width, height


def _check(size: tuple[int, int], count: int) -> None:
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
