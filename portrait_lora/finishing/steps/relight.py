"""Relight: the person in the light of one of the prompt book's rigs, as the studio would have lit them.

Normals, colours without light and the key's shadow come from a network that knows the studio alone; lamps and
shading are the studio's own.  Colours stay, so the person stays.  What is behind is kept to the bit unless
the settings ask for the rig's light on it.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from portrait_lora import vocabulary
from portrait_lora.errors import InputError
from portrait_lora.finishing import colour, relight
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.foreground import OPAQUE, layers
from portrait_lora.finishing.step import OfLight, Tools
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import Face, FloatArray
from portrait_lora.rigs import RIGS
from portrait_lora.settings import Section

MIN_FACE_PX: Final = 24
"""Below it nothing of a face can be lit."""
_SHORT: Final = {
    name.removesuffix(" lighting").removesuffix(" light"): name for name in vocabulary.ALL_LIGHTINGS
}
_BRIGHTEST: Final = 0.98


class RelightSettings(Section):
    """Which light, from which side, how much of it."""

    rig: str = Field(
        default="three-point lighting", description=f"the light: {', '.join(vocabulary.ALL_LIGHTINGS)}"
    )
    side: Literal["keep", "left", "right"] = Field(
        default="keep",
        description="where the key stands in the picture: where the light comes from now, or left or right; "
        "rigs with the key in the middle have no side",
    )
    strength: float = Field(default=1.0, ge=0, le=1, description="1: the new light alone, 0: the old one")
    tint: float = Field(
        default=1.0, ge=0, le=1, description="colour of the lamps: 1 as the rig has it, 0 white light"
    )
    backdrop: Literal["keep", "paper", "place"] = Field(
        default="keep",
        description="what is behind: kept to the bit, or in the rig's light as studio paper (little changes) "
        "or as a room or street (dark in low-key, coloured in neon)",
    )

    @field_validator("rig")
    @classmethod
    def _is_known(cls, value: str) -> str:
        word = " ".join(value.lower().replace("_", "-").split())
        name = _SHORT.get(word.removesuffix(" lighting").removesuffix(" light"))
        name = name or _SHORT.get(word.replace(" ", "-"))  # "low key"; "golden hour" is found above
        name = name or _SHORT.get(word.replace("-", " "))
        if name is None:
            close = difflib.get_close_matches(word, (*_SHORT, *_SHORT.values()), 1, cutoff=0.6)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"rig is one of {', '.join(vocabulary.ALL_LIGHTINGS)}{hint}")
        return name


@lru_cache(maxsize=1)
def _relighter(path: Path) -> relight.Relighter:
    return relight.Relighter(path)


class Relight(OfLight):
    """The step `relight`.  It changes pixels of the face, so it is gated where photos of the person are."""

    name = "relight"
    settings = RelightSettings
    of_colour = False

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The relit canvas; alpha, and what is behind with `backdrop: keep`, stay to the bit.

        Raises `InputError` for a photograph, without a clear face of `MIN_FACE_PX`, and as the cut-out does.
        """
        one: RelightSettings = settings
        if not tools.studio:
            raise _studio_only()
        face = tools.face(canvas)
        if face.size_px < MIN_FACE_PX:
            raise InputError(
                "the face is too small to relight",
                got=f"{face.size_px:.0f} px",
                needed=f"{MIN_FACE_PX} px",
                remedy="Put the step upscale before it.",
            )
        net = _relighter(tools.embedded(relight.STUDIO))
        if one.strength == 0:
            return canvas
        rig = relight.Rig(one.rig, _flipped(one, face), one.tint)
        if is_cut(canvas):
            assert canvas.alpha_HW is not None
            front, alpha, behind = canvas.rgb_HW3, canvas.alpha_HW, None
        else:
            front, alpha, behind = _parted(canvas, tools)
        lit = net.lit(front, alpha, face.size_px, rig, _light_of(face))
        change = (lit - colour.to_linear(front)) * np.float32(one.strength)
        if behind is None:
            lit = _coded(np.asarray(colour.to_linear(front) + change, np.float32))
            return canvas.with_rgb(np.where(alpha[..., None] > 0, lit, canvas.rgb_HW3))
        return canvas.with_rgb(_mixed(canvas, change, alpha, _relit_backdrop(behind, one, rig, face)))


def _parted(canvas: Canvas, tools: Tools) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The person's colours, their coverage, and the colours behind, coded."""
    cut = Cutout().apply(canvas, CutoutSettings(), tools)
    assert cut.alpha_HW is not None
    behind = colour.to_coded(np.clip(layers(colour.to_linear(canvas.rgb_HW3), cut.alpha_HW)[1], 0, 1))
    clear = cut.alpha_HW <= 0
    return cut.rgb_HW3, cut.alpha_HW, np.where(clear[..., None], canvas.rgb_HW3, behind)


def _mixed(
    canvas: Canvas, change: FloatArray, alpha_HW: FloatArray, behind: tuple[FloatArray, FloatArray] | None
) -> FloatArray:
    """The change of the person, and of what is behind, added in linear light by their shares."""
    share = alpha_HW[..., None]
    change = np.asarray(change * share, np.float32)
    touched = share > 0
    if behind is not None:
        before, after = (colour.to_linear(one) for one in behind)
        change = np.asarray(change + (after - before) * (1 - share), np.float32)
        touched = touched | ((after != before).any(-1, keepdims=True) & (share < OPAQUE))
    lit = _coded(colour.to_linear(canvas.rgb_HW3) + change)
    return np.where(touched, lit, canvas.rgb_HW3).astype(np.float32)


def _relit_backdrop(
    behind: FloatArray, one: RelightSettings, rig: relight.Rig, face: Face
) -> tuple[FloatArray, FloatArray] | None:
    """What is behind, before and after; the light that it had is the face's."""
    if one.backdrop == "keep":
        return None
    place, width = one.backdrop == "place", behind.shape[1]
    wanted = relight.backdrop_factor(rig.name, rig.flip, place=place, width=width)
    was = _light_of(face)
    had = relight.backdrop_factor(was.name, was.flip, place=place, width=width)
    factor = 1 + (wanted / had - 1) * np.float32(one.strength)
    return behind, np.asarray(np.clip(behind * factor[None], 0, np.maximum(behind, _BRIGHTEST)), np.float32)


def _light_of(face: Face) -> relight.Rig:
    """The light that the picture has, as the face pack reads it; of a pack that reads none the commonest."""
    name = face.lighting if face.lighting in RIGS else vocabulary.ALL_LIGHTINGS[0]
    return relight.Rig(name, _mirrored(name, _sideways(face)))


def _flipped(one: RelightSettings, face: Face) -> bool:
    """Whether the rig is mirrored."""
    if one.side == "keep":
        return _mirrored(one.rig, _sideways(face))
    return _mirrored(one.rig, -1.0 if one.side == "left" else 1.0)


def _sideways(face: Face) -> float:
    """Positive where the light comes from the right of the picture; 0 where that is not known."""
    return 0.0 if face.light_direction is None else face.light_direction[0]


def _mirrored(rig: str, sideways: float) -> bool:
    """Whether the key of the rig has to change sides to stand at this one."""
    return RIGS[rig].key.azimuth_deg * sideways < 0


def _coded(linear: FloatArray) -> FloatArray:
    return colour.to_coded(np.clip(linear, 0, 1))


def _studio_only() -> InputError:
    return InputError(
        "the embedded network for relighting knows only the synthetic studio",
        where="relight",
        got="a face pack for photographs",
        needed="a portrait of the embedded base, measured by the embedded face pack",
        remedy="Leave the step out; `backdrop` and `grade` work on photographs.",
    )
