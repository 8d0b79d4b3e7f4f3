"""One formatter, progress that suits the place it is shown in, and the metrics file of a training run."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TextIO

from portrait_lora import terminal

_ROOT: Final = "portrait_lora"
_PROGRESS: Final = "portrait_lora.progress"


def get(name: str) -> logging.Logger:
    """The logger of one module."""
    return logging.getLogger(name if name.startswith(_ROOT) else f"{_ROOT}.{name}")


def configure(*, verbose: bool = False, quiet: bool = False) -> None:
    """Set up the program's log on stderr; libraries speak of errors only, unless `verbose`."""
    if not verbose:
        for library in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
            os.environ.setdefault(library, "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Escaped("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"))
    logger = logging.getLogger(_ROOT)
    logger.handlers[:] = [handler, *(h for h in logger.handlers if isinstance(h, _Events))]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


class _Escaped(logging.Formatter):
    """File names and words of strangers cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal.block(super().format(record))


class Sink(Protocol):
    """Takes what happens as plain values: `kind` is progress, log or metric.

    It may raise `KeyboardInterrupt` where a stage or a bar begins, and nothing else.
    """

    def __call__(self, kind: Literal["progress", "log", "metric"], data: Mapping[str, object]) -> None: ...


_sinks: list[Sink] = []


def send_events(sink: Sink | None, *, alone: bool = False) -> None:
    """Send progress, log lines and figures to `sink` as plain values; None ends it.

    They go where they went before as well, unless `alone`.
    """
    _sinks[:] = [] if sink is None else [sink]
    logger = logging.getLogger(_ROOT)
    logger.handlers[:] = [] if alone else [h for h in logger.handlers if not isinstance(h, _Events)]
    if sink is not None:
        logger.addHandler(_Events())


@contextmanager
def listening(sink: Sink) -> Iterator[None]:
    """Send progress and figures to `sink` as well, beside the one of `send_events`; log lines as that one
    asks for them."""
    _sinks.append(sink)
    try:
        yield
    finally:
        if sink in _sinks:
            _sinks.remove(sink)


def event(kind: Literal["progress", "log", "metric"], **data: object) -> None:
    """Something worth knowing for whoever watches from elsewhere; without a sink nothing happens."""
    for sink in _sinks:
        sink(kind, data)


class _Events(logging.Handler):
    """Log lines as events; those of plain progress are events already."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != _PROGRESS:
            event("log", level=record.levelname.lower(), text=terminal.block(record.getMessage()))


class Advance(Protocol):
    """Moves a progress line on by `n`, a part of a step too; `fields` (loss=…) are shown beside it."""

    def __call__(self, n: float = 1, **fields: float | str) -> None: ...


LEFT: Final = "left"
"""The field with the time left, where whoever reports knows it better than the line itself."""
_NEARLY: Final = 1e-6


def _whole(done: float) -> float:
    """Parts of a step add up to a whole one only nearly."""
    return float(round(done)) if abs(done - round(done)) < _NEARLY else done


def _shown(fields: dict[str, float | str]) -> str:
    words = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in fields.items())
    return terminal.plain(words)


@contextmanager
def _plain(description: str, total: int) -> Iterator[Advance]:
    """About eight lines per job on the log: enough for a file, not a flood."""
    logger = get("progress")
    started, done, next_line = time.monotonic(), 0.0, 0.0

    def advance(n: float = 1, **fields: float | str) -> None:
        nonlocal done, next_line
        done = _whole(done + n)
        if done >= next_line or done >= total:
            next_line = done + max(1, total / 8)
            spent = time.monotonic() - started
            if LEFT not in fields and done > 0:
                fields = {LEFT: f"{max(total - done, 0) * spent / done:.0f} s", **fields}
            logger.info("%s %d/%d  %.0f s  %s", description, int(done), total, spent, _shown(fields))

    yield advance


@contextmanager
def _rich(description: str, total: int) -> Iterator[Advance]:
    """Name, bar, count and time left whatever the width; the fields get what is left of the line."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Count(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{int(task.completed)}/{total}", style="progress.download")

    def column(**more: Any) -> Column:
        return Column(no_wrap=True, **more)

    columns = (
        TextColumn(
            "{task.description}", markup=False, table_column=column(overflow="ellipsis", max_width=22)
        ),
        BarColumn(bar_width=16, table_column=column()),
        Count("", table_column=column(justify="right")),
        TimeRemainingColumn(table_column=column()),
        TextColumn("{task.fields[note]}", markup=False, table_column=column(overflow="ellipsis", ratio=1)),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(f"{terminal.plain(description):<12}", total=total, note="")

        done = 0.0

        def advance(n: float = 1, **fields: float | str) -> None:
            nonlocal done
            fields.pop(LEFT, None)  # it has a column of its own
            if fields:
                bar.update(task, note=_shown(fields))
            done = _whole(done + n)
            bar.update(task, completed=done)

        yield advance


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """A bar on a terminal, plain lines elsewhere; always on stderr so that `--json` stays clean.

    Events beside it, where somebody wants them: what is done, of how much, and the seconds left.
    """
    quiet = get("progress").getEffectiveLevel() > logging.INFO
    chosen = _silent if quiet else _rich if sys.stderr.isatty() else _plain
    with chosen(description, total) as advance:
        yield _reported(description, total, advance) if _sinks else advance


@contextmanager
def _silent(description: str, total: int) -> Iterator[Advance]:
    del description, total
    yield lambda n=1, **fields: None


def _reported(label: str, total: int, show: Advance) -> Advance:
    """Moves the line on, and sends an event.  What the first call brings was done before."""
    started, done, before = time.monotonic(), 0.0, 0.0
    event("progress", label=label, done=0.0, total=total)

    def advance(n: float = 1, **fields: float | str) -> None:
        nonlocal started, done, before
        show(n, **fields)
        if not done and not fields and n > 1:  # resumed: its time is not known
            started, before = time.monotonic(), n
        done = _whole(done + n)
        spent, own = time.monotonic() - started, done - before
        left_s = round(max(total - done, 0.0) * spent / own, 1) if own > 0 else None
        event("progress", label=label, done=done, total=total, left_s=left_s, **fields)

    return advance


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _append(path: Path) -> TextIO:
    """For its owner alone, as everything of a likeness."""
    return open(path, "a", encoding="utf-8", opener=_private)


class MetricsWriter:
    """`metrics.jsonl`: one JSON object per line, flushed, so that a killed run keeps what it measured."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _append(path)

    def write(self, **values: float | int | str | None) -> None:
        self._file.write(json.dumps(values, sort_keys=True) + "\n")
        self._file.flush()

    def truncate_after(self, step: int) -> None:
        """Drop the lines of steps beyond `step`: a resumed run writes them again."""
        self._file.close()
        kept: list[str] = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if int(row.get("step", 0)) <= step:
                kept.append(line + "\n")
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", encoding="utf-8", opener=_private) as stream:
            stream.write("".join(kept))
        os.replace(temporary, self.path)
        self._file = _append(self.path)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
