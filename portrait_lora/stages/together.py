"""Stage train of several people at once: those whose base and settings allow it share the passes.

What is before the first step and after the last is each one's own, in `train`; so are probes and the decision
to stop, in `stopping`: the group trains to everybody's next checkpoint, and those who go on train on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from portrait_lora import log
from portrait_lora.errors import Interrupted, PortraitError
from portrait_lora.families import family_type
from portrait_lora.stages import identity, limits, stopping, train, warm_start
from portrait_lora.stages.context import Context
from portrait_lora.training import processes

if TYPE_CHECKING:
    from portrait_lora.training.member import Member

Ended = stopping.Stopped | PortraitError
_log = log.get(__name__)


@dataclass(slots=True)
class _Going:
    """One person who trains with others, and what became of it."""

    ctx: Context
    begun: train.Begun
    key: tuple[object, ...]
    member: Member | None = None
    rounds: stopping.Rounds | None = None
    segment: stopping.Segment | None = None
    ended: Ended | None = None


def train_together(contexts: Sequence[Context]) -> list[Ended | None]:
    """Train those of several people who can share passes, at most `training.together` at a time.

    What became of each, for `train.train`; None where there is nothing to do, or nobody to train with: that
    one is trained alone.  An error is one person's; raises `Interrupted` when stopped, with everybody's state
    saved.
    """
    ended: list[Ended | None] = [None] * len(contexts)
    going: dict[int, _Going] = {}
    with ExitStack() as locks:
        for i, ctx in enumerate(contexts):
            try:
                if (one := _going(ctx, locks)) is not None:
                    going[i] = one
            except Interrupted:
                raise
            except PortraitError as error:
                ended[i] = error
        groups: dict[tuple[object, ...], list[_Going]] = {}
        for one in going.values():
            groups.setdefault(one.key, []).append(one)
        for group in groups.values():
            if len(group) > 1:
                _train(group)
            else:
                _log.info("%s is trained alone: nobody else has this base and shape", _name(group[0].ctx))
    return [going[i].ended if i in going else ended[i] for i in range(len(contexts))]


def why_alone(ctx: Context) -> str:
    """Why somebody cannot be trained with others; empty when they can."""
    from portrait_lora.training import together

    if processes.count() > 1:
        return "several processes train one person"
    if not family_type(ctx.base.family).rows_are_pictures:
        return f"{ctx.base.family} does not train several people in one pass"
    return together.why_alone(limits.recipe_of(ctx, 1))


def _going(ctx: Context, locks: ExitStack) -> _Going | None:
    """Somebody who is ready to train with others; None when there is nothing to do, or it must be alone."""
    from portrait_lora.training import together
    from portrait_lora.training.disk import only_run

    if ctx.config.training.together < 2:
        return None
    if reason := why_alone(ctx):
        _log.info("%s is trained alone: %s", _name(ctx), reason)
        return None
    locks.enter_context(only_run(ctx.likeness.adapters))
    begun = train.ahead(ctx)
    if begun is None:
        return None
    if begun.means.streamed:
        _log.info("%s is trained alone: the base is streamed", _name(ctx))
        return None
    means, recipe = begun.means, limits.recipe_of(ctx, begun.steps)
    base = (ctx.base.digest, ctx.device.device, means.weights, means.gradient_checkpointing)
    return _Going(ctx, begun, (*base, *together.alike(recipe)))


def _train(group: list[_Going]) -> None:
    """Train a group to the end of everybody; `ended` is then set in each."""
    started = time.monotonic()
    means, first = group[0].begun.means, group[0].ctx
    family, accelerator = first.family, processes.open_accelerator(cpu=first.device.kind == "cpu")
    family.weights = means.weights
    for one in group:
        one.ctx.family = family
        _first_round(one, accelerator)
    seats = min(one.ctx.config.training.together for one in group)
    job = limits.job_of(first, group[0].begun.steps)
    seats, room = limits.seats_and_room(job, means, first.device.device, min(seats, len(group)))
    _log.info("%d people are trained together, %d at a time", len(group), seats)
    while here := [one for one in group if one.ended is None]:
        _one_round(here, seats, room)
    samples = [one.begun.steps * one.ctx.config.training.batch_size for one in group]
    spent = time.monotonic() - started
    for one, own in zip(group, samples, strict=True):
        one.ctx.spent["train"] = spent * own / sum(samples)


def _first_round(one: _Going, accelerator: object) -> None:
    """What is trained of this person, and until when first."""
    from portrait_lora.training.member import Member

    ctx, begun = one.ctx, one.begun
    try:
        one.member = Member(
            crops=begun.crops,
            out_dir=ctx.run_folder,
            recipe=replace(limits.recipe_of(ctx, begun.steps), start=warm_start.start_of(ctx, begun.crops)),
            checkpoint_steps=limits.planned(ctx, begun.steps),
            prior=train.class_pictures(ctx, begun.crops),
            micro_batch=begun.means.micro_batch,
            dataset_digest=begun.inputs["dataset"],
            config_digest=begun.inputs["config"],
        )
        lessons = identity.WhenDue(ctx, begun.crops, begun.steps)
        one.rounds = stopping.rounds_of(ctx, begun.steps, cast("stopping.Accelerator", accelerator), lessons)
        one.segment = next(one.rounds)
    except Interrupted:
        raise
    except PortraitError as error:
        one.ended = error


def _one_round(here: list[_Going], seats: int, room: int) -> None:
    """Everybody's next segment in one group, and what each of them does then."""
    from portrait_lora.training import together

    family, means = here[0].ctx.family, here[0].begun.means
    members = [
        replace(cast("Member", one.member), on_checkpoint=segment.enough, lessons=segment.lessons)
        for one in here
        if (segment := one.segment) is not None
    ]
    outcomes = together.train_together(
        family, members, seats=seats, room=room, gradient_checkpointing=means.gradient_checkpointing
    )
    family.load("none")  # room for the pipeline
    for one, outcome in zip(here, outcomes, strict=True):
        if isinstance(outcome, PortraitError):
            one.ended = outcome
            continue
        try:
            one.segment = cast(stopping.Rounds, one.rounds).send(outcome)
        except StopIteration as end:
            one.ended = cast(stopping.Stopped, end.value)
        except Interrupted:
            raise
        except PortraitError as error:
            one.ended = error


def _name(ctx: Context) -> str:
    return ctx.likeness.root.name
