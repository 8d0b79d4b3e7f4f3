"""Work on pictures that were drawn: finish, vary, fix; and two people compared.  Each begins a job."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Body
from pydantic import Field, StringConstraints

from portrait_lora.errors import InputError
from portrait_lora.jobs import arguments as args
from portrait_lora.removal import plain_name
from portrait_lora.web.permissions import current_studio
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import portraits
from portrait_lora.web.studio import Person
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.routing import router as new_router
from portrait_lora.web.v1.stages import ACCEPTED, ForPerson

router = new_router("work")
PictureId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,40}$")]


class FinishRequest(args.Arguments):
    """One picture or one series, by a look."""

    picture: PictureId | None = Field(default=None, description="id of a picture; else all of the series")
    series: Annotated[str, StringConstraints(max_length=200)] = Field(default="", description="its name")
    look: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    limit: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.02, description="likeness that one step may cost"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class VaryRequest(args.Arguments):
    """How far, and how many."""

    strength: args.Strength = Field(default=0.5, description="how much may change")
    count: Annotated[int, Field(ge=1, le=64)] = 4
    changes: args.Changes = Field(default={}, description="layer of the prompt -> other words")


_VARY = VaryRequest()


class CompareRequest(args.Arguments):
    """Against whom."""

    other: Annotated[str, StringConstraints(pattern=shapes.PERSON_ID)] = Field(description="a person's id")


@router.post("/likenesses/{id}/finish", status_code=ACCEPTED)
def finish(call: ForPerson, body: FinishRequest) -> shapes.Job:
    """Finish a picture or a whole series by a look; likeness is measured before and after every step."""
    if (body.picture is None) == (not body.series):
        raise InputError("nothing to finish", where="finish", needed="either a picture or a series")
    file = (
        picture_of(call.person, body.picture).file
        if body.picture is not None
        else f"portraits/{plain_name(body.series, where='series')}"
    )
    if not (call.person.folder / file).exists():
        raise NotFound("no such series", where=body.series)
    sent = body.model_copy(update={"picture": None})
    arguments = sent.model_dump(mode="json", exclude_unset=True, exclude={"picture", "series"})
    return call.begin("finish", args.Finish.model_validate(arguments | {"file": file}))


@router.post("/likenesses/{id}/portraits/{picture}/vary", status_code=ACCEPTED)
def vary(call: ForPerson, picture: PictureId, body: Annotated[VaryRequest, Body()] = _VARY) -> shapes.Job:
    """Variations of a picture: the same composition, changed by `strength`."""
    return call.begin("vary", body, file=picture_of(call.person, picture).file)


class FixRequest(args.Arguments):
    """Which region or which mask, and how far."""

    region: Literal["eyes", "face", "skin", "hair", "background"] | None = None
    mask_png: Annotated[str, StringConstraints(max_length=args.MOST_MASK, pattern=r"^[A-Za-z0-9+/=]*$")] = (
        Field(default="", description="instead of a region: base64 of a PNG, white where to draw again")
    )
    strength: args.Strength = Field(default=0.4, description="how much may change")
    tries: Annotated[int, Field(ge=1, le=32)] = 4
    changes: args.Changes = Field(default={}, description="layer of the prompt -> other words")
    keep: bool = Field(default=False, description="keep the best candidate even if the likeness falls")


@router.post("/likenesses/{id}/portraits/{picture}/fix", status_code=ACCEPTED)
def fix(call: ForPerson, picture: PictureId, body: FixRequest) -> shapes.Job:
    """Draw one region, or what a mask shows, again; the rest stays to the bit, the likeness must not fall."""
    if (body.region is None) == (not body.mask_png):
        raise InputError("nothing to draw again", where="fix", needed="either a region or a mask")
    return call.begin("fix", body, file=picture_of(call.person, picture).file)


@router.post("/likenesses/{id}/compare", status_code=ACCEPTED)
def compare(call: ForPerson, body: CompareRequest) -> shapes.Job:
    """The likeness of two adapters: difference and interval.  Both must have been scored."""
    other = current_studio(call.request).person(call.user, body.other)
    return call.begin("compare", args.Compare(other=str(other.folder)))


def picture_of(person: Person, picture_id: str) -> portraits.Drawn:
    """The picture with this id.  Raises `NotFound`."""
    picture = portraits.find(person.folder, picture_id)
    if picture is None:
        raise NotFound("no such picture", where=picture_id)
    return picture
