"""One person in one scene, dressed once and lit by as many rigs as wanted: the truth for relighting.

N samples, H x W pixels, K channels of `CHANNELS`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.shading import EXPOSURE, illuminate, lighting
from portrait_lora.synthetic.backdrop import linear_to_srgb
from portrait_lora.synthetic.figure import build_figure
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.light import ShadowMap
from portrait_lora.synthetic.raster import choose_samples, interpolate, rasterise, weights_at
from portrait_lora.synthetic.render import CAMERA_Z, camera_of
from portrait_lora.synthetic.scene import Scene
from portrait_lora.synthetic.shade import dress, fragments, in_light

CHANNELS: Final = {
    "albedo": 3, "normal": 3, "tangent": 3, "view": 3, "occlusion": 1, "specular": 1, "gloss": 1, "skin": 1,
    "strand": 1, "hair": 1,
}  # fmt: skip
"""Of `Sitting.surface`, in their order; directions are in world coordinates, gloss is an exponent."""


class Sitting:
    """Everything of a picture that the lamps do not change."""

    def __init__(self, person: Person, scene: Scene, size_px: tuple[int, int], supersample: int = 2) -> None:
        device = torch.device("cpu")
        self._person, self._scene, self.size_px = person, scene, size_px
        width, height = size_px
        with torch.inference_mode():
            self._figure = build_figure(person, scene, device)
            camera = camera_of(person, scene, self._figure, width * supersample, height * supersample)
            screen = camera.project(self._figure.position_V3)
            triangles = self._figure.triangles
            keys = rasterise(screen, triangles, camera.height, camera.width)
            chosen = choose_samples(keys, triangles, supersample)
            ids, weights, number = weights_at(screen, triangles.faces_T3, keys, chosen)
            values = interpolate(self._figure.shading_V17, ids, weights)
            self._frags = fragments(values, triangles.material_T[number], CAMERA_Z)
            self._pixel = (chosen.y_N // supersample) * width + chosen.x_N // supersample
            self._weight = chosen.weight_N.float()
            self._surface = dress(self._frags, self._figure, person, scene)
            self.cover_HW = self._gathered(torch.ones_like(self._weight)[:, None], straight=False)[..., 0]

    def _gathered(self, values_NK: Tensor, *, straight: bool = True) -> Tensor:
        """(H, W, K) mean over the samples of every pixel, of covered ones alone if `straight`."""
        width, height = self.size_px
        total = torch.zeros(height * width, values_NK.shape[1])
        total.index_add_(0, self._pixel, values_NK * self._weight[:, None])
        total = total.view(height, width, -1)
        return total / self.cover_HW.clamp(min=1e-6)[..., None] if straight else total.clamp(0, 1)

    @torch.inference_mode()
    def surface(self) -> Tensor:
        """(H, W, K) what the light meets, averaged over the samples; 0 where nobody is."""
        s = self._surface
        flat = (s.occlusion_N, s.specular_N, s.gloss_N, s.skin_N, s.strand_N, s.hair_N)
        columns = (s.albedo_N3, s.normal_N3, s.tangent_N3, self._frags.view_N3, torch.stack(flat, 1))
        return self._gathered(torch.cat(columns, 1))

    @torch.inference_mode()
    def under(self, rig: str, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """The person under a rig of `vocabulary.ALL_LIGHTINGS`: (3, H, W) uint8 as `render` with
        `transparent` gives it, and (H, W) how much of the key lamp is seen."""
        lights = lighting(vocabulary.ALL_LIGHTINGS.index(rig), flip, torch.device("cpu"))
        seen = in_light(self._frags, lights, ShadowMap(self._figure, lights))
        light = 1 - torch.exp(-EXPOSURE * illuminate(self._surface, self._frags.view_N3, seen, lights))
        colour = linear_to_srgb(self._gathered(light.clamp(0, 1)).permute(2, 0, 1))
        return (colour.clamp(0, 1) * 255 + 0.5).to(torch.uint8), self._gathered(seen[:, None])[..., 0]
