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

    from portrait_lora.stages.identity import WhenDue
    from portrait_lora.training.identity import Lessons

PREVIEWS: Final = "previews.json"
"""In a run folder: the probes of the checkpoints so far, while training goes on."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was trained, and why it ended before the last step (empty when it did not)."""

    result: TrainResult
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """What is trained next, from where the last segment ended: until `enough` answers a checkpoint with True
    (never without one), and with which lessons for the identity loss."""

    enough: Callable[[Adapter], bool] | None = None
    lessons: Lessons | None = None


Rounds = Generator[Segment, TrainResult, Stopped]
"""A training in segments; the result of each is sent back."""


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
    ctx: Context,
    go_on: Callable[..., TrainResult],
    steps: int,
    accelerator: Accelerator,
    lessons: WhenDue,
) -> Stopped:
    """Train to the last step or, with `training.early_stop`, until more is not worth it.

    `go_on` trains, and takes `on_checkpoint` and `lessons`.  With `training.previews` every checkpoint is
    probed as soon as it is there, and the table of probes so far lies in `PREVIEWS`; the weights are the same
    to the bit.
    """
    settings = ctx.config.training
    if not (settings.early_stop or settings.previews or settings.identity_weight):
        return Stopped(go_on())

    def train(segment: Segment) -> TrainResult:
        result = go_on(on_checkpoint=segment.enough, lessons=segment.lessons)
        accelerator.free_memory()  # it keeps every model that it has prepared
        ctx.family.load("none")  # room for the pipeline
        return result

    ended = driven(rounds_of(ctx, steps, accelerator, lessons), train)
    if ended.reason:
        _log.info("stopped at step %d of %d: %s", ended.result.steps, steps, ended.reason)
    return ended


def driven(segments: Rounds, train: Callable[[Segment], TrainResult]) -> Stopped:
    """Train every segment, to the end."""
    try:
        segment = next(segments)
        while True:
            segment = segments.send(train(segment))
    except StopIteration as end:
        return cast(Stopped, end.value)


def rounds_of(ctx: Context, steps: int, accelerator: Accelerator, lessons: WhenDue) -> Rounds:
    """The segments of `train_as_configured`; the training, and the room for pictures, are the caller's.

    Only the main process looks at probes.
    """
    settings = ctx.config.training
    if not (settings.early_stop or settings.previews):
        return _unwatched(steps, lessons)
    from portrait_lora.stages.probing import Checkpoints

    probes = [Checkpoints(ctx)] if accelerator.is_main_process else []

    def score(adapter: Adapter) -> CheckpointScore:
        return probes[0].score(adapter)

    return rounds(
        score,
        steps,
        copy_limit=ctx.config.select.copy_limit,
        accelerator=accelerator,
        stops=settings.early_stop,
        previews=ctx.run_folder / PREVIEWS if settings.previews else None,
        lessons=lessons,
        done=lessons.begun(),
        least=lessons.least,
    )


def _unwatched(steps: int, lessons: WhenDue) -> Rounds:
    """To where the identity loss begins, and with it to the end."""
    first = yield Segment(lessons=lessons(lessons.begun()))
    if first.steps >= steps:
        return Stopped(first)
    rest = yield Segment(lessons=lessons(first.steps))
    return Stopped(replace(rest, resumed_from=first.resumed_from))


def rounds(
    score: Callable[[Adapter], CheckpointScore],
    steps: int,
    *,
    copy_limit: float,
    accelerator: Accelerator,
    stops: bool,
    previews: Path | None = None,
    lessons: Callable[[int], Lessons | None] = lambda done: None,
    done: int = 0,
    least: int = 0,
) -> Rounds:
    """To `steps`, or to the checkpoint after which more is not worth it (unless it never `stops`).

    `score` is asked by the main process alone, once for every checkpoint in order, those of an earlier,
    longer run included: what lies beyond the decision is then left out of the result.  The rows so far are
    written to `previews`.  `lessons` are asked for with the number of steps done, at first `done`; before the
    step `least`, with which the identity loss begins, nothing is stopped.
    """
    table: list[CheckpointScore] = []
    while True:
        judged = {row.step for row in table}
        result = yield Segment(lambda adapter, judged=judged: adapter.step not in judged, lessons(done))
        done = result.steps
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
            if stops and decision.stop and least <= row.step < steps:
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
