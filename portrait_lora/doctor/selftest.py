"""A self-test of a few seconds on the embedded models: a face is rendered, detected, encoded and denoised."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from portrait_lora.doctor.checks import Check
from portrait_lora.errors import PortraitError
from portrait_lora.records import RGBImage

_T = TypeVar("_T")


def self_test() -> float:
    """Run it; returns the seconds taken.  Raises `PortraitError` naming the part that fails."""
    started = time.monotonic()
    picture = _room("the studio", _render)
    _room("the face pack", lambda: _find(picture))
    _room("the base model", lambda: _encode(picture))
    return time.monotonic() - started


def _room(name: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except PortraitError:
        raise
    except Exception as error:
        remedy = "Reinstall portrait-lora; if this recurs, report the output of --verbose."
        raise PortraitError(f"{name} does not work", got=repr(error), remedy=remedy) from error


def _render() -> RGBImage:
    from portrait_lora import synthetic

    people = synthetic.sample_people([71])
    scenes = synthetic.sample_scenes([7101], max_yaw_deg=10.0)
    image = synthetic.render(people, scenes, size_px=192).image_BCHW
    return image.permute(0, 2, 3, 1).contiguous().numpy()[0]


def _find(picture: RGBImage) -> None:
    from portrait_lora.faces import FaceAnalyzer, resolve_pack

    if not FaceAnalyzer(resolve_pack()).find(picture):
        raise RuntimeError("no face found in a rendered portrait")


def _encode(picture: RGBImage) -> None:
    import torch

    from portrait_lora.families import open_family
    from portrait_lora.families.catalog import EMBEDDED
    from portrait_lora.families.family import Geometry

    family = open_family(EMBEDDED)
    family.load("encoders")
    size = EMBEDDED.resolution_px
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    small = torch.nn.functional.interpolate(pixels, (size, size), mode="area")
    condition = family.encode_prompts(["portrait of a woman"])
    latents = family.to_model_space(family.encode_pixels(small).mean_BCHW)
    family.load("denoiser")
    whole = (size, size)
    with torch.no_grad():
        answer = family.predict(latents, torch.tensor([500]), condition, [Geometry(whole, (0, 0), whole)])
    family.load("none")
    if answer.shape != latents.shape or not bool(torch.isfinite(answer).all()):
        raise RuntimeError(f"the denoiser returns {tuple(answer.shape)}")


def checked_self_test() -> Check:
    """The self-test as a check."""
    try:
        return Check("self-test", "ok", f"the embedded models work ({self_test():.1f} s)")
    except PortraitError as error:
        return Check("self-test", "fail", error.message(), error.remedy)
