"""The page *Training*: its cost before the click, the curves while it runs, and which checkpoint is kept."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from portrait_lora import summaries
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.likeness import photo_files
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead
from portrait_lora.web.services import jobs, training, work
from portrait_lora.web.studio import Person
from portrait_lora.web.templating import render

router = APIRouter(include_in_schema=False)
KINDS = ("train", "run", "demo")


class Start(BaseModel):
    """What is asked besides the settings."""

    model_config = ConfigDict(extra="forbid")

    previews: bool = True


class Keep(BaseModel):
    """The step that is to be kept; none for the best on the probes."""

    model_config = ConfigDict(extra="forbid")

    step: int | None = Field(default=None, ge=1)


@router.get("/people/{id}/training")
def page(request: Request, person: PersonToRead) -> HTMLResponse:
    """The page."""
    queue, folder = request.app.state.queue, person.folder
    active = work.of_person(queue, folder, KINDS)
    before = None if active else work.last(queue, folder, ("train", "run"))
    state = training.training(folder, busy=bool(active))
    values: dict[str, Any] = {
        "active": active,
        "failed": before if before and str(before.state) in ("failed", "cancelled") else None,
        "state": state,
        "photos": len(photo_files(folder / "photos")),
        "unknown_world": training.unknown_world(folder),
        "blocked": training.in_the_way(folder),
        "config": training.resolved(folder),
        "plan": _plan(person) if training.plan_is_known(folder) else None,
        "duration": summaries.duration,
        "left": work.left_words,
        "pictures": [[_source(request, person, p) for p in c.pictures] for c in state.checkpoints],
    }
    return render_of(request, "training.html.j2", person, "training", **values)


@router.get("/people/{id}/training/plan")
def plan(request: Request, person: PersonToRead) -> HTMLResponse:
    """What a training would take here; it takes a few seconds to find out."""
    return render(request, "training_plan.html.j2", plan=_plan(person), duration=summaries.duration)


def _plan(person: Person) -> dict[str, Any]:
    try:
        return {"value": training.plan(person.folder), "error": ""}
    except PortraitError as error:
        return {"value": None, "error": error.message()}


def _source(request: Request, person: Person, path: Any) -> str:
    return f"/pictures/{person.id}/{request.app.state.studio.picture_id(person, path)}"


@router.post("/people/{id}/training/start")
def start(request: Request, person: PersonToChange, user: Member, body: Start) -> JSONResponse:
    """Begin, or go on with what was stopped; previews are drawn at every checkpoint."""
    if work.of_person(request.app.state.queue, person.folder, KINDS):
        raise InputError("this person is being trained already", where=person.id)
    arguments = {"settings": ["training.previews=true"] if body.previews else []}
    job = jobs.submit(request.app.state.queue, user, person, "train", arguments)
    return JSONResponse({"id": job.id}, status_code=202)


@router.post("/people/{id}/training/keep")
def keep(request: Request, person: PersonToChange, user: Member, body: Keep) -> JSONResponse:
    """Keep a checkpoint: it is written into the settings, and the adapter is exported anew."""
    if work.of_person(request.app.state.queue, person.folder, KINDS):
        raise InputError(
            "a training of this person is under way", remedy="Choose when it has ended, or stop it."
        )
    training.keep(person.folder, body.step)
    job = jobs.submit(request.app.state.queue, user, person, "train", {})
    return JSONResponse({"id": job.id}, status_code=202)


@router.post("/people/{id}/training/allow")
def allow(person: PersonToChange) -> JSONResponse:
    """Let the embedded models be tried on photographs; it is written into the settings."""
    training.allow_unknown_world(person.folder)
    return JSONResponse({})
