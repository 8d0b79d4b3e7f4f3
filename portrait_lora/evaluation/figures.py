"""Layout of the figures on the drift page: plain numbers that the template draws as SVG.

A figure is laid out for a given width, so that its text keeps its size on a phone: the page contains a
wide and a narrow layout and shows one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.records import DriftReport

WIDE_PX: Final = 920
NARROW_PX: Final = 340
LABEL_WIDTH_PX: Final = 104
STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from similarity to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def at(self, value: float) -> float:
        """The pixel of a value, clipped to the axis."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 2)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Round values, at most `most` of them, as (pixel, text)."""
        wanted = (self.high - self.low) / max(most - 1, 1)
        step = next((s for s in STEPS if s >= wanted - 1e-9), STEPS[-1])
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = 2 if step < 0.1 else 1
        return [(self.at(i * step), f"{i * step:.{digits}f}") for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Mark:
    """A value on the scale; `label_px` is the position of its label after labels were moved apart."""

    kind: str
    label: str
    text: str
    x: float
    label_px: float
    above: bool


@dataclass(frozen=True, slots=True)
class Scale:
    width: int
    marks: tuple[Mark, ...]
    whisker: tuple[float, float] | None
    ticks: list[tuple[float, str]]
    axis: Axis


@dataclass(frozen=True, slots=True)
class CurvePoint:
    step: int
    x: float
    y: float
    bar: tuple[float, float] | None
    chosen: bool
    text: str
    named: bool


@dataclass(frozen=True, slots=True)
class Curve:
    width: int
    height: int
    points: tuple[CurvePoint, ...]
    line: str
    ticks: list[tuple[float, str]]
    axis: Axis


def similarity_axis(report: DriftReport, start_px: float, end_px: float, *, interval: bool = True) -> Axis:
    """An axis from below the impostors to above the ceiling, on round tenths, maybe with the interval."""
    values = [report.impostor, report.ceiling, report.threshold, report.mean, 0.0, report.base_mean]
    values += [s.similarity for s in report.scores if s.similarity is not None]
    if interval and len(report.scores) > 1:
        values += report.ci95
    known = [v for v in values if math.isfinite(v)]
    low = max(math.floor(min(known) * 10 + 1e-9) / 10, -1.0)
    high = min(math.ceil((max(known) + 0.02) * 10) / 10, 1.0)
    return Axis(low, max(high, low + 0.2), start_px, end_px)


def scale(report: DriftReport, width: int, *, label: str = "This adapter", interval: bool = True) -> Scale:
    """Marks of impostor, base, portraits (named `label`, optionally with interval), threshold and ceiling."""
    axis = similarity_axis(report, 28, width - 28, interval=interval)
    values = [
        ("adapter", label, report.mean, True),
        ("base", "Base model", report.base_mean, True),
        ("impostor", "Other people", report.impostor, False),
        ("threshold", "Threshold", report.threshold, False),
        ("ceiling", "Real photos", report.ceiling, False),
    ]
    marks = [
        Mark(kind, label, f"{value:.3f}", axis.at(value), axis.at(value), above)
        for kind, label, value, above in values
        if math.isfinite(value)
    ]
    spread = (
        *_apart([m for m in marks if m.above], width),
        *_apart([m for m in marks if not m.above], width),
    )
    low, high = report.ci95
    whisker = (axis.at(low), axis.at(high)) if interval else None
    return Scale(width, spread, whisker, axis.ticks(6 if width < 500 else 11), axis)


def _apart(marks: Sequence[Mark], width: int) -> list[Mark]:
    """Label positions, moved as little as needed so that none overlaps its neighbour or the edge."""
    ordered = sorted(marks, key=lambda mark: mark.x)
    half = LABEL_WIDTH_PX / 2
    places: list[float] = []
    for mark in ordered:
        least = places[-1] + LABEL_WIDTH_PX if places else half
        places.append(max(mark.x, least))
    most = width - half
    for i in reversed(range(len(places))):
        places[i] = min(places[i], most)
        most = places[i] - LABEL_WIDTH_PX
    return [replace(m, label_px=round(p, 2)) for m, p in zip(ordered, places, strict=True)]


def curve(table: Sequence[CheckpointScore], selected_step: int | None, width: int) -> Curve | None:
    """Mean similarity over training steps, with ±1 standard error; None without two steps."""
    rows = sorted((r for r in table if math.isfinite(r.mean)), key=lambda r: r.step)
    if len(rows) < 2:
        return None
    height, left, right, top, bottom = 240, 46, width - 24, 28, 196
    lows = [r.mean - r.standard_error for r in rows]
    highs = [r.mean + r.standard_error for r in rows]
    pad = 0.1 * max(max(highs) - min(lows), 0.05)
    axis = Axis(min(lows) - pad, max(highs) + pad, bottom, top)
    across = Axis(rows[0].step, max(rows[-1].step, rows[0].step + 1), left + 14, right - 14)
    named = _named_steps(rows, selected_step, 4 if width < 500 else 9)
    points = tuple(
        CurvePoint(
            step=row.step,
            x=across.at(row.step),
            y=axis.at(row.mean),
            bar=(axis.at(low), axis.at(high)) if row.standard_error else None,
            chosen=row.step == selected_step,
            text=f"{row.mean:.3f}",
            named=row.step in named,
        )
        for row, low, high in zip(rows, lows, highs, strict=True)
    )
    line = " ".join(f"{p.x},{p.y}" for p in points)
    return Curve(width, height, points, line, axis.ticks(5), axis)


def _named_steps(rows: Sequence[CheckpointScore], selected: int | None, most: int) -> set[int]:
    """Steps with a tick label: evenly thinned, always with the selected one but not its neighbours."""
    stride = math.ceil(len(rows) / most)
    named = {row.step for i, row in enumerate(rows) if i % stride == 0}
    steps = [row.step for row in rows]
    if selected in steps and selected not in named:
        at = steps.index(selected)
        named -= set(steps[max(at - stride // 2 - 1, 0) : at + stride // 2 + 2])
        named.add(selected)
    return named
