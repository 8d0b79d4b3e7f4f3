"""Webhooks and their messages in the store: who wants what, what is due, what was delivered."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from portrait_lora.errors import InputError
from portrait_lora.web.hooks import signing
from portrait_lora.web.hooks.address import target_of
from portrait_lora.web.ids import digest_id
from portrait_lora.web.problems import NotFound
from portrait_lora.web.store import Store, short_id

EVENTS: Final[tuple[str, ...]] = (
    "job.queued", "job.running", "job.progress",
    "job.succeeded", "job.failed", "job.cancelled", "job.interrupted",
)  # fmt: skip
PING: Final = "ping"
MAX_PER_OWNER: Final = 20
RETRY_SECONDS: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
"""Pause after each failed attempt; after the last one the message is given up."""
GAP_SECONDS: Final = 0.5
"""Two messages on one job to one webhook are at least this far apart."""
_KEPT_SECONDS: Final = 7 * 86_400.0
_IN_FLIGHT_SECONDS: Final = 60.0
"""A message that was taken for sending is due again after this: the server that took it may be gone."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """`events` empty: all of them.  `likeness` empty: of every person.  `disabled` says why, if it is."""

    id: str
    owner: str
    url: str
    events: tuple[str, ...]
    likeness: str
    secret: str
    created: float
    disabled: str

    def wants(self, kind: str, likeness: str, when: float) -> bool:
        """Whether an event of this kind, of this person, at this time is to be sent.

        One that is disabled wants nothing, and none what was before it.
        """
        listed = not self.events or kind in self.events
        return not self.disabled and listed and self.likeness in ("", likeness) and when >= self.created


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message; `state` is waiting, delivered or failed.  Times are epoch seconds."""

    id: str
    webhook: str
    job: str
    kind: str
    body: str
    created: float
    due: float
    attempts: int
    state: str
    status: int | None
    error: str


class Book:
    """The webhooks in a store; `allowed` are hosts of the own network (see `address.target_of`)."""

    def __init__(self, store: Store, allowed: Collection[str] = ()):
        self.store, self.allowed = store, tuple(allowed)

    def create(self, owner: str, url: str, events: Sequence[str] = (), likeness: str = "") -> Webhook:
        """A new webhook with a secret of its own.  Raises `InputError` for a wrong address or event."""
        target_of(url, self.allowed)
        wrong = [one for one in events if one not in EVENTS]
        if wrong:
            raise InputError("no such event", where="events", got=wrong[0], needed=", ".join(EVENTS))
        hook = Webhook(
            short_id("w"), owner, url, tuple(dict.fromkeys(events)), likeness,
            signing.new_secret(), time.time(), "",
        )  # fmt: skip
        with self.store.writing() as db:
            count = db.execute("SELECT count(*) FROM webhooks WHERE owner = ?", (owner,)).fetchone()[0]
            if count >= MAX_PER_OWNER:
                raise InputError("too many webhooks", got=count, needed=f"{MAX_PER_OWNER} at most")
            db.execute(
                "INSERT INTO webhooks (id, owner, url, events, likeness, secret, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (hook.id, owner, url, " ".join(hook.events), likeness, hook.secret, hook.created),
            )
        return hook

    def list(self, owner: str | None = None) -> list[Webhook]:
        """The webhooks of one owner, or of all, oldest first."""
        with self.store.reading() as db:
            rows = db.execute(
                "SELECT * FROM webhooks WHERE ? IS NULL OR owner = ? ORDER BY created, id", (owner, owner)
            ).fetchall()
        return [_webhook(row) for row in rows]

    def get(self, owner: str, hook_id: str) -> Webhook:
        """Raises `NotFound` for one that this owner does not have."""
        with self.store.reading() as db:
            row = db.execute("SELECT * FROM webhooks WHERE id = ? AND owner = ?", (hook_id, owner)).fetchone()
        if row is None:
            raise NotFound("no such webhook", where=hook_id)
        return _webhook(row)

    def remove(self, owner: str, hook_id: str) -> None:
        """The webhook and its messages.  Raises `NotFound` for one that this owner does not have."""
        self.get(owner, hook_id)
        with self.store.writing() as db:
            db.execute("DELETE FROM webhooks WHERE id = ?", (hook_id,))
            db.execute("DELETE FROM deliveries WHERE webhook = ?", (hook_id,))

    def disable(self, hook_id: str, reason: str) -> None:
        """Nothing is sent to it any more; what waits is given up."""
        with self.store.writing() as db:
            db.execute("UPDATE webhooks SET disabled = ? WHERE id = ?", (reason, hook_id))
            db.execute(
                "UPDATE deliveries SET state = 'failed', error = ? WHERE webhook = ? AND state = 'waiting'",
                (reason, hook_id),
            )

    def add(
        self, hook: Webhook, kind: str, job: str, data: Mapping[str, object], *, number: int | None = None
    ) -> str:
        """Put a message down for sending, 500 ms after the last one on this job; the id of the message.

        A progress message takes the place of one that was not sent yet: only the newest counts.  The message
        on event `number` of a job is written once, however often this is called.
        """
        now = time.time()
        message = short_id("msg_") if number is None else "msg_" + digest_id(f"{hook.id} {job} {number}")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        body = json.dumps({"type": kind, "timestamp": stamp, "data": data}, ensure_ascii=False)
        with self.store.writing() as db:
            if kind == "job.progress":
                db.execute(
                    "DELETE FROM deliveries WHERE webhook = ? AND job = ? AND kind = ? AND state = 'waiting'"
                    " AND attempts = 0",
                    (hook.id, job, kind),
                )
            last = db.execute(
                "SELECT max(planned) FROM deliveries WHERE webhook = ? AND job = ?",
                (hook.id, job),
            ).fetchone()[0]
            due = now if last is None else max(now, last + GAP_SECONDS)
            db.execute(
                "INSERT OR IGNORE INTO deliveries"
                " (id, webhook, job, kind, body, created, planned, due, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting')",
                (message, hook.id, job, kind, body, now, due, due),
            )
            db.execute("DELETE FROM deliveries WHERE created < ?", (now - _KEPT_SECONDS,))
        return message

    def take_due(self, limit: int = 8) -> list[tuple[Webhook, Delivery]]:
        """Messages to be sent now, each with its attempt counted; nobody else gets them for a minute."""
        now = time.time()
        with self.store.writing() as db:
            rows = db.execute(
                "SELECT * FROM deliveries WHERE state = 'waiting' AND due <= ? ORDER BY due, created LIMIT ?",
                (now, limit),
            ).fetchall()
            for row in rows:
                db.execute(
                    "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE id = ?",
                    (now + _IN_FLIGHT_SECONDS, row["id"]),
                )
            hooks = {row["id"]: _webhook(row) for row in db.execute("SELECT * FROM webhooks")}
        return [(hooks[row["webhook"]], _delivery(row)) for row in rows if row["webhook"] in hooks]

    def delivered(self, delivery: Delivery, status: int) -> None:
        """The receiver has it."""
        self._settle(delivery, "delivered", status, "", time.time())

    def failed(self, delivery: Delivery, status: int | None, error: str) -> None:
        """Not this time: it is due again after a pause, or given up after the last."""
        now, attempt = time.time(), delivery.attempts
        if attempt < len(RETRY_SECONDS):
            self._settle(delivery, "waiting", status, error, now + RETRY_SECONDS[attempt])
        else:
            self._settle(delivery, "failed", status, error, now)

    def deliveries(self, hook_id: str, limit: int = 50) -> list[Delivery]:
        """The newest messages of a webhook, newest first."""
        with self.store.reading() as db:
            rows = db.execute(
                "SELECT * FROM deliveries WHERE webhook = ? ORDER BY created DESC, id LIMIT ?",
                (hook_id, limit),
            ).fetchall()
        return [_delivery(row) for row in rows]

    def cursors(self) -> dict[str, tuple[int, bool]]:
        """Job → the number of its last event that was turned into messages, and whether it was over then."""
        with self.store.reading() as db:
            rows = db.execute("SELECT job, number, over FROM cursors").fetchall()
        return {row["job"]: (int(row["number"]), bool(row["over"])) for row in rows}

    def set_cursor(self, job: str, number: int, over: bool) -> None:
        """Go on behind this event of a job; cursors of jobs that are long over go."""
        now = time.time()
        with self.store.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO cursors (job, number, over, at) VALUES (?, ?, ?, ?)",
                (job, number, over, now),
            )
            db.execute("DELETE FROM cursors WHERE over AND at < ?", (now - _KEPT_SECONDS,))

    def _settle(self, delivery: Delivery, state: str, status: int | None, error: str, due: float) -> None:
        with self.store.writing() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, status = ?, error = ?, due = ? WHERE id = ?",
                (state, status, error[:300], due, delivery.id),
            )


def _webhook(row: sqlite3.Row) -> Webhook:
    return Webhook(
        row["id"], row["owner"], row["url"], tuple(str(row["events"]).split()), row["likeness"],
        row["secret"], row["created"], row["disabled"],
    )  # fmt: skip


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        row["id"], row["webhook"], row["job"], row["kind"], row["body"], row["created"], row["due"],
        row["attempts"], row["state"], row["status"], row["error"],
    )  # fmt: skip
