"""A picture that a video model sets in motion, through diffusers: Wan and LTX-Video, image to video.

None of these weights was ever run by this project, which tried both with small random weights of their
layouts, on a CPU alone.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from portrait_lora import device, log
from portrait_lora.errors import ArtifactError, InputError, require_extra
from portrait_lora.families import layout
from portrait_lora.families.footprint import Placement
from portrait_lora.families.parts import modules
from portrait_lora.families.placing import placed
from portrait_lora.finishing import pipelines
from portrait_lora.finishing.relight import one_thread
from portrait_lora.finishing.sources import SOURCES
from portrait_lora.records import RGBImage

MULTIPLE_PX: Final = 32
_ROOM_GB: Final = 6.0
"""What computing takes beside the weights, as an estimate: not measured on a GPU."""
_AVOIDED: Final = "blurry, distorted face, another person, extra fingers, text, cuts, flicker, overexposed"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of video model is called, by its makers' examples.

    A clip has one frame and a multiple of `every` more, `most` in all.
    """

    pipeline: str
    fps: int
    every: int
    most: int
    steps: int
    guidance: float


_WAN_SMALL: Final = Kind("WanImageToVideoPipeline", 24, 4, 121, 50, 5.0)
_WAN: Final = Kind("WanImageToVideoPipeline", 16, 4, 81, 40, 3.5)
_LTX: Final = Kind("LTXImageToVideoPipeline", 25, 8, 257, 50, 3.0)


def kind_of(folder: Path) -> Kind:
    """The kind of model that a folder in diffusers layout holds.

    Wan's 5B model works at 24 frames a second, the others at 16.  Raises `InputError` for another kind of
    model and for one that must not be loaded, `ArtifactError` for a damaged one.
    """
    names = tuple(name for source in ("wan", "ltx") for name in SOURCES[source].pipelines)
    parts = layout.read_parts(folder, names)
    layout.inspect_parts(folder, parts)
    index = layout.config_file(folder / layout.INDEX)
    if not str(index["_class_name"]).startswith("Wan"):
        return _LTX
    if layout.config_of(folder, "transformer").get("image_dim"):
        raise InputError(
            "this model of Wan needs a network for pictures that is not loaded here",
            where=folder,
            got="image_dim in the configuration of its transformer",
            needed="a model without one, such as Wan 2.2",
        )
    return _WAN_SMALL if index.get("expand_timesteps") else _WAN


def count_of(kind: Kind, seconds: float) -> int:
    """The number of frames that comes nearest to so many seconds, within what the model can do."""
    wanted = round((seconds * kind.fps - 1) / kind.every) * kind.every + 1
    return min(max(wanted, kind.every + 1), (kind.most - 1) // kind.every * kind.every + 1)


class Video:
    """A model, opened.

    Raises what `kind_of` does, `InputError` without an extra, and `ArtifactError` when it cannot be loaded.
    """

    def __init__(self, folder: Path):
        self.kind = kind_of(folder)
        if self.kind != _LTX:
            require_extra("ftfy", "video")
        self._device = torch.device(device.choose().device)
        self._pipe = placed(_opened(folder, self.kind, self._device), self._device, self._place(folder))

    def frames(
        self, rgb: RGBImage, prompt: str, count: int, steps: int | None, seed: int
    ) -> tuple[RGBImage, ...]:
        """`count` frames (H, W, 3) of the size of `rgb`, whose sides are multiples of `MULTIPLE_PX`.

        `steps`: of denoising; None as the model's makers advise.  Raises `ArtifactError` for values that are
        not finite.
        """
        steps = steps or self.kind.steps
        height, width = rgb.shape[:2]
        with one_thread(), log.progress("drawing the clip", steps) as advance:

            def after_step(pipe: Any, number: int, level: Any, kept: dict[str, Any]) -> dict[str, Any]:
                del pipe, number, level
                advance(1)
                return kept

            answer = self._pipe(
                image=Image.fromarray(rgb), prompt=prompt, negative_prompt=_AVOIDED, width=width,
                height=height, num_frames=count, num_inference_steps=steps, guidance_scale=self.kind.guidance,
                generator=torch.Generator().manual_seed(seed), output_type="pt",
                callback_on_step_end=after_step, **self._more(),
            )  # fmt: skip
        film = answer.frames[0]
        if not bool(torch.isfinite(film).all()):
            raise ArtifactError("the video model answers with values that are not finite", where="clip")
        return tuple(_bytes(one) for one in film)

    def _more(self) -> Mapping[str, Any]:
        if self.kind != _LTX:
            return {}
        timed = bool(self._pipe.vae.config.get("timestep_conditioning", False))
        decoding = {"decode_timestep": 0.05, "decode_noise_scale": 0.025} if timed else {}
        return {"frame_rate": self.kind.fps, **decoding}

    def _place(self, folder: Path) -> Placement:
        room = device.gpu_memory_gb(str(self._device))
        if room is None:
            return "resident"
        size = {part: layout.parameters_b(folder / part) * 2 for part in modules_of(folder)}
        rest = sum(gb for part, gb in size.items() if not part.startswith("text_encoder")) + _ROOM_GB
        room *= device.SPARE
        if sum(size.values()) + _ROOM_GB <= room:
            return "resident"
        return "text_offloaded" if rest <= room else "offloaded"


def modules_of(folder: Path) -> tuple[str, ...]:
    """The parts of a folder that hold weights."""
    return tuple(p.name for p in sorted(folder.iterdir()) if p.is_dir() and any(p.glob("*.safetensors")))


def _opened(folder: Path, kind: Kind, where: torch.device) -> Any:
    """In bfloat16 on a GPU, Wan's autoencoder in float32, as its makers do; on a CPU all in float32."""
    half = torch.bfloat16 if where.type == "cuda" else torch.float32
    types = half if kind == _LTX else {"default": half, "vae": torch.float32}
    pipe = pipelines.opened(folder, kind.pipeline, "the video model", types)
    for part in modules(pipe).values():
        part.eval()
    return pipe


@lru_cache(maxsize=1)
def opened(folder: Path) -> Video:
    """The model, kept for the next picture."""
    return Video(folder)


def _bytes(frame_3HW: torch.Tensor) -> RGBImage:
    pixels = (frame_3HW.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
