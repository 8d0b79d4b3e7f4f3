"""Which pictures and captions a step of the UNet trains on.  A batch is a function of its step alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from portrait_lora.vocabulary import FACINGS, LIGHT_SIDES, Look
from scripts.train.loop import Plan

from . import configs
from .captions import training_caption

WIDTHS: Final = (configs.LATENT_SIDE,) * 8 + (12, 11)
"""Columns of latents a batch is trained on: mostly squares, some 3:4 and 2:3 uprights."""
NAMED: Final = 0.5
"""Share of the samples that come with the name of whom they show (`names.py`)."""
_STEPS: Final = 10**9
_AHEAD: Final = 4
"""Batches that a worker keeps ready."""


def epoch_rows(step: int, batch: int, count: int, seed: int, skip: int = 0) -> Tensor:
    """Rows of one batch; rows `skip`..`count` are shuffled anew every epoch.  A pure function of `step`."""
    usable = count - skip
    size = min(batch, usable)
    per_epoch = usable // size
    epoch, position = divmod(step, per_epoch)
    order = _order(usable, seed * 7919 + epoch)
    return order[position * size : (position + 1) * size] + skip


_LAST_ORDER: dict[tuple[int, int], Tensor] = {}


def _order(count: int, seed: int) -> Tensor:
    """One permutation, kept until another is needed."""
    if (count, seed) not in _LAST_ORDER:
        _LAST_ORDER.clear()
        _LAST_ORDER[count, seed] = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return _LAST_ORDER[count, seed]


@dataclass(frozen=True, slots=True)
class Mixture:
    """The first `plain` of `total` pictures are drawn epoch by epoch; `share` of the samples are others."""

    plain: int
    total: int
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows (N,) of the pictures, which of them are seen in a mirror and which have a name, token ids
    (N, length) and columns."""

    rows: Tensor
    mirrored: Tensor
    named: Tensor
    ids: Tensor
    width: int


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids padded to the full length, exactly as the pipeline makes them."""
    batch = tokenizer(
        texts, padding="max_length", max_length=configs.TEXT_LENGTH, truncation=True, return_tensors="pt"
    )
    return batch.input_ids


def in_a_mirror(look: Look) -> Look:
    """The same picture with left for right."""

    def other(word: str | None, words: tuple[str, ...]) -> str | None:
        return None if word is None else words[1 - words.index(word)]

    return replace(look, facing=other(look.facing, FACINGS), light_side=other(look.light_side, LIGHT_SIDES))


def drawn_rows(step: int, plan: Plan, mixture: Mixture) -> Tensor:
    """Rows of one batch: the plain pictures epoch by epoch, some of which another picture takes the place of.

    A pure function of `step`.
    """
    rows = epoch_rows(step, plan.batch, mixture.plain, plan.seed)
    if mixture.total > mixture.plain:
        draw = random.Random(f"{plan.seed}-more-{step}")
        for place in range(len(rows)):
            if draw.random() < mixture.share:
                rows[place] = draw.randrange(mixture.plain, mixture.total)
    return rows


class Batches(Dataset):
    """The batch of every step; with `mirrors`, half of the pictures are seen in one."""

    def __init__(
        self, looks: Sequence[Look], tokenizer: CLIPTokenizer, plan: Plan, mixture: Mixture, mirrors: bool
    ) -> None:
        self._looks, self._tokenizer, self._plan, self._mixture = looks, tokenizer, plan, mixture
        self._mirrors = mirrors

    def __getitem__(self, step: int) -> Batch:
        rows = drawn_rows(step, self._plan, self._mixture)
        draws = random.Random(f"{self._plan.seed}-{step}")
        looks = [self._looks[i] for i in rows.tolist()]
        mirrored = [self._mirrors and draws.random() < 0.5 for _ in looks]
        looks = [in_a_mirror(look) if m else look for look, m in zip(looks, mirrored, strict=True)]
        named = [draws.random() < NAMED for _ in looks]
        texts = [training_caption(look, draws, name) for look, name in zip(looks, named, strict=True)]
        ids = tokens(self._tokenizer, texts)
        return Batch(rows, torch.tensor(mirrored), torch.tensor(named), ids, draws.choice(WIDTHS))


class Feed:
    """Batches in the order of the steps; on a GPU, worker processes make them ahead."""

    def __init__(self, batches: Batches, workers: int) -> None:
        self._batches, self._workers = batches, workers
        self._ready: Iterator[Batch] | None = None

    def take(self, step: int) -> Batch:
        """The batch of the step after the last one requested, or of the first one requested."""
        if not self._workers:
            return self._batches[step]
        if self._ready is None:
            loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=range(step, _STEPS),
                num_workers=self._workers,
                prefetch_factor=_AHEAD,
                multiprocessing_context="fork",
                collate_fn=_as_it_is,
            )
            self._ready = iter(loader)
        return next(self._ready)


def _as_it_is(batch: Batch) -> Batch:
    return batch
