"""Render styles: deterministic treatments of a finished picture, each fast enough for a training corpus.

Every one takes and gives RGB uint8 (H, W, 3), and is written for a picture 128 px high: lengths follow the
height.  `styled` does a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portrait_lora import vocabulary

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
"""(H, W), or (H, W, C) where the name says so."""

DESIGNED_PX: Final = 128
TONES: Final = 6
"""Steps of lightness in a cartoon."""
LINE_COLOUR: Final = np.array((26, 20, 34), np.float32)
SECTORS: Final = 6
PANCHROMATIC: Final = np.array((0.30, 0.52, 0.18), np.float32)
"""How film without a filter weighs linear red, green and blue: more blue than the eye does."""


_LUMA: Final = np.array((0.30, 0.59, 0.11), np.float32)
_VARNISH: Final = np.array((1.06, 1.0, 0.88), np.float32)
_UMBER: Final = np.array((26, 13, 2), np.float32)
_YELLOWED: Final = np.array((0, -4, -14), np.float32)


def styled(image_BCHW: Tensor, style: str, seeds: Sequence[int]) -> Tensor:
    """(B, 3, H, W) uint8 pictures in a style of `vocabulary.STYLES`; `seeds` place grain and canvas.

    A picture's result depends on itself and its seed alone.  Raises `KeyError` for an unknown style and
    `ValueError` unless there is one seed per picture.
    """
    treat = TREATMENTS[style]
    pictures = image_BCHW.permute(0, 2, 3, 1).contiguous().numpy()
    treated = [treat(picture, seed) for picture, seed in zip(pictures, seeds, strict=True)]
    return torch.from_numpy(np.stack(treated)).permute(0, 3, 1, 2).contiguous()


def toon(picture: Pixels, seed: int = 0) -> Pixels:
    """Flat tones in clean colours within dark lines.

    After Winnemöller, Olsen and Gooch 2006 (Real-time video abstraction): bilateral smoothing, soft
    quantisation of lightness, lines from a difference of Gaussians; these see hue and chroma too.
    """
    height, width = picture.shape[:2]
    unit = height / DESIGNED_PX
    large = cv2.resize(picture, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    for _ in range(2):
        large = cv2.bilateralFilter(large, 7, 26, 3.0 * unit)
    lab = _floats(cv2.cvtColor(large.astype(np.float32) / 255, cv2.COLOR_RGB2Lab))
    line = _lines(lab, unit)
    lab[..., 0] = _flat_tones(lab[..., 0])
    lab[..., 1:] *= 1.55
    flat = _floats(np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1) * 255)
    inked = flat * (1 - line[..., None]) + LINE_COLOUR * line[..., None]
    return _pixels(_floats(cv2.resize(inked, (width, height), interpolation=cv2.INTER_AREA)))


def _flat_tones(lightness: Plane) -> Plane:
    """Lightness 0..100 in `TONES` steps whose borders are soft (eq. 5 of the same paper)."""
    step = 100 / TONES
    nearest = (np.floor(lightness / step) + 0.5) * step
    return _floats(np.clip(nearest + step / 2 * np.tanh(0.55 * (lightness - nearest)) * 0.6 + 5, 0, 100))


def _lines(lab: Plane, unit: float) -> Plane:
    """(2H, 2W) cover of ink 0..1, where a place is darker or of another colour than around it."""
    near = cv2.GaussianBlur(lab, (0, 0), 1.7 * unit)
    far = cv2.GaussianBlur(lab, (0, 0), 4.2 * unit)
    apart = near - far
    darker = -apart[..., 0]
    other = np.sqrt(apart[..., 1] ** 2 + apart[..., 2] ** 2)
    ink = darker + 0.35 * other
    return _floats(np.clip((ink - 2.6) / 2.6, 0, 1) * 0.94)


def painterly(picture: Pixels, seed: int = 0) -> Pixels:
    """Brush strokes along the forms, on canvas.

    A Kuwahara filter of smooth sectors (Papari, Petkov and Campisi 2007), then colour drawn out along
    the structure tensor (Kyprianidis and Kang 2011), and bristles as relief lit from the upper left.
    """
    unit = picture.shape[0] / DESIGNED_PX
    rgb = picture.astype(np.float32)
    broad, fine = _kuwahara(rgb, 2.2 * unit), _kuwahara(rgb, 0.9 * unit)
    along = _directions(broad, 2.0 * unit)
    missed = cv2.GaussianBlur(np.abs(fine - broad).max(2), (0, 0), 1.4 * unit)
    detail = np.clip((missed - 5) / 9, 0, 1)[..., None]
    paint = fine * detail + _drawn_out(broad, along, max(1, round(2 * unit))) * (1 - detail)
    paint += 0.8 * (paint - cv2.GaussianBlur(paint, (0, 0), 1.3 * unit))
    noise = np.random.default_rng(seed).standard_normal(picture.shape[:2], np.float32)
    load = _drawn_out(_floats(cv2.GaussianBlur(noise, (0, 0), 1.1 * unit)), along, round(4 * unit))
    relief = 46 * load + 40 * (load - np.roll(load, (1, 1), (0, 1)))
    relief += 3 * _canvas(*picture.shape[:2], unit)
    return _varnished(paint + relief[..., None] * (1 - 0.6 * detail))


def _varnished(paint: Plane) -> Pixels:
    """Oil under varnish: umber in the shadows, cream in the lights, strong colour between."""
    grey = paint @ _LUMA
    dark = np.clip(1 - grey / 150, 0, 1)[..., None] ** 1.5
    light = np.clip(grey / 127.5 - 1, 0, 1)[..., None]
    rich = grey[..., None] + 1.3 * (paint - grey[..., None])
    return _pixels(_floats(rich * _VARNISH + _UMBER * dark + _YELLOWED * light))


def _kuwahara(rgb: Plane, sigma: float) -> Plane:
    """(H, W, 3): per place the mean of the sectors around it, the smoother a sector the more it counts."""
    planes = np.dstack([rgb, _inner(rgb, rgb)])
    total = np.zeros_like(rgb)
    weights = np.zeros(rgb.shape[:2], np.float32)
    for kernel in _sector_kernels(sigma):
        seen = cv2.filter2D(planes, -1, kernel, borderType=cv2.BORDER_REFLECT)
        spread = np.maximum(seen[..., 3] - _inner(seen[..., :3], seen[..., :3]), 0) + 4
        weight = 1 / (spread * spread * spread)
        total += seen[..., :3] * weight[..., None]
        weights += weight
    return _floats(total / weights[..., None])


@lru_cache(maxsize=4)
def _sector_kernels(sigma: float) -> list[Plane]:
    """Gaussian weights of `SECTORS` overlapping sectors, each summing to 1."""
    reach = max(2, round(2 * sigma))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    kernels: list[Plane] = []
    for i in range(SECTORS):
        turn = 2 * np.pi * i / SECTORS
        leaning = np.cos(np.arctan2(y, x) - turn)
        kernel = bell * np.clip(leaning, 0, 1) ** 4
        kernel[reach, reach] = bell[reach, reach] / SECTORS
        kernels.append((kernel / kernel.sum()).astype(np.float32))
    return kernels


def _directions(rgb: Plane, sigma: float) -> Plane:
    """(H, W, 2) unit vectors (x, y) along which colour changes least: the structure tensor's minor axis."""
    dx = cv2.Scharr(rgb, cv2.CV_32F, 1, 0)
    dy = cv2.Scharr(rgb, cv2.CV_32F, 0, 1)
    tensor = np.dstack([_inner(dx, dx), _inner(dx, dy), _inner(dy, dy)])
    e, f, g = np.moveaxis(cv2.GaussianBlur(tensor, (0, 0), sigma), 2, 0)
    angle = 0.5 * np.arctan2(2 * f, e - g) + np.pi / 2
    return np.dstack([np.cos(angle), np.sin(angle)]).astype(np.float32)


def _drawn_out(plane: Plane, along: Plane, steps: int) -> Plane:
    """The mean over `steps` pixels both ways along a field of directions (a line integral convolution)."""
    height, width = plane.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    total = plane.copy()
    for way in (1.0, -1.0):
        at_x, at_y, heading = x, y, along * np.float32(way)
        for _ in range(steps):
            at_x, at_y = at_x + heading[..., 0], at_y + heading[..., 1]
            total += cv2.remap(plane, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            here = cv2.remap(along, at_x, at_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
            heading = here * np.where(_inner(here, heading) < 0, -1, 1).astype(np.float32)[..., None]
    return _floats(total / (2 * steps + 1))


@lru_cache(maxsize=4)
def _canvas(height: int, width: int, unit: float) -> Plane:
    """(H, W) weave, about -1..1."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / unit
    return _floats(np.sin(2.1 * x) * np.sin(2.1 * y))


def film(picture: Pixels, seed: int = 0) -> Pixels:
    """Black-and-white film: panchromatic tones, an S-curve, halation round highlights, fine grain."""
    unit = picture.shape[0] / DESIGNED_PX
    linear = (picture.astype(np.float32) / 255) ** 2.2
    light = linear @ PANCHROMATIC
    bright = np.clip(light - 0.55, 0, None)
    light = light + 0.30 * cv2.GaussianBlur(bright, (0, 0), 3.5 * unit)
    tone = np.clip(light, 0, 1) ** (1 / 2.2)
    tone = np.clip(tone + 0.55 * tone * (1 - tone) * (2 * tone - 0.88), 0, 1)
    noise = np.random.default_rng(seed).standard_normal(tone.shape, np.float32)
    grain = 0.7 * noise + 0.9 * cv2.GaussianBlur(noise, (0, 0), 0.6 * unit)
    tone = tone + 0.021 * grain * (0.2 + 3 * tone * (1 - tone))
    paper = 0.02 + 0.965 * tone
    return _pixels(_floats(np.repeat(paper[..., None] * 255, 3, 2)))


def _inner(one: npt.ArrayLike, other: npt.ArrayLike) -> Plane:
    """(H, W): the inner products of the vectors along the last axis."""
    return _floats(np.einsum("hwc,hwc->hw", _floats(one), _floats(other)))


def _floats(values: npt.ArrayLike) -> Plane:
    return np.asarray(values, np.float32)


def _pixels(values: Plane) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


TREATMENTS: Final = MappingProxyType[str, Callable[[Pixels, int], Pixels]](
    dict(zip(vocabulary.STYLES, (toon, painterly, film), strict=True))
)
"""By the words of `vocabulary.STYLES`."""
