"""The page *Models*: base models and face packs with their licences, what is here, and downloading them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from portrait_lora.errors import InputError
from portrait_lora.web.permissions import Admin, Reader
from portrait_lora.web.services import models, work
from portrait_lora.web.templating import render
from portrait_lora.web.users import Role

router = APIRouter(include_in_schema=False)


class Pull(BaseModel):
    """What is to be downloaded."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]


@router.get("/models")
def page(request: Request, user: Reader) -> HTMLResponse:
    """The page."""
    home, queue = request.app.state.studio.home, request.app.state.queue
    return render(
        request,
        "models.html.j2",
        page="models",
        bases=models.bases(home),
        packs=models.packs(),
        active=work.of_person(queue, home, ("pull",)),
        failed=_failed(work.last(queue, home, ("pull",))),
        may_pull=user.role >= Role.ADMIN,
    )


def _failed(last: work.Shown | None) -> work.Shown | None:
    return last if last is not None and str(last.state) == "failed" else None


@router.post("/models/pull")
def pull(request: Request, user: Admin, body: Pull) -> JSONResponse:
    """Download a base or a pack; an admin's decision, as it takes network and disk."""
    home = request.app.state.studio.home
    known = {m.row["name"] for m in models.bases(home)} | {p["name"] for p in models.packs()}
    if body.name not in known:
        raise InputError("no such model", where="name", got=body.name)
    job = request.app.state.queue.submit("pull", home, {"names": [body.name]}, owner=user.name)
    return JSONResponse({"id": job.id}, status_code=202)
