"""Photos in pieces: begin with size and sha256, add at an offset, complete; at any pace, from any line."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from portrait_lora.web import resumable as unfinished
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead, Reader
from portrait_lora.web.problems import Refused, TooLarge, WrongKind
from portrait_lora.web.resumable import Upload
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import UploadStore
from portrait_lora.web.v1.photos import receive
from portrait_lora.web.v1.routing import IdempotencyKey
from portrait_lora.web.v1.routing import router as new_router

router = new_router("photos")
UploadId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]
PIECE = "application/offset+octet-stream"


def _shape(upload: Upload) -> shapes.UploadInfo:
    return shapes.UploadInfo(
        id=upload.id, name=upload.name, size=upload.size, sha256=upload.sha256, offset=upload.offset,
        created=upload.created, largest_piece=unfinished.MAX_CHUNK,
    )  # fmt: skip


@router.get("/likenesses/{id}/uploads")
def list_uploads(person: PersonToRead, user: Reader, store: UploadStore) -> shapes.UploadList:
    """Files of a person that were begun and not completed."""
    return shapes.UploadList(items=[_shape(one) for one in store.list(user.name, person.id)])


@router.post("/likenesses/{id}/uploads", status_code=201)
def begin_upload(
    response: Response,
    person: PersonToChange,
    user: Member,
    store: UploadStore,
    key: IdempotencyKey,
    body: shapes.NewUpload,
) -> shapes.UploadInfo:
    """Announce a file; nothing of it is sent yet.  One that is too large is refused here."""
    upload = store.begin(user.name, person.id, body.name, body.size, body.sha256)
    response.headers["Location"] = f"/v1/likenesses/{person.id}/uploads/{upload.id}"
    return _shape(upload)


@router.get("/likenesses/{id}/uploads/{upload}")
def get_upload(person: PersonToRead, user: Reader, store: UploadStore, upload: UploadId) -> shapes.UploadInfo:
    """Where to go on: the next piece begins at `offset`."""
    return _shape(store.get(user.name, person.id, upload))


@router.patch(
    "/likenesses/{id}/uploads/{upload}",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add_to_upload(
    request: Request,
    person: PersonToChange,
    user: Member,
    store: UploadStore,
    upload: UploadId,
    offset: Annotated[
        int, Header(alias="Upload-Offset", ge=0, le=2**53, description="where this piece begins")
    ],
) -> shapes.UploadInfo:
    """One piece of at most 16 MiB.  One that does not begin at `offset` is a conflict that says where to.

    A piece that is there already with the same bytes is fine: its answer was lost.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != PIECE:
        raise WrongKind("a piece of a file", where="Content-Type", got=kind, needed=PIECE)
    known = await run_in_threadpool(store.get, user.name, person.id, upload)
    data = await _piece(request)
    return _shape(await run_in_threadpool(store.add, known, offset, data))


async def _piece(request: Request) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > unfinished.MAX_CHUNK:
        raise _too_large(int(length))
    data = bytearray()
    async for block in request.stream():
        data += block
        if len(data) > unfinished.MAX_CHUNK:
            raise _too_large(len(data))
    if not data:
        raise Refused("an empty piece", where="body", needed="1 byte at least")
    return bytes(data)


def _too_large(got: int) -> TooLarge:
    return TooLarge(
        "this piece is too large", got=f"{got} bytes", needed=f"at most {unfinished.MAX_CHUNK} bytes",
        remedy="Send the file in smaller pieces.",
    )  # fmt: skip


@router.post("/likenesses/{id}/uploads/{upload}/complete", status_code=201)
def complete_upload(
    person: PersonToChange, user: Member, store: UploadStore, upload: UploadId
) -> shapes.Received:
    """All of it is here: it becomes a photo, if its sha256 is right and it is a picture."""
    known = store.get(user.name, person.id, upload)
    part = store.whole(known)
    try:
        return receive(person, known.name, part)
    finally:
        if not part.exists():  # it became a photo, or it never will
            store.remove(known)


@router.delete("/likenesses/{id}/uploads/{upload}", status_code=204)
def delete_upload(person: PersonToChange, user: Member, store: UploadStore, upload: UploadId) -> Response:
    """Give it up."""
    store.remove(store.get(user.name, person.id, upload))
    return Response(status_code=204)
