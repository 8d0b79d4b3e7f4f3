"""The people that a warm start is learned from: latents, captions and embeddings of their pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora.families.family import PromptCondition
from portrait_lora.training.cache import EncodedSample

TakeSample = Callable[[int, random.Random], EncodedSample]
"""(row, draws of the step) -> the picture with a caption, which may be empty."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """N pictures of many people: (N, D) unit embeddings by A, (N,) numbers of the people from 0, and `take`.

    `empty` is the empty prompt.
    """

    embeddings: Tensor
    person: Tensor
    take: TakeSample
    empty: PromptCondition

    @property
    def people(self) -> int:
        """How many people they show."""
        return int(self.person.max()) + 1

    def means(self) -> Tensor:
        """(P, D) mean embedding of everybody."""
        return self._sums() / torch.bincount(self.person)[:, None]

    def others(self, rows: Tensor) -> Tensor:
        """(B, D) mean embedding of all other pictures of whom the rows show, or of the only one."""
        whose = self.person[rows]
        count = torch.bincount(self.person)[whose, None]
        rest = (self._sums()[whose] - self.embeddings[rows]) / (count - 1).clamp(min=1)
        return torch.where(count > 1, rest, self.embeddings[rows])

    def _sums(self) -> Tensor:
        sums = torch.zeros(self.people, self.embeddings.shape[1])
        return sums.index_add_(0, self.person, self.embeddings)


@dataclass(frozen=True, slots=True)
class Directions:
    """(D,) mean of everybody's mean embedding and (K, D) directions in which these differ most: along them
    people spread by 1 each."""

    middle: Tensor
    along: Tensor

    @classmethod
    def of(cls, pictures: Pictures, count: int) -> Directions:
        """The first `count` of those there are."""
        means = pictures.means()
        middle = means.mean(0)
        _, singular, along = torch.linalg.svd(means - middle, full_matrices=False)
        spread = singular[:count] / len(means) ** 0.5
        print("spread along directions: " + " ".join(f"{s:.3f}" for s in spread.tolist()), flush=True)
        return cls(middle, along[: len(spread)] / spread[:, None].clamp(min=1e-6))

    def coordinates(self, embeddings: Tensor) -> Tensor:
        """(B, D) embeddings -> (B, K)."""
        return (embeddings - self.middle) @ self.along.T


def rows_of(step: int, batch: int, count: int, seed: int) -> Tensor:
    """The rows of a step: all in a new order every epoch.  A function of its arguments."""
    size = min(batch, count)
    epoch, place = divmod(step * size, count - count % size)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 7919 + epoch))
    return order[place : place + size]


def numbered(names: Sequence[object]) -> Tensor:
    """(N,) numbers from 0 for names, in the order in which they are first seen."""
    known = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([known[name] for name in names])
