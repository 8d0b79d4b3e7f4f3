"""What the API needs beside the queue: idempotency keys, unfinished uploads, webhooks and their sender."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from portrait_lora.web.hooks.book import Book
from portrait_lora.web.hooks.dispatcher import Dispatcher
from portrait_lora.web.hooks.listener import Listener
from portrait_lora.web.idempotency import Keys
from portrait_lora.web.resumable import Uploads
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.services.fleets import Fleets
from portrait_lora.web.store import Store
from portrait_lora.web.streams import Held
from portrait_lora.web.users import OWNER

MOST_HELD: Final = 32
"""Event streams and waiting requests that one user may hold open."""


def attach(app: FastAPI) -> None:
    """Put these on `app.state`: `keys`, `uploads`, `hooks`, `held`, `fleets` and `dispatcher`."""
    state = app.state
    store = Store(state.studio.home)
    state.keys, state.uploads = Keys(store), Uploads(store)
    state.hooks = Book(store, state.settings.webhook_hosts)
    state.fleets = Fleets(state.studio)
    state.held = Held(MOST_HELD, "open streams")
    state.dispatcher = Dispatcher(state.hooks, _listener(app).listen)


def _listener(app: FastAPI) -> Listener:
    users, studio = app.state.accounts.users, app.state.studio

    def describe(job: Any) -> tuple[str, dict[str, object]]:
        owner = users.find(job.owner) or OWNER
        person = job_service.person_ids(studio, owner)(job.folder)
        return person, job_service.shown(job, person)

    def may_read(user: str, owner: str) -> bool:
        reader = users.find(user)
        return reader is not None and reader.may_read(owner)

    return Listener(app.state.queue, app.state.hooks, describe, may_read)
