"""Calls of diffusers pipelines for every family: text to image, image to image, and inpainting.

Every picture has its own noise generator, on the CPU, so neither batch size nor order changes its noise.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast

import diffusers  # its parts are imported when they are used
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from portrait_lora.errors import ConfigError, InputError, PortraitError
from portrait_lora.families.family import ADAPTER_NAME, Family, Weights
from portrait_lora.families.lora_loading import load_lora
from portrait_lora.generation.guidance import Identity, in_two_terms, share_layers
from portrait_lora.generation.in_context import Curtain, read_references, refuse_family
from portrait_lora.generation.presets import Argument, fitting
from portrait_lora.generation.reference import StyleReference, load, read_picture
from portrait_lora.generation.schedulers import with_scheduler
from portrait_lora.records import Adapter, Shot
from portrait_lora.rights import guard

STYLE_NAME: Final = "style"
ACCELERATOR_NAME: Final = "accelerator"
Unconditional = Literal["adapter", "base"]
_INPAINT_CHANNELS: Final = (4, 9)


@dataclass(frozen=True, slots=True)
class StyleAdapter:
    """A second LoRA file, used together with the identity adapter, and its scale."""

    path: Path
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Sampler settings; an empty `scheduler` is the family's own.

    `unconditional` is the model for the unconditional pass of classifier-free guidance (Ho and Salimans 2022,
    eq. 6): the network with its adapters, as in diffusers, or the bare base.  The adapted network generates
    the person without a prompt too, so guidance strengthens identity only against the bare base.  `identity`
    then splits the guidance into two terms, see `guidance`.  `preset` is the preset that steps, scheduler
    with its arguments, and `accelerator` (a few-step LoRA) come from, see `presets`.  `references` are photos
    of the person that are shown in context while text becomes a picture, for the share `references_until` of
    the steps, see `in_context`; edits show none.  `weights` is how the denoiser is held; None as usual.
    """

    steps: int
    guidance_scale: float
    adapter_scale: float
    scheduler: str
    style: StyleAdapter | None = None
    unconditional: Unconditional
    identity: Identity
    reference: StyleReference | None = None
    preset: str = ""
    scheduler_arguments: tuple[tuple[str, Argument], ...] = ()
    accelerator: StyleAdapter | None = None
    references: tuple[Path, ...] = ()
    references_until: float = 1.0
    weights: Weights | None = None

    @property
    def two_terms(self) -> bool:
        """Whether the guidance is split into two terms."""
        return (
            self.unconditional == "base"
            and self.guidance_scale > 1
            and self.identity.divides(self.guidance_scale)
        )


def open_pipeline(family: Family, adapter: Adapter | None, sampler: Sampler) -> Any:
    """The pipeline with adapters at their scales and the configured scheduler.

    Raises `InputError` for a scheduler that the family cannot use or a style that does not fit it,
    `ConfigError` for guidance or a style reference that the family or the other settings do not allow.
    """
    refuse_what_cannot_be(family, sampler)
    pipe: Any = family.pipeline(adapter, sampler.weights)
    names, scales = ([ADAPTER_NAME], [sampler.adapter_scale]) if adapter else ([], [])
    beside = load_beside(pipe, sampler)
    if adapter or beside:
        pipe.set_adapters([*names, *beside], [*scales, *beside.values()])
        if guides_from_base(family, sampler):
            share_layers(getattr(pipe, family.denoiser_name))
    if sampler.reference is not None:
        load(family, pipe, sampler.reference)
    return with_scheduler(pipe, sampler.scheduler, sampler.scheduler_arguments)


def refuse_what_cannot_be(family: Family, sampler: Sampler) -> None:
    """Raise `ConfigError` for guidance, a preset or references that do not go with the family."""
    if sampler.identity.divides(sampler.guidance_scale) and not sampler.two_terms:
        raise ConfigError(
            "separate identity guidance needs guidance against the bare base",
            where="generate.identity_*",
            got=f"unconditional {sampler.unconditional}, guidance_scale {sampler.guidance_scale:g}",
            needed="generate.unconditional base, and a guidance_scale above 1",
        )
    if sampler.preset:
        fitting(sampler.preset, family.base.family)
    if sampler.references:
        refuse_family(family.base.family, len(sampler.references))


def load_beside(pipe: Any, sampler: Sampler) -> dict[str, float]:
    """Load the adapters of style and preset, where the sampler has them; their names -> their scales."""
    wanted = {STYLE_NAME: sampler.style, ACCELERATOR_NAME: sampler.accelerator}
    there = {name: beside for name, beside in wanted.items() if beside is not None}
    for name, beside in there.items():
        _load_beside(pipe, beside.path, name)
    return {name: beside.scale for name, beside in there.items()}


def guides_from_base(family: Family, sampler: Sampler) -> bool:
    """Whether the adapters apply to the prompted pass only; see `guidance.share_layers`.

    Raises `ConfigError` for a family that cannot.
    """
    if sampler.unconditional != "base" or sampler.guidance_scale <= 1:
        return False
    if not getattr(family, "guides_in_one_batch", False):
        raise ConfigError(
            "this family does not run both guidance passes in one batch",
            where="generate.unconditional",
            got="base",
            needed="adapter",
        )
    return True


def _load_beside(pipe: Any, path: Path, name: str) -> None:
    """Load a further LoRA file under its own name."""
    if not path.is_file() or path.suffix != ".safetensors":
        raise InputError(f"no such {name} adapter", where=path, needed="a .safetensors file")
    try:
        load_lora(pipe, path, name)
    except PortraitError as error:
        raise InputError(
            f"the {name} adapter does not fit this base", where=path, got=error.what + _got(error),
            needed=error.needed, remedy=error.remedy,
        ) from error  # fmt: skip


def _got(error: PortraitError) -> str:
    return f" ({error.got})" if error.got else ""


def check_size(family: Family, size_px: tuple[int, int]) -> None:
    """Raise `InputError` for a size (W, H) that the family cannot generate, naming the nearest."""
    multiple = getattr(family, "multiple_px", 8)
    if min(size_px) < 2 * multiple or any(side % multiple for side in size_px):
        near = [max(2 * multiple, round(side / multiple) * multiple) for side in size_px]
        raise InputError(
            "the family cannot generate this size",
            where=family.base.label,
            got=f"{size_px[0]}x{size_px[1]} px",
            needed=f"multiples of {multiple} px",
            remedy=f"The nearest is {near[0]}x{near[1]}.",
        )


@torch.no_grad()
def from_text(
    pipe: Any, shots: Sequence[Shot], sampler: Sampler, *, on_step: Callable[[], None] | None = None
) -> list[Image.Image]:
    """One picture per shot, all of one size, in one batch; `on_step` is called after every step."""
    width, height = shots[0].size_px
    more: dict[str, object] = {
        "width": width,
        "height": height,
        "generator": [generator(shot.seed) for shot in shots],
    }
    after = [on_step] if on_step is not None else []
    curtain: AbstractContextManager[None] = nullcontext()
    if sampler.references:
        more["image"] = read_references(sampler.references)
        if sampler.references_until < 1.0:
            patch_px = 2 * pipe.vae_scale_factor
            shown = Curtain(sampler.references_until, (width // patch_px) * (height // patch_px))
            after, curtain = [*after, shown.step], shown.before(pipe)
    if after:
        more["callback_on_step_end"] = partial(_after_step, after)
    with curtain:
        return _call(pipe, shots, sampler, more)


@torch.no_grad()
def from_picture(
    pipe: Any, picture: Image.Image, shot: Shot, sampler: Sampler, strength: float
) -> Image.Image:
    """Image to image; `strength` 0 keeps the picture, 1 ignores it (Meng et al. 2022, SDEdit)."""
    over = _kindred(pipe, diffusers.AutoPipelineForImage2Image, "image-to-image")
    if "strength" not in inspect.signature(over.__call__).parameters:
        # FLUX.2: diffusers names the pipeline that takes a picture as a reference, which keeps as it likes.
        raise _none_of(pipe, "image-to-image")
    more: dict[str, object] = {
        "image": picture.convert("RGB").resize(shot.size_px, Image.Resampling.LANCZOS),
        "strength": strength,
        "generator": [generator(shot.seed)],
    }
    return _call(over, [shot], _at_least_one_step(sampler, strength), more)[0]


@torch.no_grad()
def inside(
    pipe: Any, picture: Image.Image, mask: Image.Image, shot: Shot, sampler: Sampler, strength: float
) -> Image.Image:
    """Inpainting where the mask (mode L) is white; picture and mask have the shot's size.

    diffusers' inpainting needs a UNet of 4 or 9 channels; other models use image to image, and the caller
    must restore what is outside the mask.
    """
    sampler = replace(sampler, identity=replace(sampler.identity, region="picture"))  # this is a detail
    unet = getattr(pipe, "unet", None)
    if unet is not None and unet.config.in_channels not in _INPAINT_CHANNELS:
        return from_picture(pipe, picture, shot, sampler, strength)
    over = _kindred(pipe, diffusers.AutoPipelineForInpainting, "inpainting")
    more: dict[str, object] = {
        "image": picture,
        "mask_image": mask,
        "width": shot.size_px[0],
        "height": shot.size_px[1],
        "strength": strength,
        "generator": [generator(shot.seed)],
    }
    return _call(over, [shot], _at_least_one_step(sampler, strength), more)[0]


def _at_least_one_step(sampler: Sampler, strength: float) -> Sampler:
    """Number of steps of which at least one is left: image to image runs only the last `strength` of them."""
    return replace(sampler, steps=max(sampler.steps, math.ceil(1 / max(strength, 0.01))))


def generator(seed: int) -> torch.Generator:
    """The only source of a picture's noise."""
    return torch.Generator("cpu").manual_seed(seed)


def _kindred(pipe: Any, kind: Any, what: str) -> Any:
    try:
        return _quiet(kind.from_pipe(pipe))
    except ValueError as error:
        raise _none_of(pipe, what) from error


def _none_of(pipe: Any, what: str) -> InputError:
    return InputError(f"this family has no {what}", got=type(pipe).__name__)


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _after_step(after: Sequence[Callable[[], None]], _pipe: Any, _index: int, _at: Any, values: Any) -> Any:
    """Leave the pipeline's own values as they are."""
    for on_step in after:
        on_step()
    return values


def _call(pipe: Any, shots: Sequence[Shot], sampler: Sampler, more: dict[str, object]) -> list[Image.Image]:
    """Call the pipeline with the arguments in its signature; distilled families take no negative prompt.

    The last fence before a picture: `Refused` for words that no consent of a guardian makes drawable.
    """
    guard.require([shot.prompt for shot in shots], guardian=True)
    arguments: dict[str, object] = {
        "prompt": [shot.prompt for shot in shots],
        "negative_prompt": [shot.negative_prompt for shot in shots],
        "num_inference_steps": sampler.steps,
        "guidance_scale": sampler.guidance_scale,
        "output_type": "np",
        **more,
    }
    if sampler.reference is not None:
        arguments["ip_adapter_image"] = read_picture(sampler.reference.picture)
    taken = inspect.signature(pipe.__call__).parameters
    with _guidance(pipe, shots, sampler):
        answer = pipe(**{key: value for key, value in arguments.items() if key in taken})
    return _pictures(pipe, answer.images, shots)


def _pictures(pipe: Any, drawn_BHWC: NDArray[np.float32], shots: Sequence[Shot]) -> list[Image.Image]:
    """As from `output_type="pil"`; `PortraitError` naming a shot with values that are not finite.

    A network that overflows returns NaN, which would silently become a black picture.
    """
    for shot, pixels_HWC in zip(shots, drawn_BHWC, strict=True):
        finite = bool(np.isfinite(pixels_HWC).all())
        if not finite or not pixels_HWC.any():
            raise PortraitError(
                "the picture came out black",
                where=f"{shot.name}, seed {shot.seed}",
                got="values that are not finite" if not finite else "nothing but black",
                needed="a picture",
                remedy="Half precision overflows on some bases: try generate.weights=float32 or bfloat16; "
                "otherwise leave out further adapters, or lower their strength.",
            )
    return cast(list[Image.Image], pipe.image_processor.numpy_to_pil(drawn_BHWC))


def _guidance(pipe: Any, shots: Sequence[Shot], sampler: Sampler) -> AbstractContextManager[None]:
    """Guidance in two terms if the sampler has it."""
    if not sampler.two_terms:
        return nullcontext()
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    last = int(pipe.scheduler.config.num_train_timesteps)
    return in_two_terms(denoiser, sampler.identity, sampler.guidance_scale, shots, last)
