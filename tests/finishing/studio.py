"""Studio people with their truth, and the embedded pack's tools, for the tests of finishing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.records import FloatArray, RGBImage
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import sample_scenes

SIZE_PX = (192, 240)


@dataclass(frozen=True, slots=True)
class Sitter:
    """A portrait, the person alone, the true coverage 0..1, and the direction of the key light."""

    picture: RGBImage
    alone: RGBImage
    alpha: FloatArray
    light: FloatArray

    @property
    def canvas(self) -> Canvas:
        """The portrait as a canvas."""
        return Canvas.of(self.picture)


@cache
def analyzer() -> Analyzer:
    """The embedded pack, opened once."""
    return open_analyzer(resolve_pack("embedded"), "select")


@cache
def sitter(seed: int = 3, setting: str = "grey seamless backdrop", **fixed: object) -> Sitter:
    """Person `seed`, head and shoulders; `fixed` as in `sample_scenes`."""
    settings: dict[str, object] = {"setting": setting, "head_fraction": 0.5, "yaw_deg": 6.0} | fixed
    people = sample_people([seed])
    scenes = sample_scenes([seed * 7 + 1], edition=2, **settings)  # pyright: ignore[reportArgumentType]
    whole = render(people, scenes, SIZE_PX, supersample=2)
    alone = render(people, scenes, SIZE_PX, supersample=2, transparent=True)
    return Sitter(
        _pixels(whole),
        _pixels(alone),
        (alone.mask_BHW[0].numpy() / 255).astype(np.float32),
        whole.light_direction[0].numpy(),
    )


def _pixels(rendered: Render) -> RGBImage:
    return np.ascontiguousarray(rendered.image_BCHW[0].permute(1, 2, 0).numpy())


def tools(folder: Path = Path(), seed: int = 0) -> PictureTools:
    """The tools of a chain with the embedded pack and no models."""

    def none(name: str) -> Path:
        raise InputError("no such model", got=name)

    return PictureTools(analyzer(), folder, seed, none)
