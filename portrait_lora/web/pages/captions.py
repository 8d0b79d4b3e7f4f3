"""Captions: edited in place, found and replaced, taken back."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import JSONResponse, Response

from portrait_lora.errors import InputError
from portrait_lora.web import pictures, problems
from portrait_lora.web.permissions import PersonToChange, PersonToRead, Reader, current_studio
from portrait_lora.web.services import captions, home, photos
from portrait_lora.web.services.running import running
from portrait_lora.web.studio import Person
from portrait_lora.web.templating import render

router = APIRouter(prefix="/people/{id}/captions", include_in_schema=False)
PREPARING: Final = ("prepare", "run", "train", "demo")
Words = Annotated[str, StringConstraints(max_length=200)]


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewText(Body):
    """A text, and the version of the one that it replaces."""

    text: Annotated[str, StringConstraints(max_length=10_000)]
    version: Annotated[str, StringConstraints(max_length=64)]


class Find(Body):
    """What is looked for."""

    find: Words
    by: Words = ""
    words: bool = True
    case: bool = False


class Replace(Find):
    """In which captions, by id, at which version."""

    versions: Annotated[dict[str, str], Field(max_length=5000)]


@router.get("")
def page(request: Request, person: PersonToRead, user: Reader) -> Response:
    """The page; a file that cannot be read is shown as a problem, with its line."""
    rows, problem = list[captions.Caption](), ""
    try:
        rows = captions.listed(person)
    except InputError as error:
        problem = str(problems.document(request, error)["detail"])
    jobs = running(request.app.state.queue, current_studio(request), user, person.folder, PREPARING)
    cover = home.cover_of(person)
    return render(
        request, "captions.html.j2", page="captions", person=person, captions=rows, problem=problem,
        groups=[list(group) for _, group in groupby(rows, lambda c: c.photo)],
        trigger=photos.settings_of(person.folder).subject.trigger,
        without=sum(c.lacks_trigger for c in rows), step=captions.last_step(person),
        job=jobs[0] if jobs else None, has_photos=bool(photos.files_of(person.folder)),
        may_change=user.may_change(person.owner), picture=_picture(request, person),
        cover=pictures.address(request, person, cover, 160) if cover else "",
    )  # fmt: skip


@router.put("/{caption}")
def change(request: Request, person: PersonToChange, caption: str, body: NewText) -> Response:
    """Set one; 409 with the text as it is now when that is another version."""
    try:
        return JSONResponse(_json(captions.change(person, caption, body.text, body.version)))
    except captions.CaptionChanged as error:
        return problems.response(request, error, {"now": error.now, "version": error.version})


@router.post("/find")
def find(request: Request, person: PersonToChange, body: Find) -> Response:
    """What a replacement would change, as a part of the page."""
    hits = captions.matches(person, body.find, body.by, words=body.words, case=body.case)
    return render(request, "_hits.html.j2", hits=hits, picture=_picture(request, person))


@router.post("/replace")
def replace(person: PersonToChange, body: Replace) -> Response:
    """Replace in the captions that were shown."""
    changed = captions.replace(person, body.find, body.by, body.versions, words=body.words, case=body.case)
    return JSONResponse({"changed": changed})


@router.post("/undo")
def undo(person: PersonToChange) -> Response:
    """Take back the last step."""
    step = captions.undo(person)
    if step is None:
        return JSONResponse({"words": "Nothing to undo."})
    captions_now = "1 caption is" if step.captions == 1 else f"{step.captions} captions are"
    return JSONResponse({"words": f"{captions_now} as before."})


@router.post("/prepare")
def prepare(request: Request, person: PersonToChange) -> Response:
    """Cut the photos and write captions for the crops."""
    job = request.app.state.queue.submit("prepare", person.folder, {}, owner=person.owner)
    return JSONResponse({"id": job.id}, 202)


def _picture(request: Request, person: Person) -> Any:
    return lambda path, width: pictures.address(request, person, Path(path), width)


def _json(caption: captions.Caption) -> dict[str, object]:
    return {"id": caption.id, "file": caption.file, "text": caption.text, "version": caption.version}
