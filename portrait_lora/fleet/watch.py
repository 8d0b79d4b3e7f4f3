"""A fleet while it runs: a table on a terminal that is drawn again in place, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from portrait_lora import terminal
from portrait_lora.fleet import words
from portrait_lora.fleet.forecast import Forecast, forecast
from portrait_lora.fleet.home import FleetEvent, FleetHome
from portrait_lora.fleet.report import forecast_line, mean_share
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

if TYPE_CHECKING:
    from rich.live import Live

_EVERY_S: Final = 1.0
_MOST_ROWS: Final = 12
_WIDTH: Final = 80


class Watcher(Protocol):
    """Takes every change of a fleet."""

    def __call__(self, event: FleetEvent) -> None: ...


@contextmanager
def watching(home: FleetHome, *, workers: int = 0) -> Iterator[Watcher]:
    """A live table on a terminal of any width, a line per change elsewhere; always on stderr.

    The lines of states are printed in both, so that they can be read afterwards.
    """
    if not sys.stderr.isatty():
        yield _say
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        yield _Table(home, live, workers)


def _say(event: FleetEvent) -> None:
    if text := words.line(event):
        terminal.say(terminal.plain(text), err=True)


class Progress:
    """How far everybody is who runs, by the changes that were taken."""

    def __init__(self) -> None:
        self.of: dict[str, Mapping[str, object]] = {}

    def take(self, event: FleetEvent) -> None:
        """Progress counts until anything else happens to the person."""
        if event.kind == "progress":
            self.of[event.person] = event.progress
        elif words.line(event):
            self.of.pop(event.person, None)


class _Table:
    """Draws the fleet again at most once a second."""

    def __init__(self, home: FleetHome, live: Live, workers: int):
        self._home, self._live, self._workers = home, live, workers
        self._progress = Progress()
        self._last = 0.0
        self._draw()

    def __call__(self, event: FleetEvent) -> None:
        self._progress.take(event)
        if event.kind != "progress" and (text := words.line(event)):
            self._live.console.print(terminal.plain(text), markup=False, highlight=False)
        if time.monotonic() - self._last >= _EVERY_S or event.kind != "progress":
            self._draw()

    def _draw(self) -> None:
        from rich.text import Text

        self._last = time.monotonic()
        width = max(min(self._live.console.width, _WIDTH), 40)
        shown = lines(self._home, self._home.records(), self._progress.of, self._workers, width)
        self._live.update(Text("\n".join(map(terminal.plain, shown))), refresh=True)


def lines(
    home: FleetHome,
    records: Mapping[str, PersonRecord],
    progress: Mapping[str, Mapping[str, object]],
    workers: int = 0,
    width: int = _WIDTH,
) -> list[str]:
    """The table: who runs and how far, then the whole of it in a few lines, none wider than `width`."""
    running = [r for r in records.values() if r.state is PersonState.RUNNING]
    shown = [_person(record, progress.get(record.person, {})) for record in running[:_MOST_ROWS]]
    if len(running) > _MOST_ROWS:
        shown.append(f"and {len(running) - _MOST_ROWS} more")
    expected = forecast(records, workers)
    shown += [words.summary(home, records)]
    if text := _figures(records, expected):
        shown.append(text)
    if text := forecast_line(expected, home.plan.price_per_hour):
        shown.append(text)
    return [part for line in shown for part in _wrapped(line, width)]


def _person(record: PersonRecord, progress: Mapping[str, object]) -> str:
    start = record.starts[-1] if record.starts else None
    worker = start.worker if start else ""
    stage = str(progress.get("label") or progress.get("stage") or "")
    done, total = progress.get("done"), progress.get("total")
    far = (
        f"{done:.0f}/{total:.0f}" if isinstance(done, int | float) and isinstance(total, int | float) else ""
    )
    left = progress.get("left_s")
    rest = f"{left:.0f} s left" if isinstance(left, int | float) else ""
    loss = progress.get("loss")
    note = f"loss {loss:.3g}" if isinstance(loss, int | float) else ""
    words_ = "  ".join(filter(None, (stage, far, rest, note)))
    return f"{record.person[:20]:<20}  {worker[:14]:<14}  {words_}".rstrip()


def _figures(records: Mapping[str, PersonRecord], expected: Forecast) -> str:
    share = mean_share(records)
    parts = [
        "" if share is None else f"likeness {share:.0%} of the ceiling on average",
        "" if expected.seconds_per_step is None else f"{expected.seconds_per_step:.3g} s per step",
    ]
    return ", ".join(filter(None, parts))


def _wrapped(line: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False) or [""]
