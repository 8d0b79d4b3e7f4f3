"""Data for the distribution, the heat map and the worst portraits of the drift page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.evaluation.drift import by_prompt, counted
from portrait_lora.evaluation.figures import Axis
from portrait_lora.evaluation.protocol import Extras
from portrait_lora.records import DriftReport, IdentityScore

BINS: Final = 48
LANE_PX: Final = 46
MOST_COLUMNS: Final = 24
MOST_WORST: Final = 12
_TOP_PX: Final = 10
_LABEL_PX: Final = 18


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One group of values on the common axis."""

    kind: str
    label: str
    count: int
    label_y: float
    base_y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    width: int
    height: int
    lanes: tuple[Lane, ...]
    threshold_x: float
    ticks: list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One portrait in the heat map; `share` is the share of ceiling, clipped to 0..1."""

    name: str
    text: str
    share: float
    has_face: bool


@dataclass(frozen=True, slots=True)
class HeatRow:
    prompt: str
    mean: float
    cells: tuple[Cell, ...]
    left_out: int


def distribution(report: DriftReport, extras: Extras, width: int) -> Distribution:
    """Portraits between other people and real photos; a portrait without a face stands at 0."""
    groups = [
        ("impostor", "Other people", extras.impostor_scores),
        ("adapter", "Portraits (no face at 0)", tuple(counted(s) for s in report.scores)),
        ("ceiling", "Real photos", extras.real_scores),
    ]
    values = np.concatenate([np.asarray(v, dtype=np.float64) for _, _, v in groups])
    low = max(float(np.floor(values.min(initial=0.0) * 10)) / 10, -1.0)
    high = min(float(np.ceil(max(values.max(initial=0.0), report.threshold) * 10 + 0.01)) / 10, 1.0)
    axis = Axis(low, max(high, low + 0.2), 12, width - 12)
    lanes: list[Lane] = []
    y = float(_TOP_PX)
    for kind, label, lane_values in groups:
        base = y + _LABEL_PX + LANE_PX
        lanes.append(
            Lane(kind, label, len(lane_values), y + _LABEL_PX - 5, base, _bars(lane_values, axis, base))
        )
        y = base + 8
    ticks = axis.ticks(6 if width < 500 else 11)
    return Distribution(width, round(y + 24), tuple(lanes), axis.at(report.threshold), ticks)


def _bars(values: Sequence[float], axis: Axis, base_y: float) -> tuple[Bar, ...]:
    if not len(values):
        return ()
    edges = np.linspace(axis.low, axis.high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, axis.low, axis.high), edges)
    step = (axis.end_px - axis.start_px) / BINS
    tallest = counts.max()
    return tuple(
        Bar(
            round(axis.start_px + i * step, 2),
            round(base_y - LANE_PX * n / tallest, 2),
            round(step - 1, 2),
            round(LANE_PX * n / tallest, 2),
        )
        for i, n in enumerate(counts.tolist())
        if n
    )


def heat_map(report: DriftReport) -> list[HeatRow]:
    """Prompts from worst to best; a column per portrait (seed) in generation order."""
    floor = report.impostor if math.isfinite(report.impostor) else 0.0
    gap = max(report.ceiling - floor, 1e-6)

    def cell(score: IdentityScore) -> Cell:
        share = min(max((counted(score) - floor) / gap, 0.0), 1.0)
        text = "–" if score.similarity is None else f"{score.similarity:.2f}"
        return Cell(score.portrait, text, round(share, 3), score.similarity is not None)

    rows = [
        HeatRow(
            prompt,
            float(np.mean([counted(s) for s in group])),
            tuple(cell(s) for s in group[:MOST_COLUMNS]),
            max(len(group) - MOST_COLUMNS, 0),
        )
        for prompt, group in by_prompt(report.scores).items()
    ]
    return sorted(rows, key=lambda row: (row.mean, row.prompt))


def worst(report: DriftReport) -> list[IdentityScore]:
    """The least similar portraits, worst first; those without a face come first."""
    ordered = sorted(report.scores, key=lambda s: (s.similarity is not None, s.similarity or 0.0, s.portrait))
    return ordered[:MOST_WORST]
