"""How long a fleet still takes and what it costs, from what everybody cost who is over.

The cost of one person is that of all their starts, so that failures, lost workers and second tries are in
the mean.  The interval is that of a sum of so many further people with an unknown mean: the 95 % prediction
interval of Student's t (Hahn and Meeker 1991, section 4.6), cut off at what is spent already.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from portrait_lora.tasks.shard.records import PersonRecord, PersonState

LEVEL = 0.95
_CHEAP_S = 1.0
"""People who were over without any work, such as those without a consent, tell nothing of its cost."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`spent_device_s` until now and `left_device_s` still to come, in seconds of one device, with the 95 %
    interval of what is left; `left_s` by the clock with `workers` at a time, of which none is counted below
    one.  None before anybody is over, and without an interval before two are."""

    spent_device_s: float
    left_device_s: float | None
    left_device_ci95: tuple[float, float] | None
    left_s: float | None
    workers: int
    seconds_per_step: float | None

    def cost(self, price_per_hour: float) -> tuple[float, float | None]:
        """What is spent, and what all of it will have cost."""
        spent = self.spent_device_s / 3600 * price_per_hour
        if self.left_device_s is None:
            return spent, None
        return spent, spent + self.left_device_s / 3600 * price_per_hour

    def json_value(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "spent_device_s": round(self.spent_device_s, 2),
            "left_device_s": None if self.left_device_s is None else round(self.left_device_s, 2),
            "left_device_ci95": self.left_device_ci95 and [round(v, 2) for v in self.left_device_ci95],
            "left_s": None if self.left_s is None else round(self.left_s, 2),
            "workers": self.workers,
            "seconds_per_step": self.seconds_per_step,
        }


def forecast(records: Mapping[str, PersonRecord], workers: int = 0) -> Forecast:
    """The forecast for a fleet whose `workers` are as many as run now, where it is not said."""
    over = [r.device_s for r in records.values() if r.state.is_over and r.device_s > _CHEAP_S]
    open_ = [r for r in records.values() if not r.state.is_over]
    running = [r for r in open_ if r.state is PersonState.RUNNING]
    at_once = max(workers or len({r.starts[-1].worker for r in running if r.starts}), 1)
    spent = sum(r.device_s for r in records.values())
    steps = _seconds_per_step(records)
    if not open_:
        return Forecast(spent, 0.0, (0.0, 0.0), 0.0, at_once, steps)
    if not over:
        return Forecast(spent, None, None, None, at_once, steps)
    mean = statistics.fmean(over)
    each = [max(mean - r.device_s, 0.0) for r in open_]
    left = math.fsum(each)
    interval = None
    if len(over) > 1:
        half = _t(len(over) - 1) * statistics.stdev(over) * math.sqrt(len(each) + len(each) ** 2 / len(over))
        interval = (max(left - half, 0.0), left + half)
    # the work of one person is not divided: with many devices the longest of them is the end
    by_clock = max(left / min(at_once, len(each)), max(each))
    return Forecast(spent, left, interval, by_clock, at_once, steps)


def _seconds_per_step(records: Mapping[str, PersonRecord]) -> float | None:
    """Seconds of a training step: all trainings that ran through at once, over all of their steps."""
    whole = [
        (r.stage_seconds["train"], r.starts[-1].steps)
        for r in records.values()
        if r.starts and r.starts[-1].steps and r.starts[-1].resumed_from is None
        and r.stage_seconds.get("train", 0) > 0
    ]  # fmt: skip
    steps = sum(count for _, count in whole)
    return round(math.fsum(seconds for seconds, _ in whole) / steps, 4) if steps else None


def _t(freedom: int) -> float:
    from scipy.stats import t  # heavy

    return float(t.ppf((1 + LEVEL) / 2, freedom))
