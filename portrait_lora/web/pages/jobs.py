"""The page *Jobs*: what runs, what waits and in which order, what is over; one job with its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from portrait_lora.errors import InputError
from portrait_lora.jobs.job import Job, JobState
from portrait_lora.web.permissions import JobToChange, JobToRead, Member, Reader
from portrait_lora.web.services import jobs, work
from portrait_lora.web.templating import render
from portrait_lora.web.users import User

router = APIRouter(include_in_schema=False)
_WORDS: Final = {
    "queued": "waiting",
    "running": "running",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}
_TONES: Final = {"running": "accent", "succeeded": "good", "failed": "bad"}
_SHOWN_NOT: Final = ("", [], {}, None, False)


@dataclass(frozen=True, slots=True)
class Row:
    """A job with its person, its state in a word, and when and how long, in seconds of the epoch."""

    job: Job
    shown: work.Shown
    person_id: str
    person_name: str
    word: str
    tone: str
    mine: bool


class Priority(BaseModel):
    """A new priority."""

    model_config = ConfigDict(extra="forbid")

    priority: Annotated[int, Field(ge=-100, le=100)]


class Move(BaseModel):
    """Before which waiting job; none for the end of the line."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[str, Field(max_length=40)] = ""


def _rows(request: Request, user: User, listed: list[Job]) -> list[Row]:
    studio = request.app.state.studio
    people = {str(p.folder.resolve()): p for p in studio.people(user)}
    rows: list[Row] = []
    for job in listed:
        person = people.get(job.folder)
        rows.append(
            Row(
                job=job,
                shown=work.shown(job),
                person_id=person.id if person else "",
                person_name=person.name if person else "the studio",
                word=_WORDS[str(job.state)],
                tone=_TONES.get(str(job.state), "warn" if job.state is not JobState.QUEUED else ""),
                mine=user.may_change(job.owner),
            )
        )
    return rows


@router.get("/jobs")
def page(
    request: Request, user: Reader, after: Annotated[str, Query(pattern=r"^(j[a-z2-7]{16})?$")] = ""
) -> HTMLResponse:
    """The page: running, waiting in their order, and over, the newest first."""
    queue = request.app.state.queue
    running, _ = jobs.visible(queue, user, states=(JobState.RUNNING, JobState.INTERRUPTED), limit=50)
    waiting = [job for job in queue.waiting() if user.may_read(job.owner)]
    over = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    past, following = jobs.visible(queue, user, states=over, after=after, limit=30)
    values: dict[str, Any] = {
        "running": _rows(request, user, running),
        "waiting": _rows(request, user, waiting),
        "past": _rows(request, user, past),
        "following": following,
        "left": work.left_words,
    }
    return render(request, "jobs.html.j2", page="jobs", **values)


@router.get("/jobs/{id}")
def one(request: Request, user: Reader, job: JobToRead) -> HTMLResponse:
    """One job: its state, its arguments, its log."""
    events = request.app.state.queue.events(job.id, limit=3000)
    place = jobs.relative_to(job.folder)
    log = [(e.time, str(e.data.get("text", ""))) for e in events if e.kind == "log"]
    row = _rows(request, user, [job])[0]
    values: dict[str, Any] = {
        "row": row,
        "log": [(t, place(text)) for t, text in log][-400:],
        "states": [
            (e.time, str(e.data.get("state", "")), str(e.data.get("reason") or ""))
            for e in events
            if e.kind == "state"
        ],
        "arguments": {
            k: v for k, v in place(dict(job.arguments)).items() if v not in _SHOWN_NOT and k != "mask_png"
        },
        "error": place(dict(job.error)) if job.error else None,
        "last": events[-1].number if events else 0,
        "left": work.left_words,
        "words": _WORDS,
    }
    return render(request, "job.html.j2", page="jobs", **values)


@router.post("/jobs/{id}/priority")
def priority(request: Request, user: Member, job: JobToChange, body: Priority) -> JSONResponse:
    """Let a waiting job go before or behind others."""
    del user
    request.app.state.queue.set_priority(job.id, body.priority)
    return JSONResponse({"id": job.id})


@router.post("/jobs/{id}/move")
def move(request: Request, user: Member, job: JobToChange, body: Move) -> JSONResponse:
    """Put a waiting job before another one that the user may change, or at the end."""
    queue = request.app.state.queue
    if body.before and not user.may_change(queue.get(body.before).owner):
        raise InputError("no such job", where=body.before)
    queue.move(job.id, before=body.before)
    return JSONResponse({"id": job.id})
