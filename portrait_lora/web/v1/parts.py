"""What several modules of the API share: the queue and stores of the app, pages, a person's job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Query, Request, Response

from portrait_lora.web import paging
from portrait_lora.web.hooks.book import Book
from portrait_lora.web.permissions import current_studio
from portrait_lora.web.resumable import Uploads
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.streams import Held
from portrait_lora.web.studio import Person
from portrait_lora.web.users import User
from portrait_lora.web.v1 import shapes

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Job
    from portrait_lora.jobs.queue import Queue

Cursor = Annotated[str, Query(max_length=400, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=paging.MAX_LIMIT, description="how many at most")]


def queue_of(request: Request) -> Queue:
    """The queue of jobs."""
    return request.app.state.queue


def book_of(request: Request) -> Book:
    """The webhooks."""
    return request.app.state.hooks


def uploads_of(request: Request) -> Uploads:
    """The unfinished files."""
    return request.app.state.uploads


def held_of(request: Request) -> Held:
    """The long answers that are open."""
    return request.app.state.held


UploadStore = Annotated[Uploads, Depends(uploads_of)]
HookBook = Annotated[Book, Depends(book_of)]
Jobs = Annotated[Any, Depends(queue_of)]


def job_shape(request: Request, user: User, job: Job) -> shapes.Job:
    """A job as it is answered."""
    person = job_service.person_ids(current_studio(request), user)(job.folder)
    return shapes.Job.model_validate(job_service.shown(job, person))


def begin(
    request: Request,
    response: Response,
    user: User,
    person: Person,
    kind: str,
    arguments: dict[str, object],
    key: str,
) -> shapes.Job:
    """Put a job for a person into the queue; the answer names its address."""
    job = job_service.submit(queue_of(request), user, person, kind, arguments, key=key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return shapes.Job.model_validate(job_service.shown(job, person.id))
