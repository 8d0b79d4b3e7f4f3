"""How one start of the work changes where a person stands; pure, so that every end can be tried."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final

from portrait_lora.errors import Interrupted, PhotosError, PortraitError
from portrait_lora.tasks.shard.acceptance import MORE_PHOTOS, Rule, judge
from portrait_lora.tasks.shard.records import Ended, ErrorRecord, Figures, PersonRecord, PersonState, Start

MOST_FAILURES: Final = 2
MOST_LOST: Final = 5
"""Workers lost in a row without a step saved or a stage finished: then it is the person's work that ends
them, such as for want of memory."""
_OF_WORKER: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EFBIG}
)
"""What the system refuses for reasons that are the worker's."""
_SEED_STEP: Final = 1_000_003
_SEEDS: Final = 2**31


def with_start(record: PersonRecord, **changes: Any) -> PersonRecord:
    """The record with its latest start changed."""
    last = record.starts[-1].model_copy(update=changes)
    return record.model_copy(update={"starts": (*record.starts[:-1], last)})


def lost(record: PersonRecord) -> PersonRecord:
    """Of a record that says its person runs, when whoever ran is gone."""
    if record.state is not PersonState.RUNNING:
        return record
    if record.starts and record.starts[-1].ended is None:
        last = record.starts[-1]
        record = with_start(record, ended=Ended.LOST, ended_at=last.began + last.device_s)
    update: dict[str, object] = {"state": PersonState.WAITING, "reason": "its worker was lost"}
    if (count := fruitless(record)) >= MOST_LOST:
        update = {
            "state": PersonState.SET_ASIDE,
            "reason": f"its worker was lost {count} times without headway, most likely for want of memory",
        }
    return record.model_copy(update=update)


def fruitless(record: PersonRecord) -> int:
    """How many workers were lost last without anything saved between them."""
    count, latest = 0, list[Start](record.present)
    while latest:
        start = latest.pop()
        if start.ended is not Ended.LOST or start.stages:
            break
        count += 1
        before = latest[-1].resumed_from if latest else None
        if (start.resumed_from or 0) > (before or 0):
            break
    return count


def judged(record: PersonRecord, figures: Figures, rule: Rule, seed: int) -> PersonRecord:
    """The work is done: accepted, or tried again with another seed, or other photos are asked for."""
    verdict = judge(figures, rule)
    update: dict[str, object] = {"figures": figures, "reason": verdict.reason, "advice": ()}
    if verdict.accepted:
        update["state"] = PersonState.SUCCEEDED
    elif record.tries < rule.tries:
        tries = record.tries + 1
        update |= {
            "state": PersonState.WAITING,
            "tries": tries,
            "settings": (f"seed={(seed + (tries - 1) * _SEED_STEP) % _SEEDS}",),
        }
    else:
        update |= {"state": PersonState.NEEDS_PHOTOS, "advice": MORE_PHOTOS}
    return record.model_copy(update=update)


def failed(
    record: PersonRecord, error: BaseException, *, consent: str = "", advice: tuple[str, ...] = ()
) -> PersonRecord:
    """The latest start ended in an error.

    `consent` is what a consent lacks, if that is what ended it; `advice` that of the photo check.
    """
    value = _value(error)
    if isinstance(error, Interrupted | KeyboardInterrupt):
        waits = {"state": PersonState.WAITING, "reason": ""}
        return with_start(record, ended=Ended.INTERRUPTED, error=value).model_copy(update=waits)
    if consent:
        record = with_start(record, ended=Ended.INTERRUPTED, error=value)
        return record.model_copy(update={"state": PersonState.NEEDS_CONSENT, "reason": consent})
    of_worker = _is_fault_of_worker(error)
    record = with_start(record, ended=Ended.FAILED, error=value, is_fault_of_worker=of_worker)
    reason = reason_of(error) if isinstance(error, PortraitError) else value.what
    if isinstance(error, PhotosError):
        state = PersonState.NEEDS_PHOTOS
    else:
        state = PersonState.SET_ASIDE if record.failures >= MOST_FAILURES else PersonState.WAITING
    return record.model_copy(update={"state": state, "reason": reason, "advice": advice})


def reason_of(error: PortraitError) -> str:
    """What an error says, without the place: that is a path of the worker's."""
    whole = PortraitError(error.what, got=error.got, needed=error.needed, remedy=error.remedy)
    return whole.message()


def _value(error: BaseException) -> ErrorRecord:
    if isinstance(error, PortraitError):
        return ErrorRecord(
            what=error.what, where=error.where, got=error.got, needed=error.needed, remedy=error.remedy,
            exit_code=error.exit_code,
        )  # fmt: skip
    if isinstance(error, KeyboardInterrupt):
        return ErrorRecord(what="interrupted", got="finished work is saved", exit_code=130)
    return ErrorRecord(what=f"unexpected error ({type(error).__name__}: {error})")


def _is_fault_of_worker(error: BaseException | None) -> bool:
    """Whether a full disk or another refusal of the machine is among the causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _OF_WORKER:
            return True
        error = error.__cause__ or error.__context__
    return False


def begun_anew(record: PersonRecord, digest: str) -> PersonRecord:
    """The record for other photos or settings: what was paid for stays, what came of it does not."""
    return PersonRecord(person=record.person, digest=digest, starts=record.starts)


def of_mapping(seconds: Mapping[str, float]) -> dict[str, float]:
    """Stage -> seconds, without those that took none."""
    return {stage: round(float(value), 2) for stage, value in seconds.items() if value}
