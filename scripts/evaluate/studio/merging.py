"""Words that cannot be distinguished are judged as one, and the table says which."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

WANTED_ACCURACY: Final = 0.95
Groups = tuple[tuple[int, ...], ...]
"""Indices of words that count as one, ordered by their first word."""


def apart(words: int) -> Groups:
    """Every word on its own."""
    return tuple((i,) for i in range(words))


def pooled(chances: Tensor, groups: Groups) -> Tensor:
    """(N, words) probabilities added up within the groups: (N, groups)."""
    return torch.stack([chances[:, list(group)].sum(1) for group in groups], 1)


def group_of(words: int, groups: Groups) -> list[int]:
    """The group of every word."""
    table = [0] * words
    for number, group in enumerate(groups):
        for word in group:
            table[word] = number
    return table


def confusion(guess: Tensor, truth: Tensor, size: int) -> Tensor:
    """(size, size) share of the pictures of each word (row) that were taken for each word (column)."""
    counts = torch.zeros(size, size)
    counts.index_put_((truth, guess), torch.ones(len(truth)), accumulate=True)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def merge(chances: Tensor, truth: Tensor, wanted: float = WANTED_ACCURACY) -> Groups:
    """Join the most confused words, pair by pair, until `wanted` of the pictures are right.

    `chances` (N, words) are probabilities, `truth` (N,) the words.  Accuracy is the mean over the words, as
    if all were equally common.  At least half of the words stay apart: a question with two answers left of
    eight would say nothing, and what is then still below `wanted` is a bad classifier.
    """
    words = chances.shape[1]
    groups, least = apart(words), max(2, (words + 1) // 2)
    while True:
        table = torch.tensor(group_of(words, groups))
        shares = confusion(pooled(chances, groups).argmax(1), table[truth], len(groups))
        known = shares.sum(1) > 0
        if float(shares.diagonal()[known].mean()) >= wanted or len(groups) <= least:
            return groups
        mixed = (shares + shares.T).triu(1)
        one, other = divmod(int(mixed.argmax()), len(groups))
        joined = tuple(sorted((*groups[one], *groups[other])))
        rest = [g for i, g in enumerate(groups) if i not in (one, other)]
        groups = tuple(sorted([joined, *rest]))
