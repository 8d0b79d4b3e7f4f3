"""Home: everybody whom the user may look at, what runs now, a new person, the demo person in one click."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import JSONResponse, Response

from portrait_lora.web.permissions import Member, Reader, current_studio
from portrait_lora.web.pictures import address
from portrait_lora.web.services import home as service
from portrait_lora.web.services.running import running
from portrait_lora.web.templating import render
from portrait_lora.web.users import Role

router = APIRouter(include_in_schema=False)
DEMO_SEED = 7


class NewPerson(BaseModel):
    """What the form asks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(max_length=200)]
    kind: Literal["person", "woman", "man"] = "person"


@router.get("/")
def home(request: Request, user: Reader, only: Literal["", "running"] = "") -> Response:
    """The page; `only` what runs, for a page that looks again."""
    studio = current_studio(request)
    people = studio.people(user)
    cards = [
        service.card(person, lambda path, person=person: address(request, person, path, 640))
        for person in (people if not only else [])
    ]
    jobs = running(request.app.state.queue, studio, user)
    demo = any(person.kind == "made_up" and person.owner == user.name for person in people)
    return render(
        request, "home.html.j2", page="home", cards=cards, jobs=jobs, demo=demo,
        jobs_running=len(jobs), may_change=user.role >= Role.MEMBER,
    )  # fmt: skip


@router.post("/people")
def create(request: Request, user: Member, body: NewPerson) -> Response:
    """A new person; their photos come next."""
    settings = [f"subject.kind={body.kind}"]
    person = current_studio(request).create(user, body.name, settings=settings)
    return JSONResponse({"id": person.id, "name": person.name}, 201)


@router.post("/people/demo")
def open_demo(request: Request, user: Member) -> Response:
    """The made-up person: a job renders their photos and goes all the way to the report."""
    person = current_studio(request).begin_demo(user, DEMO_SEED)
    job = request.app.state.queue.submit(
        "demo", person.folder, {"person_seed": DEMO_SEED}, owner=person.owner, key=f"demo {person.id}"
    )
    return JSONResponse({"id": person.id, "job": job.id}, 202)
