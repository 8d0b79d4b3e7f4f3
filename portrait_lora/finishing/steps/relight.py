"""Relight: the person in the light of one of the prompt book's rigs, as the studio would have lit them.

Normals, colours without light and the key's shadow come from a network that knows the studio alone, for
photographs from Marigold's; lamps and shading are the studio's own.  Colours stay, so the person stays.  What
is behind is kept to the bit unless the settings ask for the rig's light on it.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
from pydantic import Field, field_validator, model_validator

from portrait_lora import vocabulary
from portrait_lora.errors import InputError
from portrait_lora.finishing import colour, relight, sources
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.foreground import OPAQUE, layers
from portrait_lora.finishing.step import OfLight, Tools
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import Face, FloatArray
from portrait_lora.rigs import RIGS
from portrait_lora.settings import Section

if TYPE_CHECKING:
    from portrait_lora.finishing.marigold import Marigold

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
    model: str = Field(
        default="",
        description="for photographs: marigold (`portrait-lora pull marigold`), or a folder with normals/ "
        "and intrinsics/ in diffusers layout; empty: the embedded network, for studio portraits",
    )
    model_licence: str = Field(default="", description="licence of that folder, for the record")

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

    @model_validator(mode="after")
    def _is_licensed(self) -> RelightSettings:
        if self.model not in ("", sources.MARIGOLD) and not self.model_licence:
            raise ValueError("model_licence must say under which licence the model's folder is used")
        return self


@lru_cache(maxsize=1)
def _relighter(path: Path) -> relight.Relighter:
    return relight.Relighter(path)


class Relight(OfLight):
    """The step `relight`.  It changes pixels of the face, so it is gated where photos of the person are."""

    name = "relight"
    settings = RelightSettings
    of_colour = False

    def open(self, settings: Any, tools: Tools) -> None:
        """Read the networks of a model."""
        if settings.model:
            _photographed(settings, tools)

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The relit canvas; alpha, and what is behind with `backdrop: keep`, stay to the bit.

        Raises `InputError` for a photograph without a model, without a clear face of `MIN_FACE_PX`, for a
        model that is not here, and as the cut-out does.
        """
        one: RelightSettings = settings
        if not tools.studio and not one.model:
            raise _studio_only()
        face = tools.face(canvas)
        if face.size_px < MIN_FACE_PX:
            raise InputError(
                "the face is too small to relight",
                got=f"{face.size_px:.0f} px",
                needed=f"{MIN_FACE_PX} px",
                remedy="Put the step upscale before it.",
            )
        lights: _Lights = _Photographed(one, tools) if one.model else _Studio(tools)
        if one.strength == 0:
            return canvas
        if is_cut(canvas):
            assert canvas.alpha_HW is not None
            front, alpha, behind = canvas.rgb_HW3, canvas.alpha_HW, None
        else:
            front, alpha, behind = _parted(canvas, tools)
        was, sideways = lights.light_of(front, alpha, face)
        rig = relight.Rig(one.rig, _flipped(one, sideways), one.tint)
        lit = lights.lit(front, alpha, face, rig, was)
        change = (lit - colour.to_linear(front)) * np.float32(one.strength)
        if behind is None:
            lit = _coded(np.asarray(colour.to_linear(front) + change, np.float32))
            return canvas.with_rgb(np.where(alpha[..., None] > 0, lit, canvas.rgb_HW3))
        return canvas.with_rgb(_mixed(canvas, change, alpha, _relit_backdrop(behind, one, rig, was)))


class _Lights(Protocol):
    """Which light a person has (and its side, as `_sideways`), and how they look in another one."""

    def light_of(self, front: FloatArray, alpha: FloatArray, face: Face) -> tuple[relight.Rig, float]: ...

    def lit(
        self, front: FloatArray, alpha: FloatArray, face: Face, rig: relight.Rig, was: relight.Rig
    ) -> FloatArray: ...


class _Studio:
    def __init__(self, tools: Tools):
        self._net = _relighter(tools.embedded(relight.STUDIO))

    def light_of(self, front: FloatArray, alpha: FloatArray, face: Face) -> tuple[relight.Rig, float]:
        was = self._net.light_of(front, alpha, face.size_px)
        return was, float(was.lamps.direction_33[0, 0])

    def lit(
        self, front: FloatArray, alpha: FloatArray, face: Face, rig: relight.Rig, was: relight.Rig
    ) -> FloatArray:
        return self._net.lit(front, alpha, face.size_px, rig, was)


class _Photographed:
    def __init__(self, one: RelightSettings, tools: Tools):
        self._net, self._seed = _photographed(one, tools), int(tools.random("relight").integers(2**31))

    def light_of(self, front: FloatArray, alpha: FloatArray, face: Face) -> tuple[relight.Rig, float]:
        return _light_of(face), _sideways(face)

    def lit(
        self, front: FloatArray, alpha: FloatArray, face: Face, rig: relight.Rig, was: relight.Rig
    ) -> FloatArray:
        from portrait_lora.finishing import marigold

        return marigold.lit(front, alpha, face.size_px, self._net.maps(front, self._seed), rig)


def _photographed(one: RelightSettings, tools: Tools) -> Marigold:
    """Marigold's networks, fetched before or in a folder of one's own."""
    from portrait_lora.finishing import marigold

    folders = sources.folders_of(
        one.model, [f"{sources.MARIGOLD}/{part}" for part in sources.MARIGOLD_PARTS], one.model_licence, tools
    )
    return marigold.opened(*folders)


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
    behind: FloatArray, one: RelightSettings, rig: relight.Rig, was: relight.Rig
) -> tuple[FloatArray, FloatArray] | None:
    """What is behind, before and after; the light that it had is the person's."""
    if one.backdrop == "keep":
        return None
    place, width = one.backdrop == "place", behind.shape[1]
    wanted = relight.backdrop_factor(rig.name, rig.flip, place=place, width=width)
    had = relight.backdrop_factor(was.name, was.flip, place=place, width=width)
    factor = 1 + (wanted / had - 1) * np.float32(one.strength)
    return behind, np.asarray(np.clip(behind * factor[None], 0, np.maximum(behind, _BRIGHTEST)), np.float32)


def _light_of(face: Face) -> relight.Rig:
    """The light that the picture has, as the face pack reads it; of a pack that reads none the commonest."""
    name = face.lighting if face.lighting in RIGS else vocabulary.ALL_LIGHTINGS[0]
    return relight.Rig(name, _mirrored(name, _sideways(face)))


def _flipped(one: RelightSettings, sideways: float) -> bool:
    """Whether the rig is mirrored, when the light comes from there now."""
    if one.side == "keep":
        return _mirrored(one.rig, sideways)
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
        needed="a portrait of the embedded base, measured by the embedded face pack, or a model",
        remedy="For photographs: relight: {model: marigold}, fetched by: portrait-lora pull marigold.",
    )
