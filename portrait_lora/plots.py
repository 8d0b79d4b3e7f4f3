"""Small plots for notebooks, as SVG that Jupyter shows by itself; no plotting library is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation.figures import Axis
from portrait_lora.records import DriftReport

WIDTH_PX: Final = 760
SMOOTHED_OVER: Final = 25
"""Steps of the running mean of a loss curve."""
_INK, _FAINT, _ACCENT = "#333333", "#c8ccd0", "#1f6feb"
_ROW_PX, _TOP_PX, _LABEL_PX, _LETTERS = 24, 34, 330, 52


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture as SVG text."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: Path | str) -> Path:
        """Write the SVG file; returns its path."""
        manifest.write_text_atomic(Path(path), self.svg)
        return Path(path)


def loss(metrics: Path) -> Plot:
    """The losses of a `metrics.jsonl`, one per step, and their mean over the last `SMOOTHED_OVER` steps.

    Raises `ArtifactError` for a file that is damaged or holds no step.
    """
    try:
        rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        points = [(int(row["step"]), float(row["loss"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the record of training is damaged", where=metrics, got=error) from error
    points = [(step, value) for step, value in points if math.isfinite(value)]
    if not points:
        raise ArtifactError("the record of training is empty", where=metrics, needed="a row per step")
    height, (first, last) = 300, (points[0][0], points[-1][0])
    values = [value for _, value in points]
    low, high = min(values), max(values)
    up = Axis(max(low - 0.05, 0.0), high + 0.05, height - 40, _TOP_PX)
    across = Axis(first, max(last, first + 1), 56, WIDTH_PX - 16)
    smooth = [_mean(values[max(0, i + 1 - SMOOTHED_OVER) : i + 1]) for i in range(len(values))]
    parts = [_text(16, 18, "Loss by training step", bold=True)]
    for y, label in up.ticks(5):
        parts += [_line(56, y, WIDTH_PX - 16, y, _FAINT), _text(50, y + 4, label, anchor="end")]
    for step in sorted({first, (first + last) // 2, last}):
        parts.append(_text(across.at(step), height - 18, str(step), anchor="middle"))
    parts.append(_polyline(((across.at(s), up.at(v)) for s, v in points), _FAINT, 1))
    parts.append(
        _polyline(((across.at(s), up.at(v)) for (s, _), v in zip(points, smooth, strict=True)), _ACCENT, 2)
    )
    return _plot(
        height, parts, f"Loss from step {first} to {last}; the last running mean is {smooth[-1]:.3f}"
    )


def similarity(report: DriftReport) -> Plot:
    """Mean similarity of all portraits and by prompt, most alike first, each with the 95 % interval it has.

    Upright lines: other people, the threshold, real photos; a figure that was not measured has none.
    Raises `InputError` for a report without prompts.
    """
    if not report.prompts:
        raise InputError("a report without prompts", needed="at least one portrait")
    ordered = sorted(report.prompts, key=lambda row: -row.mean)
    rows = [("all prompts", report.mean, report.ci95), *((r.prompt, r.mean, r.ci95) for r in ordered)]
    named = [("other people", report.impostor), ("threshold", report.threshold)]
    marks = [(n, v) for n, v in (*named, ("real photos", report.ceiling)) if math.isfinite(v)]
    values = [0.0, *(v for _, v in marks), *(mean for _, mean, _ in rows)]
    values += [end for _, _, ci95 in rows for end in ci95 or () if math.isfinite(end)]
    low, high = math.floor(min(values) * 10) / 10, math.ceil(max(values) * 10 + 0.2) / 10
    axis = Axis(max(low, -1.0), max(min(high, 1.0), low + 0.2), _LABEL_PX, WIDTH_PX - 40)
    top = _TOP_PX + 30
    bottom = top + 8 + _ROW_PX * len(rows)
    parts = [_text(16, 18, "Similarity to the held-out photos", bold=True)]
    for x, label in axis.ticks(7):
        parts += [_line(x, top, x, bottom, "#eceef0"), _text(x, bottom + 18, label, anchor="middle")]
    for i, (name, value) in enumerate(marks):  # neighbours at two heights, so that no label covers another
        x, y = axis.at(value), top - (6 if i % 2 else 20)
        parts += [_line(x, y + 4, x, bottom, _INK, dashes="4 3")]
        parts += [_text(x, y, f"{name} {value:.2f}", anchor="middle", small=True)]
    for i, (prompt, mean, ci95) in enumerate(rows):
        y, colour = top + 16 + _ROW_PX * i, _ACCENT if i else _INK
        words = prompt if len(prompt) <= _LETTERS else f"{prompt[: _LETTERS - 1]}…"
        whole = "" if words == prompt else prompt
        parts.append(_text(_LABEL_PX - 10, y + 4, words, anchor="end", small=True, bold=i == 0, title=whole))
        if ci95 is not None and all(map(math.isfinite, ci95)):
            parts.append(_line(axis.at(ci95[0]), y, axis.at(ci95[1]), y, colour))
        parts.append(f'<circle cx="{axis.at(mean)}" cy="{y}" r="4.5" fill="{colour}"/>')
    summary = "; ".join(f"{prompt}: {mean:.3f}" for prompt, mean, _ in rows)
    return _plot(bottom + 30, parts, f"Similarity by prompt. {summary}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _plot(height: float, parts: Iterable[str], alternative: str) -> Plot:
    """`alternative` says in words what the picture shows."""
    return Plot(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height:g}" width="{WIDTH_PX}" '
        f'font-family="sans-serif" role="img"><title>{escape(alternative)}</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    bold: bool = False,
    small: bool = False,
    title: str = "",
) -> str:
    weight, size = ("bold" if bold else "normal"), (11 if small else 13)
    tip = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{_INK}">{tip}{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _polyline(points: Iterable[tuple[float, float]], colour: str, width: float) -> str:
    places = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'
