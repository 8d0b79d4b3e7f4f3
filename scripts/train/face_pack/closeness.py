"""How near two people of the studio truly are, and a loss that teaches an embedder to say so.

Distance is that of the protocol's truth (`scripts/evaluate/protocol/distance.py`): half by the vertices of
the neutral head, half by their albedo, each scaled to 1 between two strangers in the middle; of both the
few directions in which people differ most.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from scripts.evaluate.protocol.distance import head_of
from scripts.train.checkpoint import write_atomically
from scripts.train.kin import people_of

_EVERY: Final = 6
"""Vertices lie so dense that every sixth represents shape and colour."""
_COORDINATES: Final = 40
_PAIRS: Final = 4096
REACH: Final = 0.55
"""Two people are to be alike by exp(-(distance / `REACH`)²): steepest where a likeness that is not quite
right lies, at 0.4, and nearly nothing between two strangers in the middle."""
NEAR: Final = 0.8
"""Pairs nearer than this count on their own, or the many strangers would drown them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Of P people: (P, K) coordinates of the head's shape and of its albedo; distances are in strangers."""

    shape: Tensor
    albedo: Tensor

    def to(self, device: torch.device) -> Truth:
        """The same elsewhere."""
        return Truth(self.shape.to(device), self.albedo.to(device))

    def take(self, index: Tensor) -> Truth:
        """About some of the people, in the order of `index`."""
        return Truth(self.shape[index], self.albedo[index])

    def distance(self, person: Tensor) -> Tensor:
        """(B, B) true distances of the people `person` (B,)."""
        apart = [
            torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
            for rows in (self.shape[person], self.albedo[person])
        ]
        return 0.5 * (apart[0] + apart[1])


def truth_of(seeds: Sequence[int], keep: Path | None = None, workers: int = 1) -> Truth:
    """The truth about the people of these seeds, in their order.

    It takes a core 20 ms for everybody; the file `keep` holds what is known already.
    """
    if keep and keep.exists():
        table = load_file(str(keep))
        row = {seed: i for i, seed in enumerate(table["seed"].tolist())}
        if "albedo" in table and all(seed in row for seed in seeds):
            rows = torch.tensor([row[seed] for seed in seeds])
            return Truth(table["shape"][rows], table["albedo"][rows])
    truth = _truth_of(seeds, workers)
    if keep:
        write_atomically(
            keep, {"seed": torch.tensor(list(seeds)), "shape": truth.shape, "albedo": truth.albedo}
        )
    return truth


def _truth_of(seeds: Sequence[int], workers: int) -> Truth:
    if workers > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            seen = list(pool.map(_seen, seeds, chunksize=50))
    else:
        seen = [_seen(seed) for seed in seeds]
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, len(seeds), (2, _PAIRS), generator=generator)
    strangers = a != b
    pairs = a[strangers], b[strangers]
    shape, albedo = (
        _coordinates(torch.from_numpy(np.stack(rows)), pairs) for rows in zip(*seen, strict=True)
    )
    return Truth(shape, albedo)


def _coordinates(rows: Tensor, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """(P, K) of (P, N), along the directions of most spread; the `pairs` are 1 apart in the middle."""
    rows = rows - rows.mean(0)
    torch.manual_seed(0)
    _, _, axes = torch.pca_lowrank(rows, q=min(_COORDINATES, len(rows)), center=False)
    projected, (a, b) = rows @ axes, pairs
    return projected / (projected[a] - projected[b]).norm(dim=1).median()


def _seen(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some vertices of somebody's neutral head, and their albedo, a row each."""
    head = head_of(people_of([seed]))
    return head.vertices[::_EVERY].ravel(), head.albedo[::_EVERY].ravel()


def closeness_loss(embedding: Tensor, person: Tensor, truth: Truth) -> Tensor:
    """Mean squared error of the cosines (B, B) of a batch against what the truth asks for.

    One person, two who are near to each other, and two who are not: the three kinds of pairs count alike.
    """
    unit = F.normalize(embedding, dim=1)
    same = person[:, None] == person[None]
    apart = truth.distance(person)
    off = (unit @ unit.T - torch.exp(-((apart / REACH) ** 2))).square()
    near = ~same & (apart < NEAR)
    own = same & ~torch.eye(len(person), dtype=torch.bool)
    return sum((off * kind).sum() / kind.sum().clamp(min=1) for kind in (own, near, ~same & ~near))
