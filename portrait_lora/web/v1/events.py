"""Events of a job as server-sent events: from the last one that is known, until the job is over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from portrait_lora.errors import InputError
from portrait_lora.web.permissions import JobToRead, Reader
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.v1.parts import held_of, queue_of
from portrait_lora.web.v1.routing import router as new_router

router = new_router("jobs")
HEARTBEAT_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.25
_RETRY_MS: Final = 2000
_LONGEST_SECONDS: Final = 6 * 3600.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_EVENT: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "number of the event"},
        "event": {"type": "string", "description": "state, progress, log, metric, result or end"},
        "data": {"type": "string", "description": "JSON: job_id, number, time, kind and data"},
        "retry": {"type": "integer"},
    },
}


@router.get(
    "/jobs/{id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        204: {"description": "the job is over and every event of it is known: do not come again"},
    },
)
async def stream_job_events(
    request: Request,
    user: Reader,
    job: JobToRead,
    after: Annotated[int, Query(ge=0, le=2**53, description="number of the last known event")] = 0,
    last: Annotated[
        str | None,
        Header(alias="Last-Event-ID", pattern=r"^[0-9]{0,15}$", description="number of the last known event"),
    ] = None,
) -> Response:
    """What happens to a job, as it happens.

    Each message has the number of its event as `id`, its kind as `event`, and as `data` the event as in
    `/history`.  A comment comes every 15 seconds.  After the last event of a job that is over comes
    `event: end` with the job's state, and the stream ends.
    """
    after, queue = int(last) if last else after, queue_of(request)
    known = await run_in_threadpool(queue.events, job.id, after, 1)
    if job.state.is_over and not known and after:
        return Response(status_code=204)
    held = held_of(request)
    held.open(user.name)
    return _Stream(
        _messages(request, job.id, job.folder, after),
        lambda: held.close(user.name),
        media_type="text/event-stream",
        headers=_HEADERS,
    )


class _Stream(StreamingResponse):
    """Gives its place back however it ends, also when it never began."""

    def __init__(self, content: AsyncIterator[str], closed: Any, **more: Any):
        super().__init__(content, **more)
        self._closed = closed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._closed()


async def _messages(request: Request, job_id: str, folder: str, after: int) -> AsyncIterator[str]:
    queue, place = queue_of(request), job_service.relative_to(folder)
    began = spoke = time.monotonic()
    yield f"retry: {_RETRY_MS}\n\n"
    while not request.app.state.stopping.is_set() and time.monotonic() - began < _LONGEST_SECONDS:
        try:
            job = await run_in_threadpool(queue.get, job_id)
            rows = await run_in_threadpool(queue.events, job_id, after)
        except InputError:  # forgotten with its person
            yield _message("end", {"state": "forgotten"})
            return
        for event in rows:
            after = event.number
            yield _message(event.kind, place(event.json_value()), after)
        if rows:
            spoke = time.monotonic()
            continue
        if job.state.is_over:
            yield _message("end", {"state": str(job.state)}, after)
            return
        if time.monotonic() - spoke >= HEARTBEAT_SECONDS:
            spoke = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_PAUSE_SECONDS)


def _message(kind: str, data: object, number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"
