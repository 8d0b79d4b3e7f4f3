"""Training speed for the progress line, and curves for tensorboard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from accelerate.tracking import TensorBoardTracker
from accelerate.utils import is_tensorboard_available

from portrait_lora import log
from portrait_lora.training.update import Update

_WINDOW: Final = 20


class Pace:
    """Time per step over the last steps."""

    def __init__(self, samples_per_step: int, last_step: int):
        self._samples, self._last = samples_per_step, last_step
        self._times: deque[float] = deque([time.monotonic()], maxlen=_WINDOW + 1)

    def after(self, step: int) -> dict[str, float | str]:
        """The fields of the progress line after a step."""
        return self.of_many(step, 1, self._samples)

    def of_many(self, step: int, people: int, samples: int) -> dict[str, float | str]:
        """The same where `people` took a step each, of `samples` in all; `step` counts those of everybody."""
        self._times.append(time.monotonic())
        seconds = max((self._times[-1] - self._times[0]) / (len(self._times) - 1), 1e-9)
        return {
            "s/step": seconds,
            "samples/s": samples / seconds,
            "left": duration((self._last - step) * seconds / people),
        }


def duration(seconds: float) -> str:
    """A duration as text: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class WriteStep(Protocol):
    """Writes the metrics of one step."""

    def __call__(
        self, step: int, loss: float, weighted: float, update: Update, skipped: int, likeness: float | None
    ) -> None: ...


@contextmanager
def metrics(path: Path, after: int, *, write: bool) -> Iterator[WriteStep]:
    """`metrics.jsonl`, truncated after step `after`, and tensorboard if it is installed.

    The file has no timings, so a resumed run writes the same bytes.
    """
    if not write:
        yield lambda step, loss, weighted, update, skipped, likeness: None
        return
    with log.MetricsWriter(path) as writer:
        writer.truncate_after(after)
        board = _tensorboard(path.parent)

        def write_step(
            step: int, loss: float, weighted: float, update: Update, skipped: int, likeness: float | None
        ) -> None:
            if update.skipped:
                writer.write(step=step, skipped=skipped, learning_rate=update.rate)
                return
            values = {
                "loss": loss, "weighted_loss": weighted, "learning_rate": update.rate,
                "grad_norm": update.norm,
            }  # fmt: skip
            values |= {} if likeness is None else {"likeness": likeness}
            writer.write(step=step, **values)
            if board is not None:
                board.log(values, step)

        try:
            yield write_step
        finally:
            if board is not None:
                board.finish()


def _tensorboard(folder: Path) -> TensorBoardTracker | None:
    if not is_tensorboard_available():
        return None
    tracker = TensorBoardTracker("tensorboard", str(folder))
    tracker.start()
    return tracker
