"""Sends what is due: a thread that turns events of jobs into messages, and posts them."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.web.hooks import address, sending, signing
from portrait_lora.web.hooks.book import Book, Delivery, Webhook

_IDLE_SECONDS: Final = 0.2
_GONE: Final = 410
_AT_ONCE: Final = 4
_log = log.get(__name__)


class Dispatcher:
    """Call `start` once, and `stop` at the end; what was not sent then is sent after the next start."""

    def __init__(
        self,
        book: Book,
        listen: Callable[[], int],
        *,
        resolve: address.Resolve | None = None,
        context: ssl.SSLContext | None = None,
    ):
        """`listen` writes new messages into the book and says how many; `context` is that of https."""
        self._book, self._listen = book, listen
        self._resolve, self._context = resolve, context
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the posts that are on their way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(sending.TIMEOUT_SECONDS + 5)

    def _run(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
            while not self._stopping.is_set():
                try:
                    busy = self.step(pool)
                except Exception as error:  # the thread must outlive a full disk or a locked database
                    _log.warning("webhooks: %s", error)
                    busy = False
                if not busy:
                    self._stopping.wait(_IDLE_SECONDS)

    def step(self, pool: ThreadPoolExecutor) -> bool:
        """Write down what happened and send what is due; whether there was anything."""
        heard = self._listen()
        due = self._book.take_due(_AT_ONCE)
        list(pool.map(lambda pair: self.send(*pair), due))
        return bool(heard or due)

    def send(self, hook: Webhook, delivery: Delivery) -> None:
        """One attempt; what comes of it is written into the book."""
        body = delivery.body.encode()
        try:
            target = address.target_of(hook.url, self._book.allowed)
            target = address.resolved(target, self._book.allowed, self._resolve)
            headers = signing.headers(hook.secret, delivery.id, int(time.time()), body)
            status = sending.post(target, headers, body, self._context)
        except PortraitError as error:
            self._book.failed(delivery, None, error.message())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._book.failed(delivery, None, f"{type(error).__name__}: {error}")
        else:
            if 200 <= status < 300:
                self._book.delivered(delivery, status)
            elif status == _GONE:
                self._book.disable(hook.id, "the receiver answered 410 Gone")
                self._book.failed(delivery, status, "410 Gone")
            else:
                self._book.failed(delivery, status, f"status {status}")
