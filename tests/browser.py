"""Pages in a headless Chromium that Playwright drives: `browser_page`.

Chromium is Debian's; Playwright brings none.  Without one a test is skipped, and fails where CI runs.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from tests.lacking import lacking

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)


def widths(page: Page) -> tuple[int, int]:
    """How wide the content of a page is, and the window it is shown in, in CSS pixels."""
    root = "document.documentElement"
    return page.evaluate(f"[{root}.scrollWidth, {root}.clientWidth]")


@dataclass(frozen=True)
class Window:
    """What a page is looked at with.

    Another one for a test: `@pytest.mark.parametrize("browser_page", [Window(390)], indirect=True, ids=str)`.
    """

    width_px: int = 1280
    height_px: int = 900
    scheme: Literal["light", "dark"] = "light"
    script: bool = True

    def __str__(self) -> str:
        return f"{self.width_px}px-{self.scheme}{'' if self.script else '-noscript'}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program."""
    if BROWSER is None:
        lacking("Chromium")
    return BROWSER


@pytest.fixture(scope="session")
def chromium_session(chromium: str) -> Iterator[Session]:
    """One Chromium for all tests of a process; it starts with the first that asks for it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        session = Session(browser, asyncio._get_running_loop())
        asyncio._set_running_loop(None)
        yield session
        with session.driving():
            browser.close()
        asyncio._set_running_loop(session.loop)


@pytest.fixture
def page_troubles() -> list[str]:
    """What went wrong on the pages of `browser_page`: a test that means it to looks, and clears the list."""
    return []


@pytest.fixture
def browser_page(
    request: pytest.FixtureRequest, chromium_session: Session, page_troubles: list[str]
) -> Iterator[Page]:
    """A page in a context of its own, as wide as the `Window` that is the parameter.

    What goes wrong on it fails the test, see `watched`.  More pages of the same context:
    `browser_page.context.new_page()`.
    """
    with chromium_session.watched(getattr(request, "param", Window()), page_troubles) as page:
        yield page


@dataclass(frozen=True)
class Session:
    """A running Chromium, and the event loop of Playwright that drives it."""

    browser: Browser
    loop: asyncio.AbstractEventLoop | None

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Playwright's loop counts as the running one: else no test after the first could use asyncio."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    @contextmanager
    def watched(self, window: Window, troubles: list[str]) -> Iterator[Page]:
        """A page in a new context; `troubles` of it at the end are an AssertionError.

        Those are errors of scripts, lines on the console that report one, answers from 400 on, and requests
        without an answer.
        """
        with self.driving():
            context = self.browser.new_context(
                viewport={"width": window.width_px, "height": window.height_px},
                color_scheme=window.scheme,
                java_script_enabled=window.script,
            )
            context.set_default_timeout(15_000)
            _watch(context, troubles)
            try:
                yield context.new_page()
            finally:
                context.close()
        assert not troubles, "; ".join(troubles)


def _watch(context: BrowserContext, troubles: list[str]) -> None:
    """Keep in `troubles` what no page should do; a failed answer is listed once, with its address."""
    context.on("weberror", lambda e: troubles.append(f"error: {e.error}"))
    context.on(
        "console",
        lambda m: (
            troubles.append(f"console: {m.text}")
            if m.type == "error" and not m.text.startswith("Failed to load resource")
            else None
        ),
    )
    context.on("response", lambda r: troubles.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    # a request that is dropped because the page is left is none that failed
    context.on(
        "requestfailed",
        lambda r: troubles.append(f"{r.failure}: {r.url}") if r.failure != "net::ERR_ABORTED" else None,
    )
