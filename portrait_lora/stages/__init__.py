"""The stages of one journey: each a function of what they share, skipped when nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from portrait_lora.likeness import Summary
from portrait_lora.stages import learning, photos, portraits, selecting
from portrait_lora.stages.context import Context
from portrait_lora.stages.portraits import run_summary

__all__ = ["STAGES", "Context", "run_summary"]

STAGES: Final[Mapping[str, Callable[[Context], Summary]]] = {
    "check": photos.check,
    "prepare": photos.prepare,
    "train": learning.train,
    "select": selecting.select,
    "generate": portraits.generate,
    "score": portraits.score,
}
