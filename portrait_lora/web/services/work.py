"""Jobs of one person as their pages show them: what runs now, and how the last one of a kind ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from portrait_lora.jobs.job import JobState

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Job
    from portrait_lora.jobs.queue import Queue

ACTIVE: Final = (JobState.RUNNING, JobState.QUEUED, JobState.INTERRUPTED)
TITLES: Final[Mapping[str, str]] = {
    "check": "Looking at the photos", "prepare": "Preparing the photos", "train": "Training",
    "generate": "Drawing portraits", "score": "Measuring the likeness", "run": "The whole journey",
    "demo": "The demo person", "finish": "Finishing", "vary": "Drawing variations",
    "fix": "Drawing a part again",
    "compare": "Comparing", "judge": "Judging pictures from elsewhere", "pull": "Downloading models",
    "shard": "The work of a fleet",
}  # fmt: skip
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """A job in words: `fraction` 0..1 or None while unknown; `error` in the words of the command line."""

    id: str
    kind: str
    title: str
    state: JobState
    words: str
    fraction: float | None
    error: str
    active: bool
    progress: Mapping[str, Any]


def of_person(
    queue: Queue | None, folder: Path, kinds: Collection[str] = (), *, active: bool = True
) -> list[Shown]:
    """The jobs of a likeness folder, the newest first; with `active` only those that are not over."""
    if queue is None:
        return []
    rows = queue.list(states=ACTIVE if active else (), folder=folder, limit=_MOST)
    return [shown(job) for job in rows if not kinds or job.kind in kinds]


def last(queue: Queue | None, folder: Path, kinds: Collection[str]) -> Shown | None:
    """The newest job of these kinds, over or not."""
    return next(iter(of_person(queue, folder, kinds, active=False)), None)


def shown(job: Job) -> Shown:
    """A job in words."""
    return Shown(
        id=job.id,
        kind=job.kind,
        title=TITLES.get(job.kind, job.kind),
        state=job.state,
        words=words_of(job),
        fraction=fraction_of(job.progress),
        error=str((job.error or {}).get("message", "")),
        active=job.state in ACTIVE,
        progress=job.progress or {},
    )


def words_of(job: Job) -> str:
    """What it does just now, or how it ended."""
    if job.state is JobState.QUEUED:
        return "Waiting for its turn"
    if job.state is JobState.RUNNING:
        return "Stopping, its state is saved" if job.cancel_requested else progress_words(job.progress or {})
    if job.state is JobState.INTERRUPTED:
        return "Interrupted; it goes on by itself"
    return {"succeeded": "Done", "failed": "Failed", "cancelled": "Stopped; its state is saved"}[
        str(job.state)
    ]


def progress_words(progress: Mapping[str, Any]) -> str:
    """`train · 40 of 400 · loss 0.12 · 2 min left`."""
    label = str(progress.get("label") or progress.get("stage") or "Starting")
    done, total = progress.get("done"), progress.get("total")
    parts = [label]
    if isinstance(done, int | float) and isinstance(total, int | float):
        parts.append(f"{int(done)} of {int(total)}")
    left = progress.get("left_s")
    if isinstance(left, int | float):
        parts.append(f"{left_words(left)} left")
    return " · ".join(parts)


def left_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def fraction_of(progress: Mapping[str, Any] | None) -> float | None:
    """Done over total; None while it is not known."""
    done, total = (cast(Mapping[str, Any], progress or {}).get(key) for key in ("done", "total"))
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return min(max(done / total, 0.0), 1.0)
