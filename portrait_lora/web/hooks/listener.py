"""Events of jobs as a webhook hears of them: read from the queue behind a cursor per job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from portrait_lora.errors import InputError
from portrait_lora.web.hooks.book import EVENTS, Book, Webhook

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Event, Job
    from portrait_lora.jobs.queue import Queue

Describe = Callable[["Job"], tuple[str, Mapping[str, object]]]
"""The person's id and the job as the API shows it."""
MayRead = Callable[[str, str], bool]
"""Whether a user may look at what is an owner's."""
_MOST_ACTIVE: Final = 1000
_LATEST: Final = 200
_NOT_NEW: Final = "cancel requested"
_ACTIVE: Final = ("queued", "running", "interrupted")


class Listener:
    """Turns what happened to jobs into messages of the book."""

    def __init__(self, queue: Queue, book: Book, describe: Describe, may_read: MayRead):
        self._queue, self._book = queue, book
        self._describe, self._may_read = describe, may_read
        self._seen: dict[str, tuple[Any, ...]] = {}

    def listen(self) -> int:
        """Write down messages for everything new; how many there were.  Without webhooks nothing is read."""
        hooks = [hook for hook in self._book.list() if not hook.disabled]
        if not hooks:
            return 0
        since = min(hook.created for hook in hooks)
        cursors, count = self._book.cursors(), 0
        for job in self._candidates(cursors, since):
            state = (str(job.state), job.attempts, job.cancel_requested, str(job.progress))
            if self._seen.get(job.id) == state:
                continue
            after = cursors.get(job.id, (0, False))[0]
            events = self._queue.events(job.id, after=after)
            for event in events:
                count += self._write_down(job, event, hooks)
            if events:
                self._book.set_cursor(job.id, events[-1].number, job.state.is_over)
            else:
                self._seen[job.id] = state
        return count

    def _candidates(self, cursors: Mapping[str, tuple[int, bool]], since: float) -> list[Job]:
        """Jobs that are not over, those that were not when last heard of, and the latest that ended."""
        jobs = {job.id: job for job in self._queue.list(states=_ACTIVE, limit=_MOST_ACTIVE)}
        for job in self._queue.list(limit=_LATEST):
            if job.id not in jobs and (job.ended or 0.0) >= since and not cursors.get(job.id, (0, False))[1]:
                jobs[job.id] = job
        for job_id, (_, over) in cursors.items():
            if not over and job_id not in jobs:
                try:
                    jobs[job_id] = self._queue.get(job_id)
                except InputError:  # forgotten with its person
                    self._book.set_cursor(job_id, 0, True)
        return list(jobs.values())

    def _write_down(self, job: Job, event: Event, hooks: Sequence[Webhook]) -> int:
        kind = kind_of(event)
        if kind is None:
            return 0
        person, value = self._describe(job)
        wanted = [
            hook
            for hook in hooks
            if hook.wants(kind, person, event.time) and self._may_read(hook.owner, job.owner)
        ]
        for hook in wanted:
            data = {"job": dict(value), "event": dict(event.data)}
            self._book.add(hook, kind, job.id, data, number=event.number)
        return len(wanted)


def kind_of(event: Event) -> str | None:
    """The name of an event for a webhook; None for what is not sent."""
    if event.kind == "progress":
        return "job.progress"
    if event.kind == "state" and event.data.get("reason") != _NOT_NEW:
        name = f"job.{event.data.get('state')}"
        return name if name in EVENTS else None
    return None
