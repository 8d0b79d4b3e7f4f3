"""Which marks pictures from anywhere carry, as the command `detect` says it.  Nothing that was sent is kept.

A look takes seconds of the processor and hundreds of megabytes: few wait, and one is done at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from starlette.concurrency import run_in_threadpool

from portrait_lora.tasks import detect
from portrait_lora.tasks.detect import Detected, Detection
from portrait_lora.web import uploads
from portrait_lora.web.problems import Refused, TooMany

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import Request

    from portrait_lora.web.uploads import InMemory

MOST_FILES: Final = 20
MOST_BYTES: Final = 50_000_000
MOST_TOGETHER: Final = 100_000_000
MOST_PIXELS: Final = 50_000_000
MOST_WAITING: Final = 4
_waiting = threading.BoundedSemaphore(MOST_WAITING)
_looking = threading.Lock()
Tone = Literal["good", "bad", "warn", "held", ""]


@dataclass(frozen=True, slots=True)
class Card:
    """One picture as the page shows it: a heading with its tone, and what each layer says."""

    title: str
    tone: Tone
    facts: tuple[tuple[str, str], ...]
    problem: str = ""


async def look_at(request: Request) -> Detection:
    """What the pictures of a form carry, in the order in which they came.  Raises `TooMany`, and what
    `uploads.received_in_memory` does."""
    with place_in_line():
        files = await uploads.received_in_memory(
            request, most_files=MOST_FILES, most_bytes=MOST_BYTES, most_together=MOST_TOGETHER
        )
        return await run_in_threadpool(look, files)


@contextmanager
def place_in_line() -> Iterator[None]:
    """Held from before the files come until they were looked at.  Raises `TooMany` when the line is full."""
    if not _waiting.acquire(blocking=False):
        error = TooMany("too many looks at once", needed=f"{MOST_WAITING} at most", remedy="Wait a little.")
        error.retry_after_s = 5
        raise error
    try:
        yield
    finally:
        _waiting.release()


def look(files: Sequence[InMemory]) -> Detection:
    """The marks of each file.  Raises `Refused` when there is none."""
    if not files:
        raise Refused("no files", where="body", needed="files")
    with _looking:
        rows = [detect.of_bytes(one.name, one.data, max_pixels=MOST_PIXELS) for one in files]
    return detect.of_rows(rows)


def false_positive_rate() -> float:
    """How often an unmarked picture is called watermarked, by design."""
    return float(detect.of_rows(()).false_positive_rate)


def card(row: Detected) -> Card:
    """The same as the command's lines, under a heading."""
    title, tone = _heading(row)
    facts = tuple((label[:1].upper() + label[1:], words) for label, words in detect.facts(row))
    return Card(title, tone, facts, row.problem)


def _heading(row: Detected) -> tuple[str, Tone]:
    """Broken or partial marks before everything else: they are what somebody looks for."""
    if row.verdict == "not read":
        return "Not read", "bad"
    if row.credentials is not None and row.credentials.origin == "broken":
        return "Its signature is broken", "bad"
    if row.watermark is not None and not row.watermark.whole:
        return "Only a part is marked", "warn"
    if row.generated:
        return "Marked as generated", "good"
    if row.credentials is not None or row.metadata_type:
        return "Marked, not as generated", "held"
    return "No marks", ""
