"""The studio in process: a browser that has signed in, and a program with a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from portrait_lora.web.app import create_app
from portrait_lora.web.permissions import require_declarations
from portrait_lora.web.web_settings import WebSettings
from tests.web.more_routes import with_routes

ORIGIN = "http://127.0.0.1:8000"
TOKEN = "start-token-of-the-tests-0123456789abcdef"
PAGE = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def anonymous(app: FastAPI) -> TestClient:
    """A client that has not signed in."""
    return TestClient(app, base_url=ORIGIN, follow_redirects=False)


def program(app: FastAPI, token: str = TOKEN) -> TestClient:
    """A program with a token."""
    client = anonymous(app)
    client.headers["authorization"] = f"Bearer {token}"
    return client


def browser(app: FastAPI, user: str = "owner") -> TestClient:
    """A browser of that user's after the sign-in, which sends what browsers send from our own pages."""
    client, accounts = anonymous(app), app.state.accounts
    cookie = accounts._sessions.open(user)
    client.cookies.set(accounts.cookie, cookie)
    client.headers.update(
        {
            "origin": ORIGIN,
            "sec-fetch-site": "same-origin",
            "x-csrf-token": accounts._sessions.find(cookie).csrf,
        }
    )
    return client


@pytest.fixture(scope="session", autouse=True)
def _looked_over_once() -> Iterator[None]:
    """All studios have the same routes: those of the first in a process are looked over, in half a second."""
    pending = [True]

    def look_over(app: FastAPI) -> None:
        if pending:
            require_declarations(app)
            pending.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portrait_lora.web.app.require_declarations", look_over)
        yield


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """A studio of the owner alone, in which no job runs."""
    return create_app(tmp_path / "studio", WebSettings(token=TOKEN, runs_jobs=False))


@pytest.fixture
def page(app: FastAPI) -> TestClient:
    """The owner's browser."""
    return browser(app)


@pytest.fixture
def api(app: FastAPI) -> TestClient:
    """The owner's program."""
    return program(app)


@pytest.fixture
def routes(app: FastAPI) -> FastAPI:
    """The application with them."""
    return with_routes(app)


@pytest.fixture(autouse=True)
def machine_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor is a program of its own that takes seconds."""
    from portrait_lora.web.services import catalog

    monkeypatch.setattr(catalog, "_doctor", lambda: [catalog.MachineCheck("python", "ok", "3.11", "")])
    monkeypatch.setattr(catalog, "_seen", {})
