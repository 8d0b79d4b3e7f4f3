"""Jobs that wait or run, as pages show them beside what they are about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Job
    from portrait_lora.jobs.queue import Queue
    from portrait_lora.web.studio import Studio
    from portrait_lora.web.users import User

TITLES: Final = {
    "check": "Looking at the photos", "prepare": "Cutting and captioning", "train": "Training",
    "generate": "Drawing portraits", "score": "Measuring the likeness", "run": "Everything, to the report",
    "demo": "The whole journey", "finish": "Finishing portraits", "vary": "Variations",
    "fix": "Drawing a part again", "compare": "Comparing", "judge": "Measuring other pictures",
    "pull": "Downloading models",
    "shard": "The work of a fleet",
}  # fmt: skip
_OPEN: Final = ("queued", "running", "interrupted")


@dataclass(frozen=True, slots=True)
class Running:
    """One job; `fraction` is 0..1, None while it is not known; its events are followed from `after` on."""

    id: str
    kind: str
    title: str
    words: str
    fraction: float | None
    stage: str = ""
    after: int = 0
    may_cancel: bool = True


def running(
    queue: Queue | None,
    studio: Studio,
    user: User,
    folder: Path | None = None,
    kinds: Collection[str] = (),
) -> list[Running]:
    """The open jobs that the user may look at: of one folder, of some kinds, or all; oldest first."""
    if queue is None:
        return []
    names = {str(person.folder): person.name for person in studio.people(user)}
    jobs = queue.list(states=_OPEN, folder=folder)
    seen = [job for job in jobs if user.may_read(job.owner) and (not kinds or job.kind in kinds)]
    return [_shown(job, "" if folder else names.get(job.folder, ""), user) for job in reversed(seen)]


def _shown(job: Job, name: str, user: User) -> Running:
    title = TITLES.get(job.kind, job.kind)
    progress: dict[str, Any] = dict(job.progress or {})
    done, total = progress.get("done"), progress.get("total")
    fraction = None
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        fraction = min(done / total, 1.0)
    return Running(
        job.id, job.kind, f"{name} · {title}" if name else title, _words(job, progress),
        fraction, str(progress.get("stage") or job.state),
        may_cancel=user.may_change(job.owner),
    )  # fmt: skip


def _words(job: Job, progress: dict[str, Any]) -> str:
    if str(job.state) == "queued":
        return "Waits for its turn"
    if str(job.state) == "interrupted":
        return "Interrupted; goes on from where it was"
    words = [str(progress.get("label") or progress.get("stage") or "Starting")]
    if isinstance(progress.get("done"), int | float) and isinstance(progress.get("total"), int | float):
        words.append(f"{progress['done']:.0f} of {progress['total']:.0f}")
    return " · ".join(words)
