"""Photographs in another light: normals and colours without light by Marigold's networks, through diffusers.

Marigold (Ke et al., "Affordable Adaptation of Diffusion-Based Image Generators for Image Analysis", 2025)
comes as two repositories.  None of these weights was ever run by this project, which tried it with random
weights of the same layout.  Cast shadows are not known and not drawn.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch.nn.functional import normalize

from portrait_lora import device
from portrait_lora.errors import ArtifactError
from portrait_lora.families import layout
from portrait_lora.finishing import colour, pipelines
from portrait_lora.finishing.relight import Rig, one_thread, radiance
from portrait_lora.finishing.sources import MARIGOLD, pulled_as
from portrait_lora.records import FloatArray
from portrait_lora.shading import EXPOSURE, Surface, illuminate

_BLUR: Final = 0.04
"""Deviation, in sizes of the face, above which the old light is told from the colours' own structure."""
_DARK: Final = 0.02
_ALBEDO: Final = "albedo"
KINDS: Final = tuple(one.pipelines[0] for one in pulled_as(MARIGOLD))
"""Classes of diffusers, of the normals and of the intrinsics."""


class Marigold:
    """Both networks.  Raises `InputError` for a folder that must not be loaded, else `ArtifactError`."""

    def __init__(self, normals: Path, intrinsics: Path):
        self._normals, self._intrinsics = (
            _opened(folder, kind) for folder, kind in zip((normals, intrinsics), KINDS, strict=True)
        )
        properties = self._intrinsics.target_properties or {}
        names = list(properties.get("target_names", ()))
        if _ALBEDO not in names:
            raise ArtifactError(
                "the network for intrinsics gives no colours without light",
                where=intrinsics,
                got=", ".join(names) or "no target_names",
                needed=_ALBEDO,
            )
        self._place = names.index(_ALBEDO)
        self._coded = properties.get(_ALBEDO, {}).get("prediction_space") == "srgb"

    def maps(self, rgb_HW3: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
        """(H, W, 3) normals of length one (x right, y up, z to the camera), and linear colours 0..1."""
        with one_thread():
            image = rgb_HW3.copy()
            answers = [
                pipe(image, generator=torch.Generator().manual_seed(seed), output_type="np").prediction
                for pipe in (self._normals, self._intrinsics)
            ]
        normals, albedo = (
            np.asarray(answers[0][0], np.float32),
            np.asarray(answers[1][self._place], np.float32),
        )
        if not (np.isfinite(normals).all() and np.isfinite(albedo).all()):
            raise ArtifactError(
                "the networks of relight answer with values that are not finite", where=MARIGOLD
            )
        flat = normalize(torch.from_numpy(normals), dim=-1).numpy()
        albedo = np.clip(albedo, 0, 1)
        return flat, colour.to_linear(albedo) if self._coded else albedo


def _opened(folder: Path, kind: str) -> Any:
    layout.inspect_parts(folder, layout.read_parts(folder, (kind,)))
    pipe = pipelines.opened(folder, kind, "a network of relight", torch.float32)
    return pipe.to(device.choose().device)


@lru_cache(maxsize=1)
def opened(normals: Path, intrinsics: Path) -> Marigold:
    """Both networks, kept for the next picture."""
    return Marigold(normals, intrinsics)


def lit(
    front_HW3: FloatArray, alpha_HW: FloatArray, face_px: float, maps: tuple[FloatArray, FloatArray], rig: Rig
) -> FloatArray:
    """(H, W, 3) linear light of the person under the rig.

    The old light is the picture over the colours found, smoothed: what is finer stays the picture's own.
    """
    normals, albedo = maps
    shows = radiance(colour.to_linear(front_HW3))
    sigma = max(1.0, _BLUR * face_px)
    old = (_smoothed(shows, alpha_HW, sigma) + _DARK) / (_smoothed(albedo, alpha_HW, sigma) + _DARK)
    own = torch.from_numpy(np.clip(shows / old, 0, 1).reshape(-1, 3).astype(np.float32))
    count = len(own)
    one, none = torch.ones(count), torch.zeros(count)
    up, view = torch.tensor([0.0, 1.0, 0.0]).expand(count, 3), torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    surface = Surface(
        own, torch.from_numpy(normals.reshape(-1, 3)), up, one, none, one * 24, none, none, none
    )
    with one_thread():
        light = 1 - torch.exp(-EXPOSURE * illuminate(surface, view, one, rig.lamps))
    return light.numpy().reshape(front_HW3.shape)


def _smoothed(values_HW3: np.ndarray, alpha_HW: FloatArray, sigma: float) -> np.ndarray:
    """Blurred over the person alone."""
    share = cv2.GaussianBlur(alpha_HW, (0, 0), sigma)[..., None]
    return cv2.GaussianBlur(values_HW3 * alpha_HW[..., None], (0, 0), sigma) / np.maximum(share, 1e-4)
