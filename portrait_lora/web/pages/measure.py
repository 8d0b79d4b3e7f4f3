"""The page *Measure*: the drift report, two measurements compared, and pictures from other tools judged."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from portrait_lora.errors import InputError, PortraitError
from portrait_lora.web import uploads
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead
from portrait_lora.web.services import gallery, measure, portraits, training, work
from portrait_lora.web.studio import Person

router = APIRouter(include_in_schema=False)
KINDS = ("score", "run", "judge")
Choice = Annotated[str, Query(pattern=r"^[a-z0-9-]{0,80}$")]


class Name(BaseModel):
    """What a measurement is to be called."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]


class Score(BaseModel):
    """The series that is to be measured; empty: that of the settings."""

    model_config = ConfigDict(extra="forbid")

    series: Annotated[str, Field(max_length=200)] = ""


@router.get("/people/{id}/measure")
def page(request: Request, person: PersonToRead, a: Choice = "", b: Choice = "") -> HTMLResponse:
    """The page."""
    home, folder, queue = request.app.state.studio.home, person.folder, request.app.state.queue
    active = work.of_person(queue, folder, KINDS)
    last = None if active else work.last(queue, folder, KINDS)
    series = measure.scored_series(folder)
    now = measure.measured(measure.report_path(folder), series=series)
    rows = measure.comparable(home, person.id, folder)
    values: dict[str, Any] = {
        "active": active,
        "failed": last if last and str(last.state) == "failed" else None,
        "now": now,
        "worst": _worst(request, person, series, now),
        "series": [s.name for s in portraits.series(folder) if s.portraits and not s.name.endswith("-base")],
        "judged": measure.judged(home, person.id),
        "choices": rows,
        "prepared": (folder / "dataset" / "manifest.json").is_file(),
        **_comparison(rows, a, b),
    }
    return render_of(request, "measure.html.j2", person, "measure", **values)


def _comparison(rows: tuple[measure.Kept, ...], a: str, b: str) -> dict[str, Any]:
    """The two that are compared: those asked for, else none."""
    known = {one.id: one for one in rows}
    chosen = {"a": a, "b": b, "comparison": None, "comparison_error": ""}
    if a in known and b in known:
        try:
            chosen["comparison"] = measure.comparison(known[a], known[b])
        except PortraitError as error:
            chosen["comparison_error"] = error.message()
    return chosen


def _worst(
    request: Request, person: Person, series: str, now: measure.Measured | None
) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for name, similarity in now.worst if now else ():
        path = person.folder / "portraits" / series / name
        if series and path.is_file():
            id = request.app.state.studio.picture_id(person, path)
            version = gallery.version_of(path)
            shown.append({"id": id, "name": name, "similarity": similarity, "version": version})
    return shown


@router.post("/people/{id}/measure/score")
def score(request: Request, person: PersonToChange, user: Member, body: Score) -> JSONResponse:
    """Measure the likeness of a series that was drawn."""
    del user
    known = [s.name for s in portraits.series(person.folder)]
    if body.series and body.series not in known:
        raise InputError("no such series", where="series", got=body.series)
    settings = (
        [f"generate.series={gallery.series_argument(person.folder, body.series)}"] if body.series else []
    )
    arguments = {"settings": settings}
    job = request.app.state.queue.submit("score", person.folder, arguments, owner=person.owner)
    return JSONResponse({"id": job.id}, status_code=202)


@router.post("/people/{id}/measure/keep")
def keep(request: Request, person: PersonToChange, body: Name) -> JSONResponse:
    """Keep the measurement of now, to compare a later one with it."""
    name = measure.keep(request.app.state.studio.home, person.id, person.folder, body.name)
    return JSONResponse({"name": name}, status_code=201)


@router.post("/people/{id}/measure/drop")
def drop(request: Request, person: PersonToChange, body: Name) -> JSONResponse:
    """Remove a kept measurement (`kept-NAME`), or a set of pictures from elsewhere (`judged-NAME`)."""
    home, (kind, _, name) = request.app.state.studio.home, body.name.partition("-")
    remove = {"kept": measure.forget_kept, "judged": measure.forget_judged}.get(kind)
    if remove is None:
        raise InputError("this cannot be removed", where=body.name)
    remove(home, person.id, name)
    return JSONResponse({})


@router.post("/people/{id}/measure/judge")
async def judge(request: Request, person: PersonToChange, user: Member) -> JSONResponse:
    """Take pictures from another tool, and judge them against this person's held-out photos."""
    studio, queue = request.app.state.studio, request.app.state.queue
    folder = studio.home / "uploads" / person.id
    async with uploads.received(request, folder, most_files=measure.MOST_JUDGED) as form:
        name = form.fields.get("name", "").strip() or "another tool"
        files = [one.path for one in form.files if one.size]
        place = await run_in_threadpool(measure.add_judged, studio.home, person.id, name, files)
    out = place.with_name(f"{place.name}_report")
    arguments = {"portraits": str(place), "out": str(out)}
    training.resolved(person.folder)
    job = await run_in_threadpool(queue.submit, "judge", person.folder, arguments, owner=person.owner)
    del user
    return JSONResponse({"id": job.id}, status_code=202)
