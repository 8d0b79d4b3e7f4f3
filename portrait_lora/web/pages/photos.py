"""Photos: added, looked at, decided about, turned, cropped, removed; the consent of the person."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from portrait_lora.errors import PortraitError
from portrait_lora.pictures.reader import MAX_FILE_BYTES, UnreadablePhoto
from portrait_lora.web import pictures, uploads
from portrait_lora.web.permissions import PersonToChange, PersonToRead, Reader, current_studio
from portrait_lora.web.problems import Refused
from portrait_lora.web.services import consent as consents
from portrait_lora.web.services import home, photo_changes, photos
from portrait_lora.web.services.running import running
from portrait_lora.web.studio import Person
from portrait_lora.web.templating import environment, render

router = APIRouter(prefix="/people/{id}", include_in_schema=False)
CHECKING: Final = ("check", "prepare", "run", "demo")


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Turn(Body):
    """Clockwise."""

    degrees: Literal[90, 180, 270]


class Crop(Body):
    """Fractions of the turned picture; None: all of it."""

    box: Annotated[list[float], Field(min_length=4, max_length=4)] | None


class Accept(Body):
    """Take it anyway, or leave it to the check."""

    accept: bool


class Who(Body):
    """Whom the photo shows."""

    who: Literal["same", "other", ""]


class Kept(Body):
    """A removed photo."""

    kept: Annotated[str, StringConstraints(min_length=1, max_length=300)]


class NewConsent(Body):
    """What the form asks."""

    by: Literal["subject", "other"]
    who: Annotated[str, StringConstraints(max_length=200)]
    purposes: Annotated[list[Literal["training", "portraits", "commercial"]], Field(max_length=3)]
    until: Annotated[str, StringConstraints(max_length=10)]
    statement: Annotated[str, StringConstraints(max_length=10_000)]
    guardian: Annotated[str, StringConstraints(max_length=200)] = ""
    born: Annotated[str, StringConstraints(max_length=10)] = ""


@router.get("/photos")
def page(request: Request, person: PersonToRead, user: Reader) -> Response:
    """The page."""
    seen = photos.overview(person)
    jobs = running(request.app.state.queue, current_studio(request), user, person.folder, CHECKING)
    today = dt.date.today()
    removed = [
        {"name": path.name, "src": pictures.address(request, person, path, 320)}
        for path in photo_changes.removed(person)
    ]
    values = _common(request, person, may_change=user.may_change(person.owner))
    return render(
        request, "photos.html.j2", page="photos", seen=seen, job=jobs[0] if jobs else None,
        job_problem=_problem(request, person) if not jobs else "",
        removed=removed, consent=consents.standing(person), meanings=consents.MEANINGS,
        statement=consents.STATEMENT, today=today.isoformat(),
        in_a_year=(today + dt.timedelta(days=365)).isoformat(), most_bytes=MAX_FILE_BYTES, **values,
    )  # fmt: skip


@router.post("/photos")
async def add(request: Request, person: PersonToChange) -> Response:
    """One file of a form; the answer has the card to show at once."""
    studio = current_studio(request)
    async with uploads.received(request, studio.home / "uploads" / person.id, most_files=1) as form:
        if not form.files:
            raise Refused("no file came", where="photos", needed="one file")
        file = form.files[0]
        got = await run_in_threadpool(photo_changes.add, person, file.name, file.path)
    html = await run_in_threadpool(_card, request, person, got.id) if got.state == "added" else ""
    return JSONResponse({"state": got.state, "id": got.id, "name": got.name, "html": html}, 201)


@router.post("/photos/check")
def check(request: Request, person: PersonToChange, user: Reader) -> Response:
    """Look at the photos now; a check that waits already is that one."""
    queue = request.app.state.queue
    for there in running(queue, current_studio(request), user, person.folder, ("check",)):
        if there.words.startswith("Waits"):
            return JSONResponse({"id": there.id}, 202)
    job = queue.submit("check", person.folder, {}, owner=person.owner)
    return JSONResponse({"id": job.id}, 202)


@router.post("/photos/removed")
def restore(person: PersonToChange, body: Kept) -> Response:
    """Bring a removed photo back."""
    return JSONResponse({"id": photo_changes.restore(person, body.kept)})


@router.post("/photos/{photo}/turn")
def turn(person: PersonToChange, photo: str, body: Turn) -> Response:
    """Turn it; the file stays."""
    photo_changes.turn(person, photo, body.degrees)
    return JSONResponse({})


@router.post("/photos/{photo}/crop")
def crop(person: PersonToChange, photo: str, body: Crop) -> Response:
    """Keep a part of it; the file stays."""
    photo_changes.crop(person, photo, body.box)
    return JSONResponse({})


@router.post("/photos/{photo}/accept")
def accept(person: PersonToChange, photo: str, body: Accept) -> Response:
    """Take it anyway, or not any more."""
    photo_changes.use_anyway(person, photo, body.accept)
    return JSONResponse({})


@router.post("/photos/{photo}/who")
def who(person: PersonToChange, photo: str, body: Who) -> Response:
    """Say whom it shows."""
    photo_changes.say_who(person, photo, body.who)
    return JSONResponse({})


@router.delete("/photos/{photo}")
def remove(person: PersonToChange, photo: str) -> Response:
    """Move it to the removed ones."""
    name = photos.photo_of(person, photo).name
    return JSONResponse({"kept": photo_changes.remove(person, photo), "name": name})


@router.get("/photos/{photo}/picture")
def picture(
    request: Request, person: PersonToRead, photo: str, w: Annotated[int, Query()] = 0, whole: bool = False
) -> Response:
    """The photo as it is read: turned and cropped by hand; `whole`: turned only, for the crop."""
    from portrait_lora.records import PhotoEdit

    studio, path = current_studio(request), photos.photo_of(person, photo)
    there = photos.edit_of(person.folder, path.name)
    edit = PhotoEdit(there.turn_deg, photos.WHOLE if whole else there.crop) if there else None
    try:
        return pictures.serve(request, path, studio.home / "cache", w, edit=edit)
    except UnreadablePhoto:  # the card says what is wrong with it
        return RedirectResponse("/static/broken.svg", 303)


@router.post("/consent")
def record_consent(person: PersonToChange, body: NewConsent) -> Response:
    """Record the consent for the photographs that are there now."""
    now = consents.record(
        person, subject=body.by == "subject", who=body.who, purposes=body.purposes, until=body.until,
        statement=body.statement, guardian=body.guardian, born=body.born,
    )  # fmt: skip
    return JSONResponse({"who": now.who, "until": now.until, "photos": now.photos}, 201)


def _common(request: Request, person: Person, *, may_change: bool) -> dict[str, Any]:
    def thumb(photo: photos.Shown, width: int, whole: bool = False) -> str:
        """Its address changes with the file and the edit, so that browsers may keep it."""
        edit = f"{photo.turn_deg}-{'-'.join(f'{v:g}' for v in photo.crop)}" if photo.edited else ""
        version = f"{photo.sha256[:10]}{f'-{edit}' if edit else ''}"
        place = f"/people/{person.id}/photos/{photo.id}/picture?w={width}&v={version}"
        return f"{place}&whole=1" if whole else place

    cover = home.cover_of(person)
    return {
        "person": person, "may_change": may_change, "thumb": thumb,
        "cover": pictures.address(request, person, cover, 160) if cover else "",
    }  # fmt: skip


def _card(request: Request, person: Person, photo_id: str) -> str:
    """The card of one photo."""
    shown = photos.shown_of(person, photo_id)
    values = _common(request, person, may_change=True)
    template = environment().get_template("_photo.html.j2")
    return str(template.make_module(values).photo(shown))  # type: ignore[attr-defined]


def _problem(request: Request, person: Person) -> str:
    """Why the last check failed, as long as no later one went well."""
    queue = request.app.state.queue
    last = queue.list(folder=person.folder, limit=1) if queue is not None else []
    if not last or last[0].kind != "check" or str(last[0].state) != "failed":
        return ""
    error = dict(last[0].error or {})
    failure = PortraitError(
        str(error.get("what", "")), got=error.get("got") or "", remedy=str(error.get("remedy") or "")
    )
    return failure.message()
