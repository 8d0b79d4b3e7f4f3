"""The corpus in memory, and the crops that the networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait_lora import vocabulary
from scripts.train.corpus import Corpus

TEMPLATE_112: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where insightface puts the five keypoints in its 112 px crop."""
HELD_OUT_SHARE: Final = 0.04
"""Of the people: the last ones, kept to look at progress with."""
UNLABELLED: Final = -100
"""Label of what a network does not learn; `cross_entropy` leaves it out."""


@dataclass(frozen=True, slots=True)
class Pool:
    """N pictures with their truth; `person` counts from 0, `seed` is whose it is, `expression` indexes
    EXPRESSIONS."""

    image: Tensor  # (N, 3, S, S) uint8
    mask: Tensor  # (N, S, S) uint8
    box: Tensor  # (N, 4)
    keypoints: Tensor  # (N, 5, 2)
    landmarks: Tensor  # (N, 68, 2)
    visible: Tensor  # (N, 68)
    pose: Tensor  # (N, 3)
    person: Tensor  # (N,) long
    seed: Tensor  # (N,) long
    expression: Tensor  # (N,) long
    worn: Tensor  # (N, 3) long: glasses, beard, lighting, each by its list of the vocabulary; else UNLABELLED
    light: Tensor  # (N, 3) unit, towards the key light

    def __len__(self) -> int:
        return len(self.person)

    @property
    def size_px(self) -> int:
        return int(self.image.shape[-1])

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1

    def take(self, index: Tensor) -> Pool:
        """The rows of `index`; people keep their numbers."""
        return Pool(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device) -> Pool:
        """The same elsewhere."""
        return Pool(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def renumbered(self) -> Pool:
        """People counted from 0 without gaps."""
        return replace(self, person=self.person.unique(return_inverse=True)[1])


def joined(first: Pool, second: Pool) -> Pool:
    """Both, the people of the second counted on."""
    second = replace(second, person=second.person + first.people)
    return Pool(
        **{f.name: torch.cat([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Pool)}
    )


def split(pool: Pool) -> tuple[Pool, Pool]:
    """Pictures to train on, and those of the last people."""
    fit, held = split_rows(pool)
    return pool.take(fit), pool.take(held)


def split_rows(pool: Pool) -> tuple[Tensor, Tensor]:
    """The rows of both."""
    first = int(pool.people * (1 - HELD_OUT_SHARE))
    rows = torch.arange(len(pool))
    return rows[pool.person < first], rows[pool.person >= first]


def load_pool(folder: Path, limit: int | None = None) -> Pool:
    """Read the shards that are finished."""
    corpus = Corpus(folder, limit)
    words = [look.expression or vocabulary.EXPRESSIONS[0] for look in corpus.looks]
    names = ("image", "mask", "box", "keypoints", "landmarks", "visible", "pose")
    columns = {name: corpus.column(name) for name in names}
    columns |= {"light": corpus.column("light_direction"), "worn": worn_of(corpus.looks)}
    seed = corpus.column("person")
    person = seed.unique(return_inverse=True)[1]
    expression = torch.tensor([vocabulary.EXPRESSIONS.index(w) for w in words])
    return Pool(**columns, person=person, seed=seed, expression=expression)


def worn_of(looks: Sequence[vocabulary.Look]) -> Tensor:
    """(N, 3) indices of the words for glasses, beard and lighting; unsaid means the first of the list.

    A rig of the second edition is `UNLABELLED`: the pack distinguishes the first eight.
    """
    lists = (vocabulary.ALL_GLASSES, vocabulary.BEARDS, vocabulary.LIGHTINGS)
    words = [(look.glasses, look.beard, look.lighting) for look in looks]
    return torch.tensor([[_index_of(s or w[0], w) for w, s in zip(lists, row, strict=True)] for row in words])


def _index_of(word: str, words: Sequence[str]) -> int:
    return words.index(word) if word in words else UNLABELLED


def unit(image: Tensor, std: float = 127.5) -> Tensor:
    """0..255 -> about -1..1 in the layout that convolutions like."""
    return ((image - 127.5) / std).contiguous(memory_format=torch.channels_last)


def five_points(landmarks: Tensor) -> Tensor:
    """(B, 68, 2) -> (B, 5, 2): the points on which the pack aligns, as `faces.shape.five_points`."""
    eyes = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    return torch.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], 1)


def similarity(points: Tensor, target: Tensor) -> Tensor:
    """(B, 2, 3) that takes target pixels to picture pixels: least squares of `points` on `target`."""
    t_mean, p_mean = target.mean(-2), points.mean(-2)
    t, p = target - t_mean[..., None, :], points - p_mean[..., None, :]
    size = (t**2).sum((-1, -2))
    a = (t * p).sum((-1, -2)) / size
    b = (t[..., 0] * p[..., 1] - t[..., 1] * p[..., 0]).sum(-1) / size
    turn = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    shift = p_mean - (turn @ t_mean[..., None])[..., 0]
    return torch.cat([turn, shift[..., None]], -1)


def place(centre: Tensor, scale: Tensor, angle: Tensor, side_px: float) -> Tensor:
    """(B, 2, 3) from crop pixels to picture pixels: a square around `centre`, `scale` picture px per px."""
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    middle = torch.full((2, 1), side_px / 2, device=centre.device)
    return torch.cat([turn, centre[..., None] - turn @ middle], -1)


def invert(affine: Tensor) -> Tensor:
    """The inverse map of (B, 2, 3) affines."""
    turn = torch.linalg.inv(affine[..., :2])
    return torch.cat([turn, -turn @ affine[..., 2:]], -1)


def move(points: Tensor, affine: Tensor) -> Tensor:
    """Apply (B, 2, 3) to (B, K, 2)."""
    return points @ affine[..., :2].transpose(-1, -2) + affine[..., None, :, 2]


def warp(images: Tensor, affine: Tensor, height: int, width: int) -> Tensor:
    """Sample (B, C, H, W) at output pixels mapped by `affine` (as cv2.warpAffine: zeros outside)."""
    h, w = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device, dtype=torch.float32),
        torch.arange(width, device=images.device, dtype=torch.float32),
        indexing="ij",
    )
    grid = move(torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(images), -1, -1), affine)
    size = torch.tensor([w, h], device=images.device, dtype=torch.float32)
    grid = ((grid + 0.5) / size * 2 - 1).reshape(-1, height, width, 2)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def aligned(images: Tensor, keypoints: Tensor, generator: torch.Generator | None, noise: float) -> Tensor:
    """(B, 3, 56, 56) in 0..255 as the embedders see it; keypoints shake when there is a generator."""
    template = torch.tensor(TEMPLATE_112, device=keypoints.device)
    if generator is not None:
        spread = (keypoints - keypoints.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
        shake = torch.randn(keypoints.shape, generator=generator) * noise
        shake = shake + torch.randn(len(keypoints), 1, 2, generator=generator) * noise * 1.2
        keypoints = keypoints + shake * spread[:, None, None]
        scale = 1 + torch.randn(len(keypoints), 1, 1, generator=generator) * noise
        middle = keypoints.mean(1, keepdim=True)
        keypoints = (keypoints - middle) * scale + middle
    crop = warp(images.float(), similarity(keypoints, template), 112, 112)
    return F.avg_pool2d(crop, 2)


def astray(box: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A `share` of the boxes shifted and scaled as by a detector that sees half a face."""
    some = (torch.rand(len(box), 1, generator=generator) < share).float()
    size = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
    shift = torch.randn(len(box), 2, generator=generator).clamp(-2, 2) * 0.08 * size * some
    scale = 1 + torch.randn(len(box), 1, generator=generator).clamp(-2, 2) * 0.09 * some
    centre, half = (box[:, :2] + box[:, 2:]) / 2 + shift, (box[:, 2:] - box[:, :2]) / 2 * scale
    return torch.cat([centre - half, centre + half], 1)


def landmark_crop(
    images: Tensor, box: Tensor, generator: torch.Generator | None, side_px: int
) -> tuple[Tensor, Tensor]:
    """Crops (B, 3, side, side) as insightface cuts them (1.5 × the longer side) and their affines."""
    return box_crop(images, box, generator, side_px, 1.5)


def box_crop(
    images: Tensor, box: Tensor, generator: torch.Generator | None, side_px: int, context: float
) -> tuple[Tensor, Tensor]:
    """Crops (B, 3, side, side) of `context` × the longer side of the boxes, and their affines to the
    pictures; they shift, grow and turn a little when there is a generator."""
    size = (box[:, 2:] - box[:, :2]).amax(1)
    centre = (box[:, :2] + box[:, 2:]) / 2
    angle = torch.zeros(len(box))
    if generator is not None:
        g = generator
        centre = centre + torch.randn(centre.shape, generator=g).clamp(-2, 2) * 0.05 * size[:, None]
        size = size * (1 + torch.randn(len(size), generator=g).clamp(-2, 2) * 0.07)
        angle = torch.randn(len(size), generator=g) * 0.15
    affine = place(centre, size * context / side_px, angle, float(side_px))
    crop = F.avg_pool2d(
        warp(
            images.float(),
            place(centre, size * context / 2 / side_px, angle, 2.0 * side_px),
            2 * side_px,
            2 * side_px,
        ),
        2,
    )
    return crop, affine
