"""Upscale: 2, 4 or 6 times the size, by a network of the ESRGAN family in tiles, or by Lanczos.

`model: auto` is the embedded network for pictures of the synthetic studio, which alone it knows, and Lanczos
for photographs, which adds no detail and changes nobody.  Own models are safetensors files of RRDBNet or
SRVGGNetCompact (others through the extra `spandrel`), with their licence beside them.  Models that restore
faces (GFPGAN, CodeFormer) are not supported: they draw another person.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from portrait_lora.errors import InputError
from portrait_lora.finishing import licences, upscale
from portrait_lora.finishing.canvas import MAX_PIXELS, Canvas
from portrait_lora.finishing.resample import lanczos, resized
from portrait_lora.finishing.step import Tools
from portrait_lora.records import readonly
from portrait_lora.settings import Section

_OWN: Final = ("auto", "studio", "lanczos")
_HOW: Final = "licence: …, or a JSON file beside the model"
_FACTORS: Final = (2, 4, 6)


class UpscaleSettings(Section):
    """How much, by what, and whether the person's own model draws over the result."""

    factor: Literal[2, 4, 6] = Field(default=4, description="2, 4 or 6 times width and height")
    reach_px: int | None = Field(
        default=None, ge=64, le=12000,
        description="longer side that is wanted: the smallest factor up to `factor` that reaches it is "
        "taken, and nothing is done to a picture that has it already",
    )  # fmt: skip
    model: str = Field(
        default="auto",
        description="auto, studio (the embedded network), lanczos, a .safetensors file, or a model's name",
    )
    licence: str = Field(
        default="", description="SPDX name of the licence of a model file without a JSON record beside it"
    )
    tile: int = Field(default=192, ge=32, le=2048, description="side of a tile in pixels of the input")
    detail: float = Field(
        default=0.0, ge=0, le=0.6,
        description="strength of the detail pass: tiles drawn over by the base with the person's adapter",
    )  # fmt: skip


class Upscale:
    """The step `upscale`."""

    name = "upscale"
    settings = UpscaleSettings
    of_colour = False

    def open(self, settings: Any, tools: Tools) -> None:
        """Read the network of a file, and refuse one without the licence that is needed."""
        path = _source(settings, tools)
        if path is not None and settings.model not in _OWN:
            from portrait_lora.finishing.esrgan import read_upscaler

            read_upscaler(path)

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The enlarged canvas; alpha is enlarged by Lanczos.

        Raises `InputError` for a result of too many pixels, a model that cannot be used, and a detail pass
        without a model of the person.
        """
        one: UpscaleSettings = settings
        factor = _factor(canvas, one)
        if factor == 1:
            return canvas
        size = _size(canvas, factor)
        redraw = tools.redraw
        if one.detail and redraw is None:
            raise InputError(
                "no model of the person for the detail pass",
                needed="a portrait that was drawn in its likeness folder",
                remedy="Set detail: 0, or name the folder with --likeness DIR.",
            )
        net = _network(one, tools)
        if net is None:
            enlarged = resized(canvas, size)
        else:
            rgb = upscale.by_network(canvas.rgb_HW3, factor, net, one.tile)
            enlarged = replace(canvas, rgb_HW3=readonly(rgb), alpha_HW=_alpha(canvas, size))
        if one.detail and redraw is not None:
            seed = int(tools.random("detail").integers(2**31))
            enlarged = enlarged.with_rgb(upscale.redrawn(enlarged.rgb_HW3, redraw, one.detail, seed))
        return enlarged

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """The canvas enlarged by Lanczos."""
        return resized(canvas, _size(canvas, _factor(canvas, settings)))


def _factor(canvas: Canvas, one: UpscaleSettings) -> int:
    if one.reach_px is None:
        return one.factor
    wanted = one.reach_px / max(canvas.size_px)
    return 1 if wanted <= 1 else next((f for f in _FACTORS if f >= wanted and f <= one.factor), one.factor)


def _size(canvas: Canvas, factor: int) -> tuple[int, int]:
    width, height = (side * factor for side in canvas.size_px)
    if width * height > MAX_PIXELS:
        raise InputError(
            "the upscaled picture would be too large",
            got=f"{width} x {height} px",
            needed=f"{MAX_PIXELS // 1_000_000} megapixels at most",
            remedy="Choose a smaller factor.",
        )
    return width, height


def _alpha(canvas: Canvas, size: tuple[int, int]) -> np.ndarray | None:
    if canvas.alpha_HW is None:
        return None
    return readonly(np.clip(lanczos(canvas.alpha_HW[..., None], size)[..., 0], 0, 1))


def _network(one: UpscaleSettings, tools: Tools) -> upscale.Net | None:
    """The network that the settings name; None for Lanczos."""
    path = _source(one, tools)
    if path is None:
        return None
    from portrait_lora.finishing.esrgan import read_upscaler

    return read_upscaler(path)


def _source(one: UpscaleSettings, tools: Tools) -> Path | None:
    """The file of the network, with the licence that is needed; None for Lanczos."""
    if one.model == "lanczos" or (one.model == "auto" and not tools.studio):
        return None
    if one.model in _OWN:
        if not tools.studio:
            raise InputError(
                "the embedded upscaler knows only the synthetic studio",
                needed="a portrait of the embedded base, measured by the embedded face pack",
                remedy="Set model: lanczos, or the safetensors file of a model for photographs.",
            )
        return tools.embedded(upscale.STUDIO)
    path = _file(one, tools)
    licences.require(tools, path, upscale.licence_of(path, one.licence), how=_HOW)
    return path


def _file(one: UpscaleSettings, tools: Tools) -> Path:
    """A file beside the look, with its record where it has one, or a model by name."""
    name = one.model
    if not Path(name).suffix:
        return tools.model(name)
    path = tools.file(name, "upscaling model")
    if path.with_suffix(".json").is_file():
        tools.file(str(Path(name).with_suffix(".json")), "record of a licence")
    return path
