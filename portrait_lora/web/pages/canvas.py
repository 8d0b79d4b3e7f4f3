"""The canvas of one portrait: a part drawn again by region or brush, layers, history, looks, variations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from portrait_lora.jobs.arguments import MOST_MASK
from portrait_lora.web.pages.portraits import PictureId, picture_of
from portrait_lora.web.pages.shared import render_of
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import book, favourites, gallery, history, jobs, portraits, training, work
from portrait_lora.web.services.series import packaged_looks

router = APIRouter(include_in_schema=False)
KINDS = ("fix", "vary", "finish")
REGIONS = ("eyes", "face", "skin", "hair", "background")
Words = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
Changes = Annotated[dict[str, Words], Field(max_length=20)]
Strength = Annotated[float, Field(ge=0.05, le=1.0)]


class Fix(BaseModel):
    """A region or a painted mask that is to be drawn again."""

    model_config = ConfigDict(extra="forbid")

    region: Literal["eyes", "face", "skin", "hair", "background", ""] = ""
    mask_png: Annotated[str, StringConstraints(max_length=MOST_MASK)] = ""
    strength: Strength = 0.4
    tries: Annotated[int, Field(ge=1, le=32)] = 4
    changes: Changes = {}
    keep: bool = False


class Vary(BaseModel):
    """Variations of the whole picture."""

    model_config = ConfigDict(extra="forbid")

    strength: Strength = 0.5
    count: Annotated[int, Field(ge=1, le=16)] = 4
    changes: Changes = {}


class Finish(BaseModel):
    """A finishing look."""

    model_config = ConfigDict(extra="forbid")

    look: Annotated[str, Field(min_length=1, max_length=60)]


@router.get("/people/{id}/portraits/{picture}/canvas")
def page(request: Request, person: PersonToRead, picture: PictureId) -> HTMLResponse:
    """The canvas."""
    root, one = person.folder, picture_of(person, picture)
    queue, known = request.app.state.queue, portraits.similarities(person.folder)
    names = favourites.read(request.app.state.studio.home, person.id)
    versions = history.versions(root, one)
    active = work.of_person(queue, root, KINDS)
    config = training.resolved(root)
    finished = [
        f for f in portraits.drawn(root, one.series, "finished") if f.name.startswith(f"{_stem(one.name)}-")
    ]
    values: dict[str, Any] = {
        "tile": gallery.tile(root, one, names, known),
        "one": one,
        "versions": versions,
        "chain": [
            (v, gallery.tile(root, v.picture, names, known) if v.picture else None) for v in versions.chain
        ],
        "made": [gallery.tile(root, m, names, known) for m in versions.offspring],
        "finished": [(f, gallery.tile(root, f, names, known)) for f in finished if f.look],
        "active": active,
        "last": None if active else _outcome(work.last(queue, root, KINDS), queue),
        "words": history.layers_of(root / one.file),
        "vocabulary": book.vocabulary_of(config.base),
        "labels": book.LABELS,
        "looks": packaged_looks(),
        "regions": REGIONS,
        "neighbours": _neighbours(root, one),
    }
    return render_of(request, "canvas.html.j2", person, "portraits", **values)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _neighbours(root: Any, one: portraits.Drawn) -> tuple[str, str]:
    """Ids of the picture before and after this one in its series; empty at the ends."""
    rows = [r.id for r in portraits.drawn(root, one.series, one.kind) if r.look == one.look]
    at = rows.index(one.id)
    return rows[at - 1] if at else "", rows[at + 1] if at + 1 < len(rows) else ""


def _outcome(last: work.Shown | None, queue: Any) -> dict[str, Any] | None:
    """What became of the last edit, in words: kept, refused because likeness fell, or failed."""
    if last is None or last.active:
        return None
    if str(last.state) == "failed":
        return {"tone": "bad", "words": last.error or "It failed."}
    if last.kind != "fix" or str(last.state) != "succeeded":
        return None
    result = queue.get(last.id).result or {}
    before, after = result.get("similarity_before"), result.get("similarity_after")
    figures = "" if before is None or after is None else f" Likeness {before:.3f} before, {after:.3f} after."
    if result.get("kept"):
        words = (
            "Drawn again and kept."
            if not result.get("likeness_fell")
            else "Kept as you asked, though the likeness fell."
        )
        return {"tone": "good", "words": words + figures}
    why = "the likeness fell" if result.get("refused") else "no face was picture_of in any try"
    return {
        "tone": "warn",
        "words": f"Not kept: {why}.{figures} The best try lies beside it, to be looked at.",
    }


@router.get("/people/{id}/portraits/{picture}/layer")
def layer(request: Request, person: PersonToRead, picture: PictureId) -> Response:
    """What the last edit of a picture changed, transparent everywhere else."""
    del request
    one = picture_of(person, picture)
    parent = history.versions(person.folder, one).parent
    if parent is None:
        raise NotFound("this picture was not made from another one", where=picture)
    return Response(history.layer_png(person.folder, parent, one), media_type="image/png")


@router.post("/people/{id}/portraits/{picture}/fix")
def fix(
    request: Request, person: PersonToChange, user: Member, picture: PictureId, body: Fix
) -> JSONResponse:
    """Draw a region, or what was painted, again."""
    arguments = body.model_dump(exclude_defaults=True) | {"file": picture_of(person, picture).file}
    arguments |= {"strength": body.strength, "tries": body.tries}
    arguments["changes"] = {k: v for k, v in body.changes.items() if v}
    job = jobs.submit(request.app.state.queue, user, person, "fix", arguments)
    return JSONResponse({"id": job.id}, status_code=202)


@router.post("/people/{id}/portraits/{picture}/vary")
def vary(
    request: Request, person: PersonToChange, user: Member, picture: PictureId, body: Vary
) -> JSONResponse:
    """Draw variations."""
    arguments = {"file": picture_of(person, picture).file, "strength": body.strength, "count": body.count}
    arguments["changes"] = {k: v for k, v in body.changes.items() if v}
    job = jobs.submit(request.app.state.queue, user, person, "vary", arguments)
    return JSONResponse({"id": job.id}, status_code=202)


@router.post("/people/{id}/portraits/{picture}/finish")
def finish(
    request: Request, person: PersonToChange, user: Member, picture: PictureId, body: Finish
) -> JSONResponse:
    """Finish the picture by a shipped look."""
    arguments = {"file": picture_of(person, picture).file, "look": body.look}
    job = jobs.submit(request.app.state.queue, user, person, "finish", arguments)
    return JSONResponse({"id": job.id}, status_code=202)
