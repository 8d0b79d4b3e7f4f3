"""Pictures to mark: renders of the studio, textures, gradients and noise, each a function of its seed."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from portrait_lora.records import RGBImage

KINDS: Final = ("studio", "texture", "noise")


def studio(seed: int, size_px: int) -> RGBImage:
    """(S, S, 3): one person in a scene of any kind."""
    from portrait_lora import synthetic

    scene_seed = seed * 1000 + 1
    people = synthetic.dressed(synthetic.sample_people([seed]), [scene_seed])
    scenes = synthetic.sample_scenes([scene_seed], edition=2)
    supersample = 2 if size_px <= 512 else 1
    image = synthetic.render(people, scenes, size_px=size_px, supersample=supersample).image_BCHW
    return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())


def texture(seed: int, size_px: int) -> RGBImage:
    """(S, S, 3): clouds of some roughness, cloth or brick, or a gradient, in two colours."""
    rng = np.random.default_rng([seed, 1])
    kind = int(rng.integers(3))
    if kind == 0:
        field = clouds(size_px, float(rng.uniform(0.8, 2.2)), rng)
    elif kind == 1:
        field = _woven(size_px, rng)
    else:
        field = _gradient(size_px, rng)
    return _coloured(field, rng)


def noise(seed: int, size_px: int) -> RGBImage:
    """(S, S, 3): a plain or clouded ground under noise of 2 to 24 grey levels, white or a little blurred."""
    rng = np.random.default_rng([seed, 2])
    ground = _coloured(clouds(size_px, 2.5, rng) * float(rng.uniform(0, 1)), rng).astype(np.float32)
    grain = rng.standard_normal((size_px, size_px, 3 if rng.random() < 0.5 else 1)).astype(np.float32)
    width = float(rng.uniform(0, 1.5))
    if width > 0.4:
        grain = cv2.GaussianBlur(grain, (0, 0), width).reshape(grain.shape)
        grain /= grain.std()
    return _bytes(ground + grain * float(rng.uniform(2, 24)))


def clouds(size_px: int, fall: float, rng: np.random.Generator) -> np.ndarray:
    """(S, S) about 0 with deviation 1: noise whose amplitude falls as frequency ** -fall."""
    fy, fx = np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    radius = np.maximum(np.hypot(fy, fx), 1 / size_px)
    shape = (size_px, size_px // 2 + 1)
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * radius**-fall
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (size_px, size_px))
    return field / field.std()


def _woven(size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Threads or bricks: two square or sine waves across each other, turned a little."""
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    angle = float(rng.uniform(0, np.pi))
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    a, b = (float(p) for p in np.exp(rng.uniform(np.log(5), np.log(size_px / 3), 2)))
    field = np.sin(2 * np.pi * u / a) + np.sin(2 * np.pi * v / b)
    if rng.random() < 0.5:
        field = np.tanh(4 * field)
    return field + 0.3 * clouds(size_px, 1.2, rng)


def _gradient(size_px: int, rng: np.random.Generator) -> np.ndarray:
    """A backdrop: light that falls off from one place, and nothing else."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    cy, cx = rng.uniform(-0.5, 1.5, 2)
    return 2 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / float(rng.uniform(0.2, 2.0))) - 1


def _coloured(field: np.ndarray, rng: np.random.Generator) -> RGBImage:
    first, second = rng.uniform(10, 245, (2, 3))
    share = 0.5 + 0.5 * np.tanh(field * float(rng.uniform(0.3, 1.2)))[..., None]
    return _bytes(first + (second - first) * share)


def _bytes(values: np.ndarray) -> RGBImage:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
