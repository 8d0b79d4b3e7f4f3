"""Pictures on their way out: decoded by the safe reader and encoded anew, or a PNG that this program wrote.

`/pictures/{id}/{picture}?w=320`: `id` is the person; `w` is one of `WIDTHS`.  Smaller copies are kept in
`HOME/cache`, under a digest of what they were made from.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from PIL import Image
from starlette.responses import Response

from portrait_lora import manifest, provenance
from portrait_lora.pictures.reader import load_photo
from portrait_lora.records import PhotoEdit
from portrait_lora.rights import marks
from portrait_lora.web.permissions import PersonToRead, current_studio
from portrait_lora.web.problems import NotFound, Refused
from portrait_lora.web.studio import Person

WIDTHS: Final = (96, 160, 320, 640, 1280, 2048)
MOST_PX: Final = 4096
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MOST_CACHE_FILES: Final = 20_000
_at_work = threading.BoundedSemaphore(2)
"""A picture of 120 million pixels takes 360 MB: never many of them at once."""

router = APIRouter()


@router.get("/pictures/{id}/{picture}", include_in_schema=False)
def picture(picture: str, person: PersonToRead, request: Request, w: Annotated[int, Query()] = 0) -> Response:
    """The picture of this id, whole or reduced to `w` pixels on its longer side."""
    studio = current_studio(request)
    return serve(request, studio.picture(person, picture), studio.home / "cache", w)


def address(request: Request, person: Person, path: Path, w: int = 0) -> str:
    """Where a picture below the person's folder is shown; it changes with the file, browsers may keep it."""
    id, status = current_studio(request).picture_id(person, path), path.stat()
    version = hashlib.sha256(f"{status.st_mtime_ns} {status.st_size}".encode()).hexdigest()[:10]
    return f"/pictures/{person.id}/{id}?{f'w={w}&' if w else ''}v={version}"


def serve(
    request: Request, path: Path, cache: Path, w: int = 0, *, edit: PhotoEdit | None = None
) -> Response:
    """The answer for one file, or for a photo as it is read by `edit`.

    Raises `Refused` for another width, `UnreadablePhoto` for no picture.
    """
    if w and w not in WIDTHS:
        raise Refused("not a width", where="w", got=w, needed=", ".join(map(str, WIDTHS)))
    try:
        status = path.stat()
    except OSError as error:
        raise NotFound("no such picture", where="picture") from error
    facts = f"3 {path} {status.st_mtime_ns} {status.st_size} {w} {edit or ''}"
    key = hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()
    kept = "private, max-age=31536000, immutable" if "v" in request.query_params else "private, no-cache"
    headers = {"ETag": f'"{key[:32]}"', "Cache-Control": kept, "Content-Disposition": "inline"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if not w and edit is None and is_own_png(path):
        return Response(marks.outgoing(path, is_shown=True), headers=headers, media_type="image/png")
    data = _encoded(path, w or MOST_PX, cache / f"{key}.jpg", edit)
    return Response(data, headers=headers, media_type="image/jpeg")


def is_own_png(path: Path) -> bool:
    """Whether this is a PNG that this program wrote: one with its record beside it."""
    if path.suffix.lower() != ".png" or path.is_symlink() or not path.with_suffix(".json").is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_PNG)) == _PNG


def _encoded(path: Path, side_px: int, kept: Path, edit: PhotoEdit | None = None) -> bytes:
    if kept.is_file():
        return kept.read_bytes()
    with _at_work:
        pixels = load_photo(path, side_px, quick=side_px <= 640, edit=edit)[1]
        small, origin = Image.fromarray(pixels), marks.of_copy(path)
        is_drawn = origin.source == provenance.TRAINED and marks.is_marked_when_drawn(small.size)
        if side_px == MOST_PX and is_drawn and not marks.is_watermarked(path):
            small = marks.marked_picture(small, path.name)
        data = marks.encode(small, "JPEG", origin, quality=85, optimize=side_px <= 640)
    if side_px < MOST_PX and _has_room(kept.parent):
        manifest.write_bytes_atomic(kept, data)
    return data


def _has_room(cache: Path) -> bool:
    """Room for one more; the older half goes when it is full."""
    files = [entry for entry in os.scandir(cache) if entry.name.endswith(".jpg")] if cache.is_dir() else []
    if len(files) >= _MOST_CACHE_FILES:
        for entry in sorted(files, key=lambda one: one.stat().st_mtime)[: len(files) // 2]:
            Path(entry.path).unlink(missing_ok=True)
    return True
