"""Pages from templates: everything escaped, an unknown value is an error, addresses are paths alone."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from portrait_lora import __version__
from portrait_lora.errors import PortraitError


@cache
def environment() -> Environment:
    """The templates of `web/templates`."""
    return Environment(
        loader=PackageLoader("portrait_lora.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page.  Templates get `user`, `csrf`, `studio`, `url_for`, `static`, `htmx`, `version` and
    `has_fleets` besides."""
    session = getattr(request.state, "session", None)
    common: dict[str, Any] = {
        "request": request,
        "user": getattr(request.state, "user", None),
        "csrf": session.csrf if session else "",
        "studio": request.app.state.studio,
        "has_users": request.app.state.accounts.has_users,
        "url_for": lambda name, **parts: str(request.app.url_path_for(name, **parts)),
        "static": lambda name: f"/static/{name}?v={__version__}",
        "htmx": request.headers.get("hx-request") == "true",
        "version": __version__,
        "has_fleets": _has_fleets(request),
    }
    text = environment().get_template(template).render(common | values)
    return HTMLResponse(text, status)


def _has_fleets(request: Request) -> bool:
    """Whether the user may look at a fleet; a page of a problem is shown before anybody is known."""
    user = getattr(request.state, "user", None)
    try:
        return user is not None and request.app.state.fleets.any(user)
    except (PortraitError, OSError):  # the page that is rendered may be the one that says so
        return False
