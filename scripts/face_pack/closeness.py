"""How near two people of the studio truly are, and a loss that teaches an embedder to say so.

Distance is that of the protocol's truth (`scripts/protocol/truth.py`): half by the vertices of the neutral
head, half by the colour of the skin, each scaled to 1 between two strangers in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait_lora.synthetic import colours, sample_people, sample_scenes
from portrait_lora.synthetic.curves import features_of
from portrait_lora.synthetic.head import build_head

_EVERY: Final = 6
"""Vertices lie so dense that every sixth tells the shape."""
_COORDINATES: Final = 40
_PAIRS: Final = 4096
NEAR: Final = 0.3
REACH: Final = 0.7
"""Strangers are to be alike by `NEAR` exp(-(distance / `REACH`)²): little, but in the order of the truth."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Of P people: (P, K) coordinates of the head's shape and (P, 3) colours; distances are in strangers."""

    shape: Tensor
    colour: Tensor

    def distance(self, person: Tensor) -> Tensor:
        """(B, B) true distances of the people `person` (B,)."""
        shape, colour = self.shape[person], self.colour[person]
        apart = torch.cdist(shape, shape, compute_mode="donot_use_mm_for_euclid_dist")
        return 0.5 * (apart + torch.cdist(colour, colour, p=1.0))


def truth_of(seeds: Sequence[int]) -> Truth:
    """The truth about the people of these seeds, in their order."""
    people = sample_people(seeds).rows()
    scene = sample_scenes([1], expression="neutral", yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0).rows()[0]
    cpu = torch.device("cpu")
    heads = torch.stack(
        [
            build_head(p, features_of(p), scene, cpu).position.reshape(-1, 3)[::_EVERY].flatten()
            for p in people
        ]
    )
    heads = heads - heads.mean(0)
    _, _, axes = torch.pca_lowrank(heads, q=min(_COORDINATES, len(people)), center=False)
    skin = torch.stack([colours.skin(p, cpu) for p in people]).clamp(0, 1) ** (1 / 2.2)
    shape = heads @ axes
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, len(people), (2, _PAIRS), generator=generator)
    strangers = a != b
    a, b = a[strangers], b[strangers]
    return Truth(
        shape / (shape[a] - shape[b]).norm(dim=1).median(),
        skin / (skin[a] - skin[b]).abs().sum(1).median(),
    )


def closeness_loss(embedding: Tensor, person: Tensor, truth: Truth) -> Tensor:
    """Mean squared error of the cosines (B, B) of a batch against 1 for one person and against the truth for
    two; both kinds of pairs count alike."""
    unit = F.normalize(embedding, dim=1)
    same = person[:, None] == person[None]
    wanted = torch.where(same, 1.0, NEAR * torch.exp(-((truth.distance(person) / REACH) ** 2)))
    off = (unit @ unit.T - wanted).square()
    own = same & ~torch.eye(len(person), dtype=torch.bool)
    return off[~same].mean() + off[own].sum() / own.sum().clamp(min=1)
