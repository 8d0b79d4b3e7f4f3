"""The application: routers of pages and API, the gate before them, the queue and its runner behind them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from portrait_lora import __version__, log
from portrait_lora.errors import InputError
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.runner import Runner
from portrait_lora.web import pages as pages_of_studio
from portrait_lora.web import pictures, problems, programs, v1
from portrait_lora.web.accounts import Accounts
from portrait_lora.web.audit import Audit
from portrait_lora.web.permissions import require_declarations
from portrait_lora.web.safety import Safety
from portrait_lora.web.studio import Studio
from portrait_lora.web.v1 import docs
from portrait_lora.web.web_settings import WebSettings

STATIC: Final = Path(__file__).parent / "static"
_log = log.get(__name__)


def create_app(home: Path, settings: WebSettings | None = None) -> FastAPI:
    """The studio in `home`.  Raises `InputError` or `ConfigError` for a home or users that cannot be used.

    On `app.state`: `studio`, `queue`, `runner`, `accounts`, `audit`, `settings`, and `stopping`, an event
    that streams of events have to watch.
    """
    settings = settings or WebSettings()
    app = FastAPI(
        title="portrait_lora",
        version=__version__,
        summary="Photos of one person in; a LoRA and portraits whose likeness is measured out.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    studio = Studio(home)
    accounts = Accounts(studio.home, settings)
    for folder in settings.likenesses:
        studio.open_folder(folder)
    app.state.studio, app.state.settings, app.state.accounts = studio, settings, accounts
    app.state.audit = Audit(studio.home / "audit.jsonl")
    app.state.stopping = threading.Event()
    app.state.queue, app.state.runner = _jobs(studio.home, settings)
    programs.attach(app)
    for router in pages_of_studio.ROUTERS:
        app.include_router(router)
    for router in v1.ROUTERS:
        app.include_router(router, prefix="/v1")
    app.include_router(docs.page_router)
    app.include_router(pictures.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    problems.install(app)
    require_declarations(app)
    app.add_middleware(Safety, settings=settings, accounts=accounts, audit=app.state.audit)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Jobs run while the server does; at its end the running one saves its state."""
    runner = app.state.runner
    if runner is not None:
        try:
            await run_in_threadpool(runner.start)
        except InputError as error:  # `portrait-lora jobs work` does them
            _log.warning("this server runs no jobs: %s", error)
            runner = app.state.runner = None
    app.state.dispatcher.start()
    try:
        yield
    finally:
        app.state.stopping.set()
        await run_in_threadpool(app.state.dispatcher.stop)
        if runner is not None:
            await run_in_threadpool(runner.stop)


def _jobs(home: Path, settings: WebSettings) -> tuple[Queue, Runner | None]:
    """The queue, and the runner of its jobs unless this start runs none."""
    queue = Queue(home)
    return queue, Runner(queue, devices=settings.devices) if settings.runs_jobs else None
