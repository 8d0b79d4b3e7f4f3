"""Jobs: listed, waited for, cancelled, resumed, moved; and what happened to each."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from portrait_lora.errors import InputError
from portrait_lora.jobs.job import JobState
from portrait_lora.web import paging
from portrait_lora.web.permissions import JobToChange, JobToRead, Member, Reader, current_studio
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.users import User
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import Cursor, Limit, held_of, job_shape, queue_of
from portrait_lora.web.v1.routing import router as new_router

router = new_router("jobs")
MAX_WAIT: Final = 60.0
_PAUSE: Final = (0.05, 0.5)
"""Seconds between two looks at a job that is waited for: the first, and the longest."""


@router.get("/jobs")
def list_jobs(
    request: Request,
    user: Reader,
    state: Annotated[list[shapes.State], Query(description="only jobs in these states")] = [],  # noqa: B006
    likeness: Annotated[
        str, Query(pattern=r"^[a-z0-9-]{0,64}$", description="only jobs of this person")
    ] = "",
    cursor: Cursor = "",
    limit: Limit = paging.LIMIT,
) -> shapes.JobPage:
    """Jobs, the newest first."""
    studio, queue = current_studio(request), queue_of(request)
    folder = studio.person(user, likeness).folder if likeness else None
    states = tuple(JobState(one) for one in state)
    after = paging.decode(cursor)
    jobs, last = job_service.visible(queue, user, states=states, folder=folder, after=after, limit=limit)
    person = job_service.person_ids(studio, user)
    items = [shapes.Job.model_validate(job_service.shown(job, person(job.folder))) for job in jobs]
    return shapes.JobPage(items=items, next=paging.encode(last) if last else None)


@router.get("/jobs/{id}")
async def get_job(
    request: Request,
    user: Reader,
    job: JobToRead,
    wait: Annotated[
        float, Query(ge=0.0, le=MAX_WAIT, description="seconds to wait for its end; 60 at most")
    ] = 0.0,
) -> shapes.Job:
    """One job; with `wait` as soon as it is over, or as it stands then."""
    if wait and not job.state.is_over:
        with held_of(request).one(user.name):
            job = await _awaited(request, job, wait)
    return await run_in_threadpool(job_shape, request, user, job)


async def _awaited(request: Request, job: JobToRead, seconds: float) -> JobToRead:
    queue, ends, pause = queue_of(request), time.monotonic() + seconds, _PAUSE[0]
    while not job.state.is_over and (left := ends - time.monotonic()) > 0:
        if request.app.state.stopping.is_set():
            break
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _PAUSE[1])
        job = await run_in_threadpool(queue.get, job.id)
    return job


@router.get("/jobs/{id}/history")
def get_job_history(
    request: Request,
    user: Reader,
    job: JobToRead,
    after: Annotated[int, Query(ge=0, le=2**53, description="number of the last event that is known")] = 0,
    limit: Limit = paging.LIMIT,
) -> shapes.JobEvents:
    """Events of a job behind a number, oldest first: state, progress, log, metric and result."""
    place = job_service.relative_to(job.folder)
    rows = queue_of(request).events(job.id, after=after, limit=limit)
    items = [
        shapes.JobEvent(number=e.number, time=e.time, kind=e.kind, data=place(dict(e.data))) for e in rows
    ]
    return shapes.JobEvents(items=items, last=items[-1].number if items else after)


@router.post("/jobs/{id}/cancel")
def cancel_job(request: Request, user: Member, job: JobToChange) -> shapes.Job:
    """A waiting job ends at once, a running one within a step, state saved; one that is over stays."""
    return job_shape(request, user, queue_of(request).cancel(job.id))


@router.post("/jobs/{id}/resume")
def resume_job(request: Request, user: Member, job: JobToChange) -> shapes.Job:
    """Put a job that was cancelled, failed or interrupted back into the line; it goes on where it was."""
    return job_shape(request, user, queue_of(request).resume(job.id))


@router.post("/jobs/{id}/move")
def move_job(request: Request, user: Member, job: JobToChange, body: shapes.Move) -> shapes.Job:
    """Put a waiting job before another waiting one, or at the end of the line."""
    queue = queue_of(request)
    if body.before is not None:
        _require_own(request, user, body.before)
    return job_shape(request, user, queue.move(job.id, before=body.before or ""))


def _require_own(request: Request, user: User, job_id: str) -> None:
    """One may not even learn of the jobs of others by standing before them."""
    try:
        other = queue_of(request).get(job_id)
    except InputError as error:
        raise NotFound("no such job", where=job_id) from error
    if not user.may_change(other.owner):
        raise NotFound("no such job", where=job_id)
