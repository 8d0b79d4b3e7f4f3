"""The photos of a person: sent as a form or in pieces, listed with their verdicts, taken out; the consent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Path, Request, Response
from starlette.concurrency import run_in_threadpool

from portrait_lora.errors import PortraitError
from portrait_lora.web import paging, problems
from portrait_lora.web.permissions import PersonToChange, PersonToRead, current_studio
from portrait_lora.web.services import consents, intake
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
PhotoId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]


@router.get("/likenesses/{id}/photos")
def list_photos(person: PersonToRead, cursor: Cursor = "", limit: Limit = paging.LIMIT) -> shapes.PhotoPage:
    """The photos by name, with what the last check found on each."""
    rows = intake.rows(person.folder)
    shown, following = paging.page(rows, lambda row: row.name, cursor, limit)
    return shapes.PhotoPage(items=[_shape(person, row) for row in shown], next=following)


def _shape(person: Person, row: intake.PhotoRow) -> shapes.Photo:
    verdict = row.verdict
    return shapes.Photo(
        id=row.id,
        name=row.name,
        size_px=list(row.size_px) if row.size_px else None,
        sha256=row.sha256,
        accepted=verdict.accepted if verdict else None,
        findings=[one.model_dump(mode="json") for one in verdict.findings] if verdict else [],
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
            items.append(receive(person, file.name, file.path.read_bytes()))
        except PortraitError as error:
            errors.append(error)
            document = shapes.Problem.model_validate(problems.document(request, error))
            items.append(shapes.Received(name=file.name, state="refused", id=None, problem=document))
    if len(errors) == len(files):
        raise errors[0]
    return items


def receive(person: Person, name: str, data: bytes) -> shapes.Received:
    """One file as a photo.  Raises `InputError` for one that is none."""
    taken = intake.add(person.folder, name, data)
    return shapes.Received(name=taken.name, state=taken.state, id=taken.id, problem=None)


@router.get("/likenesses/{id}/photos/{photo}")
def get_photo(request: Request, person: PersonToRead, photo: PhotoId) -> shapes.Photo:
    """One photo."""
    path = current_studio(request).photo(person, photo)
    row = next((one for one in intake.rows(person.folder) if one.name == path.name), None)
    if row is None:
        raise problems.NotFound("no such photo", where=photo)
    return _shape(person, row)


@router.delete("/likenesses/{id}/photos/{photo}", status_code=204)
def remove_photo(request: Request, person: PersonToChange, photo: PhotoId) -> Response:
    """Take a photo out: it is moved to `removed/` in the likeness folder, and kept there."""
    intake.remove(person.folder, current_studio(request).photo(person, photo))
    return Response(status_code=204)


@router.get("/likenesses/{id}/consent")
def get_consent(person: PersonToRead) -> shapes.RecordedConsent:
    """The consent that is recorded, and whether it covers all photos today."""
    return shapes.RecordedConsent.model_validate(consents.shown(person.folder))


@router.put("/likenesses/{id}/consent")
def record_consent(person: PersonToChange, body: shapes.NewConsent) -> shapes.RecordedConsent:
    """Record a consent for the photos that are there now; those that come later need it anew.

    Either `i_am_the_subject`, or who, purposes, until and statement.
    """
    consents.record(
        person.folder, person.name, subject=body.i_am_the_subject, who=body.who, purposes=body.purposes,
        until=body.until, statement=body.statement,
    )  # fmt: skip
    return shapes.RecordedConsent.model_validate(consents.shown(person.folder))
