"""A studio behind a real port, and a browser page that has signed in: for tests of pages."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI

from portrait_lora.web.app import create_app
from portrait_lora.web.studio import Studio
from portrait_lora.web.web_settings import WebSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "start-token-of-the-tests-0123456789abcdef"
SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class OpenStudio:
    """A running studio; no job of it runs unless its settings say so."""

    app: FastAPI
    address: str

    @property
    def studio(self) -> Studio:
        return self.app.state.studio

    def sign_in(self, page: Page) -> None:
        """With the link of this start, to the first page."""
        page.goto(f"{self.address}/sign-in?token={TOKEN}")
        page.wait_for_url(f"{self.address}/")


@contextmanager
def open_studio(home: Path, **settings: Any) -> Iterator[OpenStudio]:
    """Serve a studio on a free port of this machine until the end of the block."""
    values: dict[str, Any] = {"runs_jobs": False, **settings}
    app = create_app(home, WebSettings(token=TOKEN, **values))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield OpenStudio(app, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def findings(page: Page) -> list[str]:
    """What axe has against a page, of what is serious."""
    from axe_playwright_python.sync_playwright import Axe

    report = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for one in report
        if one["impact"] in SERIOUS
        for node in one["nodes"][:3]
    ]


def too_wide(page: Page) -> str:
    """What of a page is wider than its window; empty when all fits."""
    return page.evaluate(
        """() => {
          const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
          return wide > 0 ? `${wide} px` : "";
        }"""
    )
