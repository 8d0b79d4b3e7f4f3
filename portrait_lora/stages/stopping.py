"""Training that ends itself: to a checkpoint, probe it, ask whether to go on.

The loop knows nothing of it: it is told to end at the next checkpoint, and takes up from there to the same
bits.  So training and drawing never share the memory of the device, and a run that is killed anywhere comes
to the same decisions, from the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from portrait_lora import log, manifest
from portrait_lora.config import TrainingConfig
from portrait_lora.errors import ConfigError
from portrait_lora.evaluation.checkpoint_choice import (
    MIN_TO_STOP,
    CheckpointScore,
    StopDecision,
    stop_decision,
)
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.results import Probe
from portrait_lora.stages.context import Context

if TYPE_CHECKING:
    from accelerate import Accelerator

Segment = Callable[[Callable[[Adapter], bool]], TrainResult]
"""Trains on from where the last one ended, until what it is given answers a checkpoint with True."""
PREVIEWS: Final = "previews.json"
"""In a run folder: the probes of the checkpoints so far, while training goes on."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was trained, and why it ended before the last step (empty when it did not)."""

    result: TrainResult
    reason: str = ""


Rounds = Generator[Callable[[Adapter], bool], TrainResult, Stopped]
"""A training in segments: what each is trained until; the result of the segment is sent back."""


def refuse_what_cannot_stop(settings: TrainingConfig) -> None:
    """Raise `ConfigError` for a schedule or a number of checkpoints with which stopping makes no sense."""
    if not settings.early_stop:
        return
    if settings.schedule != "constant":
        raise ConfigError(
            "early stop needs a constant learning rate",
            where="training.schedule",
            got=settings.schedule,
            needed="constant",
            remedy="A rate that decays to the last step leaves earlier checkpoints unfinished.",
        )
    if settings.checkpoints <= MIN_TO_STOP:
        raise ConfigError(
            "there are too few checkpoints to stop at",
            where="training.checkpoints",
            got=settings.checkpoints,
            needed=f"{MIN_TO_STOP + 1} or more; 10 is usual",
        )


def train_as_configured(
    ctx: Context, go_on: Callable[..., TrainResult], steps: int, accelerator: Accelerator
) -> Stopped:
    """Train to the last step or, with `training.early_stop`, until more is not worth it.

    `go_on` trains, and takes `on_checkpoint`.  With `training.previews` every checkpoint is probed as soon as
    it is there, and the table of probes so far lies in `PREVIEWS`; the weights are the same to the bit.
    """
    settings = ctx.config.training
    if not (settings.early_stop or settings.previews):
        return Stopped(go_on())
    from portrait_lora.stages.probing import Checkpoints

    def segment(enough: Callable[[Adapter], bool]) -> TrainResult:
        result = go_on(on_checkpoint=enough)
        accelerator.free_memory()  # it keeps every model that it has prepared
        ctx.family.load("none")  # room for the pipeline
        return result

    def score(adapter: Adapter) -> CheckpointScore:
        return probes[0].score(adapter)

    limit = ctx.config.select.copy_limit
    probes = [Checkpoints(ctx)] if accelerator.is_main_process else []  # only the main process looks
    previews = ctx.run_folder / PREVIEWS if settings.previews else None
    ended = train_until_enough(
        segment,
        score,
        steps,
        copy_limit=limit,
        accelerator=accelerator,
        stops=settings.early_stop,
        previews=previews,
    )
    if ended.reason:
        _log.info("stopped at step %d of %d: %s", ended.result.steps, steps, ended.reason)
    return ended


def rounds_of(ctx: Context, steps: int, accelerator: Accelerator) -> Rounds:
    """The same as `train_as_configured` with the training, and the room for pictures, left to the caller."""
    settings = ctx.config.training
    if not (settings.early_stop or settings.previews):
        return _one_round()
    from portrait_lora.stages.probing import Checkpoints

    probes = Checkpoints(ctx)
    return rounds(
        probes.score,
        steps,
        copy_limit=ctx.config.select.copy_limit,
        accelerator=accelerator,
        stops=settings.early_stop,
        previews=ctx.run_folder / PREVIEWS if settings.previews else None,
    )


def _one_round() -> Rounds:
    return Stopped((yield lambda adapter: False))


def train_until_enough(
    segment: Segment,
    score: Callable[[Adapter], CheckpointScore],
    steps: int,
    *,
    copy_limit: float,
    accelerator: Accelerator,
    stops: bool = True,
    previews: Path | None = None,
) -> Stopped:
    """Train to `steps`, or to the checkpoint after which more is not worth it (unless it never `stops`).

    `score` is asked by the main process alone, once for every checkpoint in order, those of an earlier,
    longer run included: what lies beyond the decision is then left out of the result.  The rows so far are
    written to `previews`.
    """
    segments = rounds(
        score, steps, copy_limit=copy_limit, accelerator=accelerator, stops=stops, previews=previews
    )
    try:
        enough = next(segments)
        while True:
            enough = segments.send(segment(enough))
    except StopIteration as end:
        return cast(Stopped, end.value)


def rounds(
    score: Callable[[Adapter], CheckpointScore],
    steps: int,
    *,
    copy_limit: float,
    accelerator: Accelerator,
    stops: bool,
    previews: Path | None,
) -> Rounds:
    """`train_until_enough` with the training left to the caller.

    It gives what the next segment is to be trained until, and takes the result of that.
    """
    table: list[CheckpointScore] = []
    while True:
        judged = {row.step for row in table}
        result = yield lambda adapter, judged=judged: adapter.step not in judged
        for adapter in (a for a in result.checkpoints if a.step not in judged):
            row, decision = _shared(
                accelerator, lambda a=adapter: _judged(a, table, score, steps, copy_limit)
            )
            table.append(row)
            reason = f", {decision.reason}" if stops else ""
            _log.info("step %d: probe similarity %.3f%s", row.step, row.mean, reason)
            if previews is not None and accelerator.is_main_process:
                rows = [probe_row(one).json_value() for one in table]
                manifest.write_json_atomic(previews, {"probes": rows})
            if stops and decision.stop and row.step < steps:
                return Stopped(_up_to(result, row.step), decision.reason)
        if result.steps >= steps:
            return Stopped(result)


def probe_row(row: CheckpointScore) -> Probe:
    """A row of the table of probes, as it is recorded."""
    return Probe(
        step=row.step,
        mean=row.mean,
        face_found_rate=row.face_found_rate,
        values=row.values,
        copy_score=row.copy_score,
        adherence=row.adherence,
        **({"refused": row.refused} if row.refused else {}),
    )


def _judged(
    adapter: Adapter,
    table: list[CheckpointScore],
    score: Callable[[Adapter], CheckpointScore],
    steps: int,
    copy_limit: float,
) -> tuple[CheckpointScore, StopDecision]:
    row = score(adapter)
    return row, stop_decision([*table, row], last_step=steps, copy_limit=copy_limit)


def _shared(
    accelerator: Accelerator, work: Callable[[], tuple[CheckpointScore, StopDecision]]
) -> tuple[CheckpointScore, StopDecision]:
    """What the main process finds, for every process."""
    from accelerate.utils import broadcast_object_list

    outcome = [work() if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    assert outcome[0] is not None
    return outcome[0]


def _up_to(result: TrainResult, step: int) -> TrainResult:
    """The result as if the run had ended at `step`; the loss stays that of the steps trained last."""
    kept = tuple(a for a in result.checkpoints if a.step <= step)
    return replace(result, checkpoints=kept, steps=step, samples=result.samples * step // result.steps)
