"""The photos of a person: sent as a form or in pieces, listed with their verdicts, taken out; the consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

from fastapi import Path as InPath
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from portrait_lora.errors import InputError, PortraitError
from portrait_lora.web import paging, problems
from portrait_lora.web.permissions import PersonToChange, PersonToRead, current_studio
from portrait_lora.web.services import consent, photo_changes, photos
from portrait_lora.web.studio import Person
from portrait_lora.web.uploads import Upload, received
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import Cursor, Limit
from portrait_lora.web.v1.routing import router as new_router

router = new_router("photos")
_FORM: Final = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": "JPEG, PNG, WebP, AVIF or HEIC",
        }
    },
    "required": ["files"],
}
PhotoId = Annotated[str, InPath(pattern=r"^[a-z0-9]{1,40}$")]


@router.get("/likenesses/{id}/photos")
def list_photos(
    request: Request, person: PersonToRead, cursor: Cursor = "", limit: Limit = paging.LIMIT
) -> shapes.PhotoPage:
    """The photos by name, with what the last check found on each and what was decided by hand."""
    rows = photos.overview(person).photos
    shown, following = paging.page(rows, lambda row: row.name, cursor, limit)
    return shapes.PhotoPage(items=[_shape(person, row) for row in shown], next=following)


def _shape(person: Person, row: photos.Shown) -> shapes.Photo:
    findings = [
        shapes.Finding(code=r.code, title=r.title, severity=r.severity, figures=r.figures, advice=r.advice)
        for r in row.remarks
    ]
    return shapes.Photo(
        id=row.id,
        name=row.name,
        sha256=row.sha256,
        bytes=row.bytes,
        verdict=row.verdict,
        accepted=row.accepted,
        findings=findings,
        size_px=list(row.size) if row.size else None,
        box_px=list(row.box) if row.box else None,
        view=row.view,
        expression=row.expression,
        turn_deg=row.turn_deg,
        crop=list(row.crop),
        accepted_anyway=row.anyway,
        shows="same" if row.same else "other" if row.other else "",
        pending=row.pending,
        picture=f"/pictures/{person.id}/{row.id}",
    )


@router.post(
    "/likenesses/{id}/photos",
    status_code=201,
    responses={200: {"model": shapes.ReceivedAll, "description": "all of them were there already"}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def add_photos(request: Request, response: Response, person: PersonToChange) -> shapes.ReceivedAll:
    """Photos as a multipart form.  What became of each stands in the answer.

    The same bytes twice are one photo: the second is `already` there, with the id of the first.  201 when
    something was added, 200 when all were there; when every file is refused, the problem of the first.
    """
    state = request.app.state
    most = state.settings.limits.upload_files
    async with received(request, state.studio.home / "uploads", most_files=most) as form:
        unknown = sorted(set(form.fields) - {"csrf"})
        if unknown or not form.files:
            raise problems.Refused(
                "unknown field" if unknown else "no files", where="body", got=", ".join(unknown)[:200],
                needed="files",
            )  # fmt: skip
        items = await run_in_threadpool(_receive_all, request, person, form.files)
    if not any(one.state == "added" for one in items):
        response.status_code = 200
    return shapes.ReceivedAll(items=items)


def _receive_all(request: Request, person: Person, files: Sequence[Upload]) -> list[shapes.Received]:
    """What became of each file.  Raises the error of the first when all of them are refused."""
    items: list[shapes.Received] = []
    errors: list[PortraitError] = []
    for file in files:
        try:
            items.append(receive(person, file.name, file.path))
        except PortraitError as error:
            errors.append(error)
            document = shapes.Problem.model_validate(problems.document(request, error))
            items.append(shapes.Received(name=file.name, state="refused", id=None, problem=document))
    if len(errors) == len(files):
        raise errors[0]
    return items


def receive(person: Person, name: str, part: Path) -> shapes.Received:
    """One file as a photo: it is moved there, or removed.  Raises `InputError` for one that is none."""
    try:
        photo = photo_changes.add(person, name, part)
    except InputError as error:
        error.where = name  # and not the number under which it lay here
        raise
    return shapes.Received(name=photo.name, state=photo.state, id=photo.id, problem=None)


@router.get("/likenesses/{id}/photos/{photo}")
def get_photo(request: Request, person: PersonToRead, photo: PhotoId) -> shapes.Photo:
    """One photo."""
    return _photo(request, person, photo)


def _photo(request: Request, person: Person, photo: str) -> shapes.Photo:
    current_studio(request).photo(person, photo)
    row = next((one for one in photos.overview(person).photos if one.id == photo), None)
    if row is None:
        raise problems.NotFound("no such photo", where=photo)
    return _shape(person, row)


@router.post("/likenesses/{id}/photos/{photo}/rotate")
def rotate_photo(request: Request, person: PersonToChange, photo: PhotoId, body: shapes.Turn) -> shapes.Photo:
    """Turn a photo clockwise by so many more degrees; the file stays as it is."""
    current_studio(request).photo(person, photo)
    photo_changes.turn(person, photo, body.degrees)
    return _photo(request, person, photo)


@router.post("/likenesses/{id}/photos/{photo}/crop")
def crop_photo(request: Request, person: PersonToChange, photo: PhotoId, body: shapes.Crop) -> shapes.Photo:
    """Keep this part of a photo; the file stays as it is."""
    current_studio(request).photo(person, photo)
    photo_changes.crop(person, photo, body.box)
    return _photo(request, person, photo)


@router.post("/likenesses/{id}/photos/{photo}/accept")
def accept_photo(
    request: Request, person: PersonToChange, photo: PhotoId, body: shapes.Accept
) -> shapes.Photo:
    """Use a photo in spite of what the check finds on it, or leave it to the check again."""
    current_studio(request).photo(person, photo)
    photo_changes.use_anyway(person, photo, body.accept)
    return _photo(request, person, photo)


@router.post("/likenesses/{id}/photos/{photo}/shows")
def say_who_photo_shows(
    request: Request, person: PersonToChange, photo: PhotoId, body: shapes.Shows
) -> shapes.Photo:
    """Answer whom a photo shows, where the check is in doubt."""
    current_studio(request).photo(person, photo)
    photo_changes.say_who(person, photo, body.who)
    return _photo(request, person, photo)


@router.delete("/likenesses/{id}/photos/{photo}", status_code=204)
def remove_photo(request: Request, person: PersonToChange, photo: PhotoId) -> Response:
    """Take a photo out: it is moved to `removed/` in the likeness folder, and kept there."""
    current_studio(request).photo(person, photo)
    photo_changes.remove(person, photo)
    return Response(status_code=204)


@router.get("/likenesses/{id}/consent")
def get_consent(person: PersonToRead) -> shapes.RecordedConsent:
    """The consent that is recorded, and whether it covers all photos today."""
    return _consent(consent.standing(person, commercial=_commercial(person)))


@router.put("/likenesses/{id}/consent")
def record_consent(person: PersonToChange, body: shapes.NewConsent) -> shapes.RecordedConsent:
    """Record a consent for the photos that are there now; those that come later need it anew.

    Either `i_am_the_subject`, or `who` has agreed to `statement`.
    """
    if body.i_am_the_subject == bool(body.statement):
        raise InputError(
            "a consent is either the subject's own or another person's", where="consent",
            needed="i_am_the_subject, or who and statement",
        )  # fmt: skip
    consent.record(
        person, subject=body.i_am_the_subject, who=body.who, purposes=body.purposes, until=body.until,
        statement=body.statement, guardian=body.guardian, born=body.born,
    )  # fmt: skip
    return _consent(consent.standing(person, commercial=_commercial(person)))


def _commercial(person: Person) -> bool:
    return photos.settings_of(person.folder).commercial


def _consent(standing: consent.Standing) -> shapes.RecordedConsent:
    values = asdict(standing) | {"purposes": list(standing.purposes), "statement": consent.STATEMENT}
    return shapes.RecordedConsent.model_validate(values)
