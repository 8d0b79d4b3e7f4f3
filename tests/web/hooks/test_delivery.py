"""Messages of webhooks: signed as the specification says, spaced, retried, given up; no redirect followed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from portrait_lora.web.hooks import book as books
from portrait_lora.web.hooks.book import Book
from portrait_lora.web.hooks.dispatcher import Dispatcher
from portrait_lora.web.store import Store


class Receiver:
    """A server that notes what it gets, and answers with the next of `answers` (200 when none is left)."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", receiver.url)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = threading.Thread(target=one.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def book(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setattr(books, "RETRY_SECONDS", (0.0, 0.0))
    return Book(Store(tmp_path), (receiver.host,))


def send_all(book: Book) -> None:
    """What is due now, until nothing is."""
    dispatcher = Dispatcher(book, lambda: 0)
    with ThreadPoolExecutor(1) as pool:
        while dispatcher.step(pool):
            pass


def test_the_signature_is_that_of_the_specification(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", receiver.url)
    book.add(hook, "job.succeeded", "j1", {"job": {"id": "j1", "name": "Zoë"}})
    send_all(book)
    headers, body = receiver.got[0]
    message = Verifier(hook.secret).verify(body, headers)
    assert message["type"] == "job.succeeded" and message["data"]["job"]["name"] == "Zoë"
    assert headers["host"] == receiver.host and headers["content-type"] == "application/json"
    assert book.deliveries(hook.id)[0].state == "delivered"
    with pytest.raises(Exception, match="signature"):
        Verifier(book.create("owner", receiver.url).secret).verify(body, headers)


def test_a_failure_is_tried_again_with_the_same_message_and_given_up_at_last(
    book: Book, receiver: Receiver
) -> None:
    hook = book.create("owner", receiver.url)
    receiver.answers = [500, 302, 503]
    first = book.add(hook, "job.failed", "j1", {})
    send_all(book)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [first] * 3  # a redirect is a failure
    (row,) = book.deliveries(hook.id)
    assert (row.state, row.attempts, row.status, row.error) == ("failed", 3, 503, "status 503")
    receiver.answers = [500]
    book.add(hook, "job.failed", "j2", {})
    send_all(book)
    assert book.deliveries(hook.id)[0].state == "delivered"


def test_pauses_grow(tmp_path: Path) -> None:
    pauses = books.RETRY_SECONDS
    assert list(pauses) == sorted(pauses) and pauses[0] >= 1 and 8 * 3600 < sum(pauses) < 86_400


def test_messages_on_one_job_are_half_a_second_apart_and_only_the_newest_progress_waits(
    book: Book, receiver: Receiver
) -> None:
    hook = book.create("owner", receiver.url)
    for number in range(1, 20):
        book.add(hook, "job.progress", "j1", {"done": number}, number=number)
    book.add(hook, "job.succeeded", "j1", {}, number=20)
    book.add(hook, "job.queued", "j2", {}, number=1)
    rows = {row.kind: row for row in book.deliveries(hook.id)}
    assert json.loads(rows["job.progress"].body)["data"] == {"done": 19} and len(rows) == 3
    assert rows["job.succeeded"].due - rows["job.progress"].due == pytest.approx(0.5)
    assert rows["job.queued"].due <= time.time()  # another job has its own pace
    send_all(book)
    assert {row.state for row in book.deliveries(hook.id)} == {"delivered", "waiting"}


def test_the_pace_counts_what_was_sent_and_not_how_long_the_sending_took(
    book: Book, receiver: Receiver
) -> None:
    hook = book.create("owner", receiver.url)
    book.add(hook, "job.queued", "j1", {}, number=1)
    assert len(book.take_due()) == 1  # on its way now
    book.add(hook, "job.running", "j1", {}, number=2)
    assert book.deliveries(hook.id)[0].due - time.time() < 0.6


def test_one_event_is_one_message_however_often_it_is_read(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", receiver.url)
    ids = {book.add(hook, "job.queued", "j1", {}, number=1) for _ in range(3)}
    assert len(ids) == 1 and len(book.deliveries(hook.id)) == 1


def test_410_ends_it(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", receiver.url)
    receiver.answers = [410]
    book.add(hook, "ping", "", {})
    send_all(book)
    assert "410" in book.get("owner", hook.id).disabled
    assert not book.get("owner", hook.id).wants("job.queued", "", time.time())


def test_an_address_that_became_private_is_not_called(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", "https://hooks.example.org/x")
    book.add(hook, "ping", "", {})
    dispatcher = Dispatcher(book, lambda: 0, resolve=lambda host, port: ["127.0.0.1"])
    with ThreadPoolExecutor(1) as pool:
        dispatcher.step(pool)
    (row,) = book.deliveries(hook.id)
    assert row.status is None and "own network" in row.error and not receiver.got


def test_what_was_taken_by_a_server_that_died_is_due_again(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", receiver.url)
    book.add(hook, "ping", "", {})
    assert len(book.take_due()) == 1 and not book.take_due()
    with book.store.writing() as db:
        db.execute("UPDATE deliveries SET due = due - 61")
    assert len(book.take_due()) == 1


def test_a_webhook_wants_what_it_listed_and_nothing_from_before_it(book: Book, receiver: Receiver) -> None:
    hook = book.create("owner", receiver.url, ["job.failed"], "anna-1")
    now = hook.created + 1
    assert hook.wants("job.failed", "anna-1", now)
    assert not hook.wants("job.queued", "anna-1", now) and not hook.wants("job.failed", "ben-1", now)
    assert not hook.wants("job.failed", "anna-1", hook.created - 1)
    assert replace(hook, events=(), likeness="").wants("job.queued", "ben-1", now)
