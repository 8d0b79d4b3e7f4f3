"""The page *Portraits*: gallery, favourites, two side by side, drawing a series, taking pictures away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from portrait_lora.errors import InputError
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import downloads, favourites, gallery, portraits, settings, training, work
from portrait_lora.web.services.downloads import DownloadFormat
from portrait_lora.web.services.portraits import Drawn
from portrait_lora.web.studio import Person
from portrait_lora.web.templating import render

router = APIRouter(include_in_schema=False)
_ORDER = ("portrait", "edit", "finished")
KINDS = ("generate", "vary", "fix", "finish", "run", "demo")
PictureId = Annotated[str, Path(pattern=r"^[a-z2-7]{16}$")]
SeriesName = Annotated[str, Query(max_length=200)]
Kind = Annotated[Literal["", "portrait", "edit", "finished"], Query()]
Page = Annotated[int, Query(ge=1, le=100_000)]


class Like(BaseModel):
    """Whether a picture is a favourite."""

    model_config = ConfigDict(extra="forbid")

    liked: bool


class Draw(BaseModel):
    """A series that is to be drawn."""

    model_config = ConfigDict(extra="forbid")

    series: Annotated[str, Field(min_length=1, max_length=200)]
    per_shot: Annotated[int, Field(ge=1, le=50)] | None = None


def picture_of(person: Person, picture: str) -> Drawn:
    """The picture of a person.  Raises `NotFound`."""
    one = portraits.find(person.folder, picture)
    if one is None:
        raise NotFound("no such picture", where=picture, remedy="Go back to the portraits.")
    return one


def _rows(
    request: Request, person: Person, series: str, kind: str, liked: bool
) -> tuple[Sequence[Drawn], frozenset[str]]:
    names = favourites.read(request.app.state.studio.home, person.id)
    rows = portraits.drawn(person.folder, series, kind)
    rows.sort(key=lambda one: _ORDER.index(one.kind))
    rows = [one for one in rows if not one.series.endswith("-base") and (not liked or one.file in names)]
    return rows, names


@router.get("/people/{id}/portraits")
def page(
    request: Request,
    person: PersonToRead,
    series: SeriesName = "",
    kind: Kind = "",
    liked: bool = False,
    page: Page = 1,
) -> HTMLResponse:
    """The gallery."""
    rows, names = _rows(request, person, series, kind, liked)
    active = work.of_person(request.app.state.queue, person.folder, KINDS)
    failed = None if active else work.last(request.app.state.queue, person.folder, ("generate",))
    config = training.resolved(person.folder)
    values: dict[str, Any] = {
        "shelf": gallery.shelf(person.folder, rows, names, page, portraits.similarities(person.folder)),
        "every": [s for s in portraits.series(person.folder) if not s.name.endswith("-base")],
        "series": series,
        "kind": kind,
        "liked": liked,
        "favourites": len(names),
        "active": active,
        "failed": failed if failed and str(failed.state) == "failed" else None,
        "adapter": (person.folder / "adapters" / config.run / "adapter.safetensors").is_file(),
        "drawable": gallery.drawable(person.folder, config),
        "per_shot": config.generate.per_shot,
        "formats": downloads.FORMATS,
    }
    return render_of(request, "portraits.html.j2", person, "portraits", **values)


@router.get("/people/{id}/portraits/more")
def more(
    request: Request,
    person: PersonToRead,
    series: SeriesName = "",
    kind: Kind = "",
    liked: bool = False,
    page: Page = 1,
) -> HTMLResponse:
    """The tiles of a further page."""
    rows, names = _rows(request, person, series, kind, liked)
    shelf = gallery.shelf(person.folder, rows, names, page, portraits.similarities(person.folder))
    tiles = () if page > shelf.pages else shelf.tiles
    return render(request, "portraits_tiles.html.j2", person=person, tiles=tiles)


@router.post("/people/{id}/portraits/{picture}/like")
def like(request: Request, person: PersonToChange, picture: PictureId, body: Like) -> JSONResponse:
    """Make a picture a favourite, or no longer one."""
    names = favourites.mark(
        request.app.state.studio.home, person.id, picture_of(person, picture).file, body.liked
    )
    return JSONResponse({"favourites": len(names)})


@router.post("/people/{id}/portraits/draw")
def draw(request: Request, person: PersonToChange, user: Member, body: Draw) -> JSONResponse:
    """Draw a series: a shipped one, or one of the person's own."""
    config = training.resolved(person.folder)
    known = {one.name: one for one in gallery.drawable(person.folder, config)}
    if body.series not in known:
        raise InputError("no such series", where="series", got=body.series, needed=", ".join(known))
    if known[body.series].why_not:
        raise InputError(
            "this series cannot be drawn with this base", where=body.series, got=known[body.series].why_not
        )
    if body.per_shot and body.per_shot != config.generate.per_shot:
        settings.set_one(person.folder, "generate.per_shot", body.per_shot)  # measuring has to know it too
    arguments = {"series": gallery.series_argument(person.folder, body.series)}
    job = request.app.state.queue.submit("generate", person.folder, arguments, owner=person.owner)
    return JSONResponse({"id": job.id}, status_code=202)


@router.get("/people/{id}/portraits/compare")
def compare(
    request: Request,
    person: PersonToRead,
    a: Annotated[str, Query(pattern=r"^[a-z2-7]{16}$")],
    b: Annotated[str, Query(pattern=r"^[a-z2-7]{16}$")],
) -> HTMLResponse:
    """Two pictures side by side, and under one handle where they are of one size."""
    names = favourites.read(request.app.state.studio.home, person.id)
    known = portraits.similarities(person.folder)
    tiles = [gallery.tile(person.folder, picture_of(person, one), names, known) for one in (a, b)]
    return render_of(request, "portraits_compare.html.j2", person, "portraits", tiles=tiles)


@router.post("/people/{id}/portraits/zip")
def take_away(
    request: Request,
    person: PersonToChange,
    picture: Annotated[list[str], Form()] = [],  # noqa: B006
    series: Annotated[str, Form(max_length=200)] = "",
    what: Annotated[Literal["chosen", "favourites", "all"], Form()] = "chosen",
    wanted: Annotated[DownloadFormat, Form(alias="format")] = "original",
) -> Response:
    """The chosen pictures, the favourites or all of them as one zip in a chosen format."""
    rows, names = _rows(request, person, series, "", False)
    if what == "favourites":
        rows = [one for one in rows if one.file in names]
    elif what == "chosen":
        chosen = set(picture)
        rows = [one for one in rows if one.id in chosen]
    stream = downloads.zip_stream(person.folder, rows, wanted)
    headers = {"Content-Disposition": f'attachment; filename="{person.id}-portraits.zip"'}
    return StreamingResponse(stream, media_type="application/zip", headers=headers)
