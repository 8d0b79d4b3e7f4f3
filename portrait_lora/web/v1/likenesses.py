"""People: listed, added, opened as a demo, renamed and forgotten; and who is asking."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from portrait_lora.web import paging
from portrait_lora.web.permissions import Member, PersonToChange, PersonToRead, Reader, current_studio
from portrait_lora.web.problems import Refused
from portrait_lora.web.services import people
from portrait_lora.web.studio import Person
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import Cursor, Limit, queue_of, uploads_of
from portrait_lora.web.v1.routing import IdempotencyKey
from portrait_lora.web.v1.routing import router as new_router

router = new_router("likenesses")


def _shape(person: Person) -> shapes.Likeness:
    return shapes.Likeness.model_validate(people.shown(person))


@router.get("/me")
def get_me(request: Request, user: Reader) -> shapes.Me:
    """Who is asking, and what this sign-in or token may do."""
    scopes = getattr(request.state, "scopes", None) or ("read", "write")
    return shapes.Me(name=user.name, role=user.role.name.lower(), scopes=sorted(scopes))


@router.get("/likenesses")
def list_likenesses(
    request: Request, user: Reader, cursor: Cursor = "", limit: Limit = paging.LIMIT
) -> shapes.LikenessPage:
    """The people that this user may look at, by name."""
    rows = current_studio(request).people(user)
    shown, following = paging.page(rows, lambda p: f"{p.name.casefold()} {p.id}", cursor, limit)
    return shapes.LikenessPage(items=[_shape(person) for person in shown], next=following)


@router.post("/likenesses", status_code=201)
def create_likeness(
    request: Request, response: Response, user: Member, key: IdempotencyKey, body: shapes.NewLikeness
) -> shapes.Likeness:
    """Add a person.  Photos come next, then consent, then `check`."""
    person = people.create(current_studio(request), user, body.name, body.kind, body.base, body.settings)
    response.headers["Location"] = f"/v1/likenesses/{person.id}"
    return _shape(person)


class Demo(shapes.Shape):
    """Which made-up person."""

    person_seed: Annotated[int, Field(ge=0, le=9999)] = 7


_DEMO = Demo()


@router.post("/demo", status_code=201)
def open_demo(request: Request, response: Response, user: Member, body: Demo = _DEMO) -> shapes.Likeness:
    """The made-up person of this seed, with photos: everything can be tried on them without a download."""
    person = current_studio(request).open_demo(user, body.person_seed)
    response.headers["Location"] = f"/v1/likenesses/{person.id}"
    return _shape(person)


@router.get("/likenesses/{id}")
def get_likeness(person: PersonToRead) -> shapes.Likeness:
    """One person."""
    return _shape(person)


@router.delete("/likenesses/{id}")
def forget_likeness(
    request: Request,
    person: PersonToChange,
    confirm: Annotated[str, Query(max_length=64, description="the person's id once more")],
    copies: Annotated[bool, Query(description="also copies that the search found elsewhere")] = False,
) -> shapes.Forgotten:
    """Forget a person: photos, model, portraits and jobs are removed, and the receipt proves it.

    There is no way back; so the id has to be repeated in `confirm`.
    """
    if confirm != person.id:
        raise Refused(
            "forgetting a person has no way back", where="confirm", got=confirm, needed=person.id,
            remedy="Repeat the id in ?confirm= if you mean it.",
        )  # fmt: skip
    receipt: Any = people.forget(
        current_studio(request), queue_of(request), uploads_of(request), person, copies=copies
    )
    return shapes.Forgotten(id=person.id, receipt=receipt)
