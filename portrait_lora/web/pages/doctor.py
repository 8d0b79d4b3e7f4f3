"""The page *Doctor*: whether this machine is ready, and a remedy for what is not."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portrait_lora.errors import PortraitError
from portrait_lora.web import aside
from portrait_lora.web.permissions import Reader
from portrait_lora.web.services import jobs
from portrait_lora.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/doctor")
def page(request: Request, user: Reader) -> HTMLResponse:
    """The page; the examination follows when it is there, unless it is known already."""
    del user
    known = aside.known("doctor", key="")
    return render(request, "doctor.html.j2", page="doctor", **(_found(request) if known else _nothing()))


@router.get("/doctor/examination")
def examination(request: Request, user: Reader, again: bool = False) -> HTMLResponse:
    """The checks; they take seconds."""
    del user
    return render(request, "doctor_checks.html.j2", **_found(request, fresh=again))


def _nothing() -> dict[str, Any]:
    return {"found": None, "error": ""}


def _found(request: Request, *, fresh: bool = False) -> dict[str, Any]:
    """The checks, without the folders of this machine."""
    place = jobs.relative_to(str(request.app.state.studio.home))
    try:
        return {"found": place(aside.answer("doctor", key="", fresh=fresh)), "error": ""}
    except PortraitError as error:
        return {"found": None, "error": error.message()}
