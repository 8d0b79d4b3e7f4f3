"""What the pages of one person have in common: the bar with their face and tabs."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from portrait_lora.web import pictures
from portrait_lora.web.services import home
from portrait_lora.web.studio import Person
from portrait_lora.web.templating import render


def render_of(request: Request, template: str, person: Person, page: str, **values: Any) -> HTMLResponse:
    """A page of a person, under the tab `page`."""
    cover = home.cover_of(person)
    address = pictures.address(request, person, cover, 160) if cover else ""
    return render(request, template, person=person, page=page, cover=address, **values)
