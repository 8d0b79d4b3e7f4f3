"""Captions of the training crops: changed one by one with their version, by find and replace, with undo."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path

from portrait_lora.web import paging
from portrait_lora.web.permissions import PersonToChange, PersonToRead
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import captions
from portrait_lora.web.studio import Person
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import Cursor, Limit
from portrait_lora.web.v1.routing import router as new_router

router = new_router("captions")
CaptionId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]


def _shape(person: Person, one: captions.Caption) -> shapes.Caption:
    from portrait_lora.web import ids

    picture = None
    if one.picture is not None:
        name = one.picture.relative_to(person.folder).as_posix()
        picture = f"/pictures/{person.id}/{ids.digest_id(name)}"
    return shapes.Caption(
        id=one.id,
        file=one.file,
        photo=one.photo,
        text=one.text,
        version=one.version,
        lacks_trigger=one.lacks_trigger,
        picture=picture,
    )


@router.get("/likenesses/{id}/captions")
def list_captions(
    person: PersonToRead, cursor: Cursor = "", limit: Limit = paging.LIMIT
) -> shapes.CaptionPage:
    """The captions by crop; none before the dataset is prepared."""
    shown, following = paging.page(captions.listed(person), lambda one: one.file, cursor, limit)
    return shapes.CaptionPage(items=[_shape(person, one) for one in shown], next=following)


@router.put("/likenesses/{id}/captions/{caption}")
def change_caption(
    person: PersonToChange,
    caption: CaptionId,
    body: shapes.NewCaption,
    version: Annotated[
        str, Header(alias="If-Match", pattern=r'^"?[0-9a-f]{16}"?$', description="`version` of its text")
    ],
) -> shapes.Caption:
    """Set one caption.  A conflict when somebody else changed it meanwhile: nothing is overwritten unseen."""
    if not any(one.id == caption for one in captions.listed(person)):
        raise NotFound("no such caption", where=caption)
    return _shape(person, captions.change(person, caption, body.text, version.strip('"')))


@router.post("/likenesses/{id}/captions/replace")
def replace_in_captions(person: PersonToChange, body: shapes.Replace) -> shapes.Replaced:
    """Find and replace in all captions, all or nothing; it can be undone."""
    how = {"words": body.whole_words, "case": body.match_case}
    hits = captions.matches(person, body.find, body.by, **how)
    if body.try_out or not hits:
        return shapes.Replaced(count=len(hits))
    versions = {hit.caption.id: hit.caption.version for hit in hits}
    return shapes.Replaced(count=captions.replace(person, body.find, body.by, versions, **how))


@router.post("/likenesses/{id}/captions/undo")
def undo_captions(person: PersonToChange) -> shapes.Undone:
    """Take back the last change; captions that were changed since stay as they are."""
    step = captions.undo(person)
    return shapes.Undone(label=step.label if step else "", count=step.captions if step else 0)
