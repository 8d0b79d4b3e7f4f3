"""Layers: a layered file beside the picture, with the parts of the person and what every step changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from portrait_lora.errors import require_extra
from portrait_lora.finishing import layered, openraster, photoshop
from portrait_lora.finishing.canvas import Canvas, Product
from portrait_lora.finishing.step import Tools
from portrait_lora.settings import Section


class LayersSettings(Section):
    """Which files."""

    files: tuple[Literal["ora", "psd"], ...] = Field(
        default=("ora",), min_length=1, description="ora: OpenRaster; psd: Photoshop, with the extra `psd`"
    )


class Layers:
    """The step `layers`; the picture itself stays as it is."""

    name = "layers"
    settings = LayersSettings
    of_colour = False

    def open(self, settings: Any, tools: Tools) -> None:
        """Refuse a Photoshop file without the extra."""
        if "psd" in settings.files:
            require_extra("psd_tools", "psd")

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The canvas with the files as products.  Raises `InputError` without a face or the extra."""
        stack = layered.build(tools.trail, tools.face(canvas), tools.parts(canvas))
        products = list(canvas.products)
        for kind in dict.fromkeys(settings.files):
            data = (
                photoshop.encoded(stack, tools.mark)
                if kind == "psd"
                else openraster.encoded(stack, _record(stack, tools), tools.mark)
            )
            products.append(Product(f".{kind}", data))
        return replace(canvas, products=tuple(products))

    def neutral(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas | None:
        """Nothing changes, so nothing can be weakened."""
        return None


def _record(stack: layered.Stack, tools: Tools) -> dict[str, object]:
    """What tells edited layers from others, and where the lowest picture stands in the chain."""
    return {"layers": layered.digests_of(stack), "base": layered.base_of(tools.trail)}
