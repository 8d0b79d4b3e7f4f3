"""The stages of one journey: each a function of what they share, skipped when nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from portrait_lora.results import StageResult
from portrait_lora.stages import check, generate, prepare, score, select, train
from portrait_lora.stages.context import Context
from portrait_lora.stages.score import run_result

__all__ = ["STAGES", "Context", "run_result"]

STAGES: Final[Mapping[str, Callable[[Context], StageResult]]] = {
    "check": check.check,
    "prepare": prepare.prepare,
    "train": train.train,
    "select": select.select,
    "generate": generate.generate,
    "score": score.score,
}
