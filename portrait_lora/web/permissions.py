"""Who may call a route, declared by the route itself; one without it keeps the server from starting.

    @router.get("/people/{id}/photos")
    def photos(person: PersonToRead) -> Response: ...

    @router.post("/people/{id}/photos")
    def add(person: PersonToChange, user: Member) -> Response: ...

A person or a job of somebody else's is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from portrait_lora.errors import InputError
from portrait_lora.jobs.job import Job
from portrait_lora.web.origin import SAFE_METHODS
from portrait_lora.web.problems import Forbidden, NotFound, NotSignedIn
from portrait_lora.web.services.fleets import Fleet, Fleets
from portrait_lora.web.studio import Person, Studio
from portrait_lora.web.users import Role, User

_ID: Final = r"^[a-z0-9-]{1,64}$"
_MEANT_FOR_PERSONS: Final = ("/people/{id}", "/v1/likenesses/{id}", "/pictures/{id}")
_MEANT_FOR_JOBS: Final = ("/v1/jobs/{id}", "/jobs/{id}")
_MEANT_FOR_FLEETS: Final = ("/v1/fleets/{fleet}", "/fleet/{fleet}")


class Needs:
    """A dependency that gives the user, who has at least this role.  Raises `NotSignedIn` or `Forbidden`."""

    def __init__(self, role: Role):
        self.role = role

    def __call__(self, request: Request) -> User:
        user = getattr(request.state, "user", None)
        if not isinstance(user, User):
            raise NotSignedIn("you are not signed in")
        if user.role < self.role:
            raise Forbidden("your role does not allow this", needed=self.role.name.lower())
        return user


def anybody() -> None:
    """Declares a route that answers without a sign-in; its address has to be in `safety.PUBLIC` too."""


ANYBODY: Final = Depends(anybody)
Reader = Annotated[User, Depends(Needs(Role.VIEWER))]
Member = Annotated[User, Depends(Needs(Role.MEMBER))]
Admin = Annotated[User, Depends(Needs(Role.ADMIN))]


def current_studio(request: Request) -> Studio:
    """The studio that this server shows."""
    return request.app.state.studio


def current_user(request: Request) -> User:
    """Who sends this request.  Raises `NotSignedIn`."""
    return Needs(Role.VIEWER)(request)


Id = Annotated[str, Path(pattern=_ID, description="id of a person or a job")]


def person_to_read(id: Id, request: Request, user: Reader) -> Person:
    """The person `{id}`, when the user may look at them.  Raises `NotFound`."""
    return current_studio(request).person(user, id)


def person_to_change(id: Id, request: Request, user: Member) -> Person:
    """The person `{id}`, when the user may change them.  Raises `NotFound` or `Forbidden`."""
    return current_studio(request).person(user, id, change=True)


def job_to_read(id: Id, request: Request, user: Reader) -> Job:
    """The job `{id}`, when the user may look at it.  Raises `NotFound`."""
    return _job(request, user, id, change=False)


def job_to_change(id: Id, request: Request, user: Member) -> Job:
    """The job `{id}`, when the user may cancel, resume or move it.  Raises `NotFound` or `Forbidden`."""
    return _job(request, user, id, change=True)


def fleets_of(request: Request) -> Fleets:
    """The fleets of the studio."""
    return request.app.state.fleets


def fleet_to_read(
    fleet: Annotated[str, Path(pattern=_ID, description="id of a fleet")], request: Request, user: Reader
) -> Fleet:
    """The fleet `{fleet}` with those of its people whom the user may look at.  Raises `NotFound`."""
    return fleets_of(request).one(user, fleet, request.app.state.queue)


PersonToRead = Annotated[Person, Depends(person_to_read)]
PersonToChange = Annotated[Person, Depends(person_to_change)]
JobToRead = Annotated[Job, Depends(job_to_read)]
JobToChange = Annotated[Job, Depends(job_to_change)]
FleetToRead = Annotated[Fleet, Depends(fleet_to_read)]
_PERSON: Final = (person_to_read, person_to_change)
_JOB: Final = (job_to_read, job_to_change)
_FLEET: Final = (fleet_to_read,)
_MEANT: Final = (
    (_MEANT_FOR_PERSONS, _PERSON, "person"),
    (_MEANT_FOR_JOBS, _JOB, "job"),
    (_MEANT_FOR_FLEETS, _FLEET, "fleet"),
)
"""Addresses, and the dependencies that look whose it is; the last ones may change it."""


def _job(request: Request, user: User, id: str, *, change: bool) -> Job:
    try:
        job = request.app.state.queue.get(id)
    except InputError as error:
        raise NotFound("no such job", where=id) from error
    if not user.may_read(job.owner):
        raise NotFound("no such job", where=id)
    if change and not user.may_change(job.owner):
        raise Forbidden("this job is somebody else's", where=id)
    return job


def require_declarations(app: FastAPI) -> None:
    """Raise `RuntimeError` for a route that does not say who may call it, or says too little.

    A write needs a member at least; addresses of a person or a job need the dependencies above.
    """
    for route in declared_routes(app):
        roles = [call.role for call in route.calls if isinstance(call, Needs)]
        if anybody in route.calls:
            continue
        if not roles:
            raise RuntimeError(f"{route.path}: declares nobody who may call it (web/permissions.py)")
        if route.is_write and max(roles) < Role.MEMBER and route.path != "/sign-out":
            raise RuntimeError(f"{route.path}: a write for which no member is needed")
        for starts, wanted, kind in _MEANT:
            needed = set(wanted[1:] if route.is_write else wanted)
            if route.path.startswith(starts) and not needed & set(route.calls):
                raise RuntimeError(f"{route.path}: does not look whose {kind} it is (web/permissions.py)")


@dataclass(frozen=True, slots=True)
class DeclaredRoute:
    """A route with its whole path, and the functions that it depends on."""

    path: str
    methods: tuple[str, ...]
    calls: tuple[Any, ...]

    @property
    def is_write(self) -> bool:
        return bool(set(self.methods) - SAFE_METHODS)


def declared_routes(app: FastAPI) -> Iterator[DeclaredRoute]:
    """Every route but the files of `/static`.  Raises `RuntimeError` for one that can declare nothing."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, Mount) and route.path == "/static":
            continue
        if not isinstance(route.original_route, APIRoute):
            raise RuntimeError(f"{route.path}: not a route that declares who may call it")
        yield DeclaredRoute(
            str(route.path), tuple(sorted(route.methods or ())), tuple(_calls(route.dependant))
        )


def _calls(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
