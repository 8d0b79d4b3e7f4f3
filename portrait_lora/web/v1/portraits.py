"""Pictures that were drawn: by series, one by one, their files, and many as a zip."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from starlette.responses import StreamingResponse

from portrait_lora.web import paging
from portrait_lora.web.permissions import PersonToRead
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import downloads, portraits, reports
from portrait_lora.web.services.downloads import DownloadFormat
from portrait_lora.web.studio import Person
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.edits import PictureId, picture_of
from portrait_lora.web.v1.parts import Cursor, Limit
from portrait_lora.web.v1.routing import router as new_router

router = new_router("portraits")
SeriesName = Annotated[str, Query(max_length=200, description="only of this series")]
Kind = Annotated[Literal["", "portrait", "edit", "finished"], Query(description="only of this kind")]
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _fields(person: Person, one: portraits.Drawn, known: portraits.Similarities) -> dict[str, object]:
    details = portraits.details(person.folder, one, known)
    return {
        "id": one.id,
        "name": one.name,
        "series": one.series,
        "kind": one.kind,
        "look": one.look,
        "size_px": list(details.size_px) if details.size_px else None,
        "prompt": details.prompt,
        "seed": details.seed,
        "similarity": details.similarity,
        "digital_source_type": details.source,
        "picture": f"/pictures/{person.id}/{one.id}",
        "file": f"/v1/likenesses/{person.id}/portraits/{one.id}/file",
        "history": [dict(step) for step in details.history],
    }


@router.get("/likenesses/{id}/series")
def list_series(person: PersonToRead) -> shapes.SeriesList:
    """The series that were drawn, with their numbers of pictures."""
    rows = portraits.series(person.folder)
    items = [
        shapes.Series(name=r.name, portraits=r.portraits, edits=r.edits, finished=r.finished) for r in rows
    ]
    return shapes.SeriesList(items=items)


@router.get("/likenesses/{id}/portraits")
def list_portraits(
    person: PersonToRead,
    series: SeriesName = "",
    kind: Kind = "",
    cursor: Cursor = "",
    limit: Limit = paging.LIMIT,
) -> shapes.PicturePage:
    """Portraits, edits and finished pictures, by folder and name."""
    rows = portraits.drawn(person.folder, series, kind)
    shown, following = paging.page(rows, lambda one: one.file, cursor, limit)
    known = portraits.similarities(person.folder)
    items = [
        shapes.Picture.model_validate(
            {k: v for k, v in _fields(person, one, known).items() if k != "history"}
        )
        for one in shown
    ]
    return shapes.PicturePage(items=items, next=following)


@router.get("/likenesses/{id}/portraits/{picture}")
def get_portrait(person: PersonToRead, picture: PictureId) -> shapes.PictureDetails:
    """One picture, and every step of how it was made."""
    one = picture_of(person, picture)
    return shapes.PictureDetails.model_validate(_fields(person, one, portraits.similarities(person.folder)))


@router.get(
    "/likenesses/{id}/portraits/{picture}/file",
    response_class=Response,
    responses={200: {"content": dict.fromkeys(downloads.MEDIA.values(), _BINARY)}},
)
def get_portrait_file(
    person: PersonToRead, picture: PictureId, format: DownloadFormat = "original"
) -> Response:
    """The file: as it is with its record, or a copy for publication, which keeps only the mark."""
    one = picture_of(person, picture)
    try:
        data, suffix = downloads.file_bytes(person.folder / one.file, format)
    except FileNotFoundError as error:
        raise NotFound("no such picture", where=picture) from error
    headers = {"Content-Disposition": f'attachment; filename="{one.id}{suffix}"'}
    return Response(data, media_type=downloads.MEDIA[suffix], headers=headers)


@router.get(
    "/likenesses/{id}/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": _BINARY}}},
)
def download_pictures(
    person: PersonToRead,
    series: SeriesName = "",
    kind: Kind = "",
    picture: Annotated[list[PictureId], Query(description="only these pictures")] = [],  # noqa: B006
    format: DownloadFormat = "original",
) -> Response:
    """Pictures as one zip, as they are or as copies for publication in a chosen format."""
    rows = portraits.drawn(person.folder, series, kind)
    if picture:
        known = {one.id: one for one in rows}
        missing = [one for one in picture if one not in known]
        if missing:
            raise NotFound("no such picture", where=missing[0])
        rows = [known[one] for one in dict.fromkeys(picture)]
    stream = downloads.zip_stream(person.folder, rows, format)
    headers = {"Content-Disposition": f'attachment; filename="{person.id}.zip"'}
    return StreamingResponse(stream, media_type="application/zip", headers=headers)


@router.get("/likenesses/{id}/report")
def get_report(person: PersonToRead) -> shapes.Report:
    """The drift report: likeness as a whole, prompt by prompt and portrait by portrait."""
    return shapes.Report(report=reports.drift(person.folder))


@router.get("/likenesses/{id}/summary")
def get_summary(person: PersonToRead) -> shapes.Report:
    """The figures of the whole journey, as in `reports/run.json`."""
    return shapes.Report(report=reports.summary(person.folder))


@router.get("/likenesses/{id}/verdicts")
def get_verdicts(person: PersonToRead) -> shapes.Report:
    """What the last check says: every photo's findings, coverage of views, and advice."""
    return shapes.Report(report=reports.check(person.folder))
