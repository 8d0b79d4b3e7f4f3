"""The prompt book as a form: a series of one's own, the linter's remarks beside it while one writes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from portrait_lora.errors import InputError
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead
from portrait_lora.web.services import book, gallery, training

router = APIRouter(include_in_schema=False)
ASPECTS = ("1:1", "3:4", "2:3", "4:5", "4:3", "16:9")


class Save(BaseModel):
    """A draft that is to be kept, and maybe drawn."""

    model_config = ConfigDict(extra="forbid")

    draft: book.Draft
    replace: bool = False
    draw: bool = True


@router.get("/people/{id}/portraits/book")
def page(
    request: Request, person: PersonToRead, begin: Annotated[str, Query(max_length=200)] = ""
) -> HTMLResponse:
    """The form, empty or begun from a series."""
    config = training.resolved(person.folder)
    drawable = gallery.drawable(person.folder, config)
    known = {one.name for one in drawable}
    draft = book.draft_of(person.folder, begin) if begin in known else None
    return render_of(
        request,
        "book.html.j2",
        person,
        "portraits",
        draft=draft,
        begun=begin if draft else "",
        drawable=[one for one in drawable if not one.why_not],
        vocabulary=book.vocabulary_of(config.base),
        labels=book.LABELS,
        first=book.FIRST,
        aspects=ASPECTS,
        config=config,
    )


@router.post("/people/{id}/portraits/book/check")
def check(person: PersonToChange, body: book.Draft) -> JSONResponse:
    """The prompts of a draft as they would be drawn, with remarks; nothing is kept."""
    return JSONResponse(book.checked(body, training.resolved(person.folder)).json_value())


@router.post("/people/{id}/portraits/book")
def save(request: Request, person: PersonToChange, user: Member, body: Save) -> JSONResponse:
    """Keep a series under its name, and draw it."""
    del user
    config = training.resolved(person.folder)
    path = book.save(person.folder, body.draft, config, replace=body.replace)
    if not body.draw:
        return JSONResponse({"series": path.stem})
    if not (person.folder / "adapters" / config.run / "adapter.safetensors").is_file():
        raise InputError(
            "the series is kept, but there is no adapter yet to draw it with", remedy="Train first."
        )
    arguments = {"series": str(path.resolve())}
    job = request.app.state.queue.submit("generate", person.folder, arguments, owner=person.owner)
    return JSONResponse({"series": path.stem, "id": job.id}, status_code=202)
