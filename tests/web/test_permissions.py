"""Denied by default: every route of the application, without a user and with the wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.testclient import TestClient

from portrait_lora.web import permissions
from portrait_lora.web.origin import SAFE_METHODS
from portrait_lora.web.permissions import (
    ANYBODY,
    DeclaredRoute,
    Member,
    PersonToRead,
    Reader,
    declared_routes,
    require_declarations,
)
from portrait_lora.web.safety import PUBLIC, SIGN_OUT
from portrait_lora.web.studio import Person
from tests.web.conftest import PAGE, anonymous, browser
from tests.web.team import person_of_ben, team


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> tuple[FastAPI, Person, str]:
    """The team's studio, a person and a job of ben's."""
    app = team(tmp_path_factory.mktemp("team"))
    person = person_of_ben(app)
    return app, person, app.state.queue.submit("check", person.folder, owner="ben").id


def address(route: DeclaredRoute, person: Person, job: str) -> str:
    """The address of a route, about ben's person or job; other parts are words that name nothing."""
    of_job = re.match(r"/(v1/)?jobs/\{id", route.path)
    named = re.sub(r"\{id(:\w+)?\}", job if of_job else person.id, route.path)
    return re.sub(r"\{\w+(:\w+)?\}", "aaaaaaaaaaaaaaaa", named)


def calls(app: FastAPI, person: Person, job: str) -> Iterator[tuple[DeclaredRoute, str, str]]:
    """(route, method, address) of all there is."""
    for route in declared_routes(app):
        for method in route.methods:
            yield route, method, address(route, person, job)


def status(client: TestClient, method: str, place: str) -> int:
    """What the route answers; an endless stream of events counts when it begins."""
    with client.stream(method, place) as answer:
        return answer.status_code


def test_without_a_user_nothing_answers_but_the_sign_in(studio: tuple[FastAPI, Person, str]) -> None:
    app = studio[0]
    client = anonymous(app)
    seen = 0
    for route, method, place in calls(*studio):
        if permissions.anybody in route.calls:
            assert route.path in PUBLIC, f"{route.path}: open to anybody, but not in the list of what is"
            continue
        seen += 1
        assert client.request(method, place).status_code == 401, f"{method} {place}"
        if method == "GET":
            answer = client.get(place, headers=PAGE)
            leads = answer.headers.get("location") == "/sign-in"
            assert leads or answer.status_code == 401, f"{method} {place}"
    assert seen > 1


def test_somebody_elses_person_or_job_is_not_there(studio: tuple[FastAPI, Person, str]) -> None:
    for name in ("cleo", "eve"):
        client = browser(studio[0], name)
        for route, method, place in calls(*studio):
            if "{id}" in route.path:
                wanted = (404,) if name == "cleo" or method in SAFE_METHODS else (403, 404)
                assert status(client, method, place) in wanted, f"{name}: {method} {place}"


def test_a_viewer_changes_nothing(studio: tuple[FastAPI, Person, str]) -> None:
    for name in ("dan", "eve"):
        client = browser(studio[0], name)
        for route, method, place in calls(*studio):
            if method not in SAFE_METHODS and route.path not in (SIGN_OUT, "/sign-in"):
                assert client.request(method, place).status_code == 403, f"{name}: {method} {place}"


def test_who_may_look_and_who_may_change_gets_past_the_permissions(
    studio: tuple[FastAPI, Person, str],
) -> None:
    """The tests above would pass if everything were refused to everybody."""
    app, person, _ = studio
    for name in ("ann", "ben", "dan"):
        user = app.state.accounts.users.find(name)
        assert app.state.studio.person(user, person.id) == person
    for name, places in (("ben", ("/",)), ("dan", ("/",))):
        client = browser(app, name)
        assert all(client.get(place, headers=PAGE).status_code in (200, 404) for place in places)


def test_a_get_changes_nothing(studio: tuple[FastAPI, Person, str]) -> None:
    """A link on another page may lead to any of them.  Doctor and plan take seconds, and only look."""
    app = studio[0]
    home = app.state.studio.home

    def state() -> dict[str, tuple[int, int]]:
        passing = ("cache", "audit.jsonl", "jobs.sqlite-wal", "jobs.sqlite-shm")
        files = [path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        kept = [path for path in files if path.relative_to(home).parts[0] not in passing]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}

    before, client = state(), browser(app, "ben")
    for route, method, place in calls(*studio):
        if method in SAFE_METHODS and not set(route.path.split("/")) & {"events", "doctor", "plan"}:
            assert client.request(method, place, headers=PAGE).status_code < 500, f"{method} {place}"
    assert state() == before


@pytest.mark.parametrize(
    "kind", ["nobody", "viewer writes", "whose person", "reader changes", "whose job", "mount"]
)
def test_a_route_that_declares_too_little_keeps_the_server_from_starting(app: FastAPI, kind: str) -> None:
    router = APIRouter()

    def nobody() -> None: ...
    def reader(user: Reader) -> None: ...
    def member(user: Member) -> None: ...
    def of_person(person: PersonToRead, user: Member) -> None: ...

    require_declarations(app)
    if kind == "nobody":
        router.get("/new")(nobody)
    elif kind == "viewer writes":
        router.post("/new")(reader)
    elif kind == "whose person":
        router.get("/people/{id}/new")(reader)
    elif kind == "reader changes":
        router.delete("/people/{id}/new")(of_person)
    elif kind == "whose job":
        router.post("/v1/jobs/{id}/new")(member)
    else:
        app.mount("/files", lambda: Response())  # type: ignore[arg-type]
    app.include_router(router)
    with pytest.raises(RuntimeError, match=r"new|files"):
        require_declarations(app)


def test_a_route_open_to_anybody_still_needs_to_be_in_the_list(app: FastAPI) -> None:
    router = APIRouter()

    @router.get("/open", dependencies=[ANYBODY])
    def opened() -> None: ...

    app.include_router(router)
    assert anonymous(app).get("/open").status_code == 401
    assert isinstance(Path(app.state.studio.home), Path)
