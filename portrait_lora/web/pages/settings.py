"""The page *Settings*: `likeness.yaml` as a form, with help, limits and errors beside the fields."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families import catalog
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import PersonToChange, PersonToRead
from portrait_lora.web.services import jobs, settings
from portrait_lora.web.studio import Person
from portrait_lora.web.users import Role

router = APIRouter(include_in_schema=False)
_MOST_FORMS: Final = 100
_shown: OrderedDict[tuple[str, str], dict[str, str]] = OrderedDict()
"""(person, version) → the values that a form was sent with: what was typed is told from what was there."""


@router.get("/people/{id}/settings")
def page(request: Request, person: PersonToRead) -> HTMLResponse:
    """The form; a file that cannot be read as it is is shown with what is wrong, and left alone."""
    try:
        form = settings.form(person.folder)
    except ConfigError as error:
        return _page(request, person, None, broken=error.message())
    return _page(request, person, form, saved=request.query_params.get("saved") == "1")


@router.post("/people/{id}/settings")
async def save(request: Request, person: PersonToChange) -> Response:
    """Save what was changed; with errors, or after a change elsewhere, the form comes back whole."""
    data = await request.form(max_fields=1000, max_files=0)
    version = str(data.get("version", ""))
    sent = {k: str(v) for k, v in data.multi_items() if k not in ("csrf", "version")}  # the last one counts
    before = _shown.get((person.id, version))
    typed = sent if before is None else {k: v for k, v in sent.items() if before.get(k) != v.strip()}
    try:
        _refuse_files(request, typed)
        form = settings.save(person.folder, version, typed)
    except settings.Changed as error:
        fresh = settings.form(person.folder)
        return _page(request, person, fresh, status=409, problem=error.message(), typed=typed)
    except InputError as error:
        fresh = settings.form(person.folder)
        return _page(request, person, fresh, status=422, problem=error.message(), typed=typed)
    if form.errors:
        return _page(request, person, form, status=422)
    return RedirectResponse(f"/people/{person.id}/settings?saved=1", 303)


def _refuse_files(request: Request, typed: dict[str, str]) -> None:
    """Who is no admin may not point the program at files of this machine."""
    user = request.state.user
    if user.role >= Role.ADMIN:
        return
    for key, value in typed.items():
        if value and jobs.names_file(value):
            raise InputError(
                "only an admin of this studio may name files of its machine", where=key, got=value[:120]
            )


def _page(
    request: Request,
    person: Person,
    form: settings.Form | None,
    *,
    status: int = 200,
    saved: bool = False,
    broken: str = "",
    problem: str = "",
    typed: dict[str, str] | None = None,
) -> HTMLResponse:
    if form is not None and not form.errors:
        values = {field.key: field.value for part in form.parts for field in part.fields}
        _shown[(person.id, form.version)] = values
        while len(_shown) > _MOST_FORMS:
            _shown.popitem(last=False)
    values: dict[str, Any] = {
        "form": form,
        "saved": saved,
        "broken": broken,
        "problem": problem,
        "typed": typed or {},
        "never": settings.NEVER,
        "bases": [b.name for b in catalog.bases()],
    }
    return render_of(request, "settings.html.j2", person, "settings", status=status, **values)
