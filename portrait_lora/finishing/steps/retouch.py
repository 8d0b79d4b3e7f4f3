"""Retouch: eyes, teeth, blemishes, the hollows under the eyes and even skin, each with its own strength.

Only pixels of the face change.  Moles and freckles are the person's own and stay, unless `marks` asks for
less of them.  All strengths are 0 by default; 0.3 to 0.5 is what an editor of portraits would do.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from portrait_lora.errors import InputError
from portrait_lora.finishing import colour, retouch
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.retouch_regions import regions
from portrait_lora.finishing.step import SameSize, Tools
from portrait_lora.settings import Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MIN_EYES_PX: Final = 16
"""Distance of the eyes below which a face has no skin to retouch, only a few pixels."""


class RetouchSettings(Section):
    """The strengths of the layers."""

    eyes: Share = Field(default=0.0, description="sharper iris and lids, catchlights that are there lifted")
    teeth: Share = Field(default=0.0, description="less yellow and a little lighter")
    blemishes: Share = Field(default=0.0, description="small red spots filled from the skin around them")
    marks: Share = Field(default=0.0, description="moles and freckles filled too: parts of the likeness")
    under_eyes: Share = Field(default=0.0, description="dark hollows lifted towards the cheeks")
    skin: Share = Field(default=0.0, description="blotches evened out; pores and the form of the face stay")


class Retouch(SameSize):
    """The step `retouch`."""

    name = "retouch"
    settings = RetouchSettings
    of_colour = False

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The retouched canvas.  Raises `InputError` without one face, and for one of too few pixels."""
        one: RetouchSettings = settings
        where = regions(canvas.rgb_HW3.shape[:2], tools.face(canvas), tools.parts(canvas))
        if where.unit_px < MIN_EYES_PX:
            raise InputError(
                "the face is too small to retouch",
                got=f"{where.unit_px:.0f} px between the eyes",
                needed=f"{MIN_EYES_PX} px",
                remedy="Put the step upscale before it.",
            )
        begun = colour.to_oklab(canvas.rgb_HW3)
        lab = begun.copy()
        if one.blemishes or one.marks:
            lab += retouch.without_spots(lab, where, blemishes=one.blemishes, marks=one.marks)
        if one.skin:
            lab += retouch.evened(lab, where, one.skin)
        if one.under_eyes:
            lab += retouch.under_eyes(lab, where, one.under_eyes)
        if one.teeth:
            lab += retouch.teeth(lab, where, one.teeth)
        if one.eyes:
            lab += retouch.eyes(lab, where, one.eyes)
        touched = (lab != begun).any(axis=-1)
        rgb = canvas.rgb_HW3.copy()
        rgb[touched] = np.clip(colour.from_oklab(lab[touched]), 0, 1)
        return canvas.with_rgb(rgb)
