"""Segmentation of a render: the ground truth for training and evaluating a segmenter.

B pictures, H x W pixels, N covered pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait_lora.synthetic import figure as figures
from portrait_lora.synthetic.cloth import ClothSamples, paint_cloth
from portrait_lora.synthetic.figure import Figure, build_figure
from portrait_lora.synthetic.identity import People, Person
from portrait_lora.synthetic.raster import Samples, interpolate, rasterise, weights_at
from portrait_lora.synthetic.render import camera_of, face_truth
from portrait_lora.synthetic.scene import Scene, Scenes

PARTS: Final = ("backdrop", "clothes", "skin", "hair", "eyes", "glasses")
"""In label order.  Beards and bare necks are skin; hats are clothes."""
BACKDROP, CLOTHES, SKIN, HAIR, EYES, GLASSES = range(len(PARTS))
_OF_MATERIAL: Final = {
    **dict.fromkeys((figures.HEAD, figures.EAR), SKIN),
    **dict.fromkeys(figures.HAIR, HAIR),
    **dict.fromkeys((figures.TORSO, figures.COLLAR, figures.HAT), CLOTHES),
    **dict.fromkeys((figures.GLASSES, figures.LENS), GLASSES),
}
_EYES: Final = (slice(36, 42), slice(42, 48))
_FINE: Final = 4  # bits of fraction that cv2 draws with


@torch.inference_mode()
def part_labels(people: People, scenes: Scenes, size_px: int | tuple[int, int] = 128) -> Tensor:
    """(B, H, W) uint8: the index into `PARTS` of what is in the middle of every pixel.

    The pictures are those that `render` makes of the same people, scenes and size.
    """
    if len(people) != len(scenes):
        raise ValueError(f"part_labels: {len(people)} people but {len(scenes)} scenes")
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    rows = zip(people.rows(), scenes.rows(), strict=True)
    return torch.stack([_labels(person, scene, size, people.device) for person, scene in rows])


def _labels(person: Person, scene: Scene, size: tuple[int, int], device: torch.device) -> Tensor:
    figure = build_figure(person, scene, device)
    camera = camera_of(person, scene, figure, *size)
    screen = camera.project(figure.position_V3)
    keys = rasterise(screen, figure.triangles, camera.height, camera.width)
    table = torch.tensor([_OF_MATERIAL[m] for m in sorted(_OF_MATERIAL)], dtype=torch.uint8, device=device)
    material = figure.triangles.material_T[keys & 0xFFFFFFFF]
    labels = torch.where(keys > 0, table[material], BACKDROP)
    cloth = (keys > 0) & ((material == figures.TORSO) | (material == figures.COLLAR))
    labels[cloth] = torch.where(_bare(figure, person, scene, screen, keys, cloth), SKIN, CLOTHES).to(labels)
    landmarks = face_truth(figure, person, scene, camera, keys, 1)[2]
    labels[_eyes(landmarks, labels) & (material == figures.HEAD) & (keys > 0)] = EYES
    return labels


def _bare(
    figure: Figure, person: Person, scene: Scene, screen_V3: Tensor, keys_HW: Tensor, cloth_HW: Tensor
) -> Tensor:
    """(N,) whether the torso shows skin at the pixels of `cloth_HW`."""
    y, x = cloth_HW.nonzero(as_tuple=True)
    places = Samples(y, x, torch.ones_like(x), 0.0)
    ids, weights, triangle = weights_at(screen_V3, figure.triangles.faces_T3, keys_HW, places)
    a = interpolate(figure.shading_V17, ids, weights)[:, 9:]
    collar = figure.triangles.material_T[triangle] == figures.COLLAR
    inside = torch.zeros_like(collar)
    return paint_cloth(ClothSamples(a[:, :3], a[:, 3], a[:, 4], collar, inside), person, scene).bare_N > 0.5


def _eyes(landmarks: Tensor, labels: Tensor) -> Tensor:
    """(H, W) bool: between the lids."""
    mask = np.zeros(tuple(labels.shape), np.uint8)
    points = np.rint((landmarks.cpu().numpy() - 0.5) * (1 << _FINE)).astype(np.int32)
    for eye in _EYES:
        cv2.fillPoly(mask, [points[eye]], (1,), lineType=cv2.LINE_8, shift=_FINE)
    return torch.from_numpy(mask > 0).to(labels.device)
