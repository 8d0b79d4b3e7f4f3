"""Format: crop by eye line and head height, size, resolution and file of the delivery.

A step near the end of a chain.  It reduces a picture at will, but enlarges it by a quarter at most: what is
too small is for `upscale` first.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from portrait_lora.errors import InputError
from portrait_lora.finishing import formats
from portrait_lora.finishing.canvas import MAX_PIXELS, Canvas, Delivery, FileFormat
from portrait_lora.finishing.resample import resized
from portrait_lora.finishing.step import Tools
from portrait_lora.settings import Section

_UPSCALES: Final = (2, 4, 6)


class FormatSettings(Section):
    """A preset, an own size, or a preset with changes."""

    preset: str = Field(default="", description=f"one of {', '.join(formats.PRESETS)}")
    width_px: int | None = Field(
        default=None, ge=formats.MIN_SIDE_PX, description="own width, with height_px"
    )
    height_px: int | None = Field(
        default=None, ge=formats.MIN_SIDE_PX, description="own height, with width_px"
    )
    eye_line: float | None = Field(
        default=None, ge=0.15, le=0.7, description="of the eyes from the top, in picture heights"
    )
    head_height: float | None = Field(
        default=None, ge=0.1, le=0.9, description="chin to crown, in picture heights"
    )
    crop: Literal["face", "none"] = Field(
        default="face", description="around the face, or not at all (the picture must have that shape)"
    )
    dpi: int | None = Field(default=None, ge=36, le=2400, description="pixels per inch in print")
    file_format: FileFormat | None = Field(default=None, description="png, jpeg, webp or tiff")
    max_kb: int | None = Field(default=None, ge=4, description="largest file, in thousands of bytes")
    quality: int = Field(default=95, ge=40, le=100, description="of JPEG and WebP, lowered for max_kb only")
    max_enlargement: float = Field(
        default=1.25, ge=1, le=8, description="how much pixels may be enlarged without a model"
    )

    @field_validator("preset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and value not in formats.PRESETS:
            close = difflib.get_close_matches(value, formats.PRESETS, 1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(formats.PRESETS)}"
            raise ValueError(f"no such preset: {hint}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> FormatSettings:
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError("width_px and height_px belong together")
        if not self.preset and self.width_px is None:
            raise ValueError("needs a preset, or width_px and height_px")
        if self.width_px and self.height_px and self.width_px * self.height_px > MAX_PIXELS:
            raise ValueError(f"at most {MAX_PIXELS // 1_000_000} megapixels")
        return self

    @property
    def wanted(self) -> formats.Format:
        """The preset with these changes."""
        own = (self.width_px or 0, self.height_px or 0) if self.width_px else None
        base = formats.PRESETS[self.preset] if self.preset else formats.Format("own size", own or (1, 1))
        changes: dict[str, Any] = {"aspect": own, "size_px": own} if own else {}
        for key in ("eye_line", "head_height", "dpi", "file_format"):
            if (value := getattr(self, key)) is not None:
                changes[key] = value
        if self.max_kb is not None:
            changes["max_bytes"] = self.max_kb * 1000
        return replace(base, **changes)


class FormatStep:
    """The step `format`."""

    name = "format"
    settings = FormatSettings
    of_colour = False

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The cropped and resized canvas with its delivery.

        Raises `InputError` without one face, for a head that would be cut, and for too few pixels.
        """
        one: FormatSettings = settings
        wanted = one.wanted
        if one.crop == "none":
            box = (0.0, 0.0, float(canvas.size_px[0]), float(canvas.size_px[1]))
            _refuse_other_shape(canvas, wanted)
        else:
            box = formats.crop_box(tools.face(canvas), canvas.size_px, wanted)
        size = formats.size_of(box, wanted)
        _refuse_enlargement(size[1] / (box[3] - box[1]), one.max_enlargement, size)
        delivery = Delivery(wanted.file_format or "png", wanted.dpi, wanted.max_bytes, one.quality)
        return replace(resized(canvas, size, box), delivery=delivery)

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """None: there is nothing between two crops."""
        return None


def _refuse_other_shape(canvas: Canvas, wanted: formats.Format) -> None:
    width, height = canvas.size_px
    shape = wanted.aspect[0] / wanted.aspect[1]
    if abs(width / height / shape - 1) > 0.01:
        raise InputError(
            "the picture has another shape than the format",
            got=f"{width} x {height} px",
            needed=f"{wanted.aspect[0]} : {wanted.aspect[1]}",
            remedy="Leave out crop: none.",
        )


def _refuse_enlargement(factor: float, limit: float, size: tuple[int, int]) -> None:
    if factor <= limit:
        return
    enough = next((f"{by}x" for by in _UPSCALES if factor / by <= limit), "")
    remedy = f"Put the step `upscale: {{factor: {enough[:-1]}}}` before it." if enough else ""
    raise InputError(
        "the picture has too few pixels for this format",
        got=f"an enlargement of {factor:.2f} to {size[0]} x {size[1]} px",
        needed=f"{limit:g} at most",
        remedy=remedy or "Take a larger picture, or a smaller format.",
    )
