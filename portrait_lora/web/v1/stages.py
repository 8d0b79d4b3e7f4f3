"""Work on a person that takes time: each begins a job and answers 202 with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Body, Depends, Request, Response
from pydantic import BaseModel

from portrait_lora.jobs import arguments as args
from portrait_lora.web.permissions import Member, PersonToChange
from portrait_lora.web.studio import Person
from portrait_lora.web.users import User
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import begin
from portrait_lora.web.v1.routing import IdempotencyKey
from portrait_lora.web.v1.routing import router as new_router

router = new_router("work")
ACCEPTED = 202
_CHECK, _STAGE, _GENERATE, _SCORE = args.Arguments(), args.Stage(), args.Generate(), args.Score()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that begins a job for a person."""

    request: Request
    response: Response
    person: Person
    user: User
    key: str

    def begin(self, kind: str, body: BaseModel, **more: object) -> shapes.Job:
        """Put the job into the queue, with the fields of `body` that were sent, and `more`."""
        arguments = body.model_dump(mode="json", exclude_unset=True) | more
        return begin(self.request, self.response, self.user, self.person, kind, arguments, self.key)


def _call(
    request: Request, response: Response, person: PersonToChange, user: Member, key: IdempotencyKey
) -> Call:
    return Call(request, response, person, user, key)


ForPerson = Annotated[Call, Depends(_call)]


@router.post("/likenesses/{id}/check", status_code=ACCEPTED)
def check(call: ForPerson, body: Annotated[args.Arguments, Body()] = _CHECK) -> shapes.Job:
    """Look at every photo: face, person, sharpness, light; what is missing among them."""
    return call.begin("check", body)


@router.post("/likenesses/{id}/prepare", status_code=ACCEPTED)
def prepare(call: ForPerson, body: Annotated[args.Stage, Body()] = _STAGE) -> shapes.Job:
    """Hold some photos out for scoring; crop and caption the others."""
    return call.begin("prepare", body)


@router.post("/likenesses/{id}/train", status_code=ACCEPTED)
def train(call: ForPerson, body: Annotated[args.Stage, Body()] = _STAGE) -> shapes.Job:
    """Train the LoRA and choose its checkpoint.  Photographs need a recorded consent."""
    return call.begin("train", body)


@router.post("/likenesses/{id}/generate", status_code=ACCEPTED)
def generate(call: ForPerson, body: Annotated[args.Generate, Body()] = _GENERATE) -> shapes.Job:
    """Draw a series, or prompts in one's own words."""
    return call.begin("generate", body)


@router.post("/likenesses/{id}/score", status_code=ACCEPTED)
def score(call: ForPerson, body: Annotated[args.Score, Body()] = _SCORE) -> shapes.Job:
    """Measure the likeness of the portraits that were drawn last."""
    return call.begin("score", body)


@router.post("/likenesses/{id}/run", status_code=ACCEPTED)
def run(call: ForPerson, body: Annotated[args.Stage, Body()] = _STAGE) -> shapes.Job:
    """Everything from check to score.  Photographs need a recorded consent."""
    return call.begin("run", body)
