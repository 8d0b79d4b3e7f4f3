"""Steps on a GPU that are recorded once and replayed.

A step of a small network is thousands of kernels, and starting each of them from Python takes longer than its
work: 100 ms a step on an H100's host for a batch that computes for a fraction of that.  A CUDA graph starts
them all at once (PyTorch, "CUDA semantics", section "Whole-network capture").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

Answer = tuple[Tensor, dict[str, float | Tensor]]
Update = Callable[..., Answer]
"""Tensors -> (loss, figures), with the weights changed on the way."""
_WARM: Final = 3
"""Steps of every shape that are run before one is recorded: memory, libraries and moments must be there."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    answer: Answer


class Replayed:
    """`update`, recorded once for every shape of its inputs.

    It must neither wait for the GPU nor depend on numbers outside tensors.  What it answers is overwritten by
    the next step.  Everything happens on one stream, that of whoever calls.
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._known: dict[tuple[torch.Size, ...], _Recorded] = {}
        self._seen: Counter[tuple[torch.Size, ...]] = Counter()

    def __call__(self, batch: Sequence[Tensor]) -> Answer:
        shapes = tuple(t.shape for t in batch)
        if shapes not in self._known:
            self._seen[shapes] += 1
            if self._seen[shapes] <= _WARM:
                return self._update(*batch)
            self._known[shapes] = self._record(batch)
        known = self._known[shapes]
        for held, new in zip(known.inputs, batch, strict=True):
            held.copy_(new)
        known.graph.replay()
        return known.answer

    def _record(self, batch: Sequence[Tensor]) -> _Recorded:
        inputs = tuple(t.clone() for t in batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            answer = self._update(*inputs)
        return _Recorded(graph, inputs, answer)
