"""A training as its page shows it: what it would take, its curve, its checkpoints and their probes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from portrait_lora import config, likeness, manifest, provenance, strict_json, yaml_edit
from portrait_lora.config import FILE_NAME, LikenessConfig
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.evaluation.drift_words import MIN_PROMPTS
from portrait_lora.evaluation.figures import Axis
from portrait_lora.rights import consent
from portrait_lora.web import aside
from portrait_lora.web.services import settings

_MOST_BYTES: Final = 4_000_000
_MOST_POINTS: Final = 300
SMOOTHED_OVER: Final = 25
"""Steps of the running mean of a loss curve."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure laid out for one width: polylines, ticks as (pixel, text), whiskers and points."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    top: int
    lines: tuple[tuple[str, str], ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A checkpoint on the curve of likeness; `bar` from low to high in pixels."""

    step: int
    x: float
    y: float
    bar: tuple[float, float] | None
    chosen: bool
    text: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a training so far: the last step, the last loss, the running mean at the end."""

    steps: int
    last: float
    smooth: float
    curves: tuple[tuple[str, Curve], ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint: its likeness by embedder A on the probes, None until it is probed.

    `ci95` is Student's interval of the mean over the probes, None with fewer than `MIN_PROMPTS`.
    """

    step: int
    mean: float | None
    ci95: tuple[float, float] | None
    probes: int
    face_found_rate: float | None
    copy_score: float | None
    pictures: tuple[Path, ...]
    chosen: bool
    best: bool


@dataclass(frozen=True, slots=True)
class Training:
    """What there is of the configured run; `folder` is that of a successor while one is being trained."""

    run: str
    folder: Path | None
    loss: Loss | None
    checkpoints: tuple[Checkpoint, ...]
    curves: tuple[tuple[str, Curve], ...]
    selected: int | None
    best: int | None
    by_hand: int | None
    whole: bool
    average: tuple[int, ...] = ()


def resolved(folder: Path) -> LikenessConfig:
    """The settings as they are now.  Raises `ConfigError`."""
    file = folder / FILE_NAME
    return config.load(file if file.is_file() else None)


def plan(folder: Path) -> dict[str, Any]:
    """What `train --dry-run` says: memory, time, disk, and what stands in the way."""
    return aside.answer("plan", folder, key=_key(folder))


def plan_is_known(folder: Path) -> bool:
    """Whether `plan` answers at once."""
    return aside.known("plan", folder, key=_key(folder))


def _key(folder: Path) -> str:
    dataset = manifest.read(folder / "dataset") if (folder / "dataset").is_dir() else None
    photos = sorted(p.name for p in (folder / "photos").iterdir()) if (folder / "photos").is_dir() else []
    return manifest.digest([settings.version_of(folder), dataset.digest if dataset else "", photos])


def in_the_way(folder: Path) -> str:
    """Why a training may not begin: the consent that is missing; empty when it may."""
    try:
        consent.require(folder, folder / "photos", commercial=resolved(folder).commercial)
    except PortraitError as error:
        return error.message()
    return ""


def unknown_world(folder: Path) -> bool:
    """Whether the embedded models, which know only the studio, are to learn from photographs and may not."""
    chosen = resolved(folder)
    if chosen.allow_synthetic_models or "embedded" not in (chosen.base, chosen.face_pack):
        return False
    return any(provenance.is_unmarked_picture(path) for path in likeness.picture_files(folder / "photos"))


def allow_unknown_world(folder: Path) -> None:
    """Write into the settings that the embedded models may be tried on photographs."""
    settings.set_one(folder, "allow_synthetic_models", True)


def training(folder: Path, *, busy: bool = False) -> Training:
    """The configured run as it stands; with `busy` a successor that is just being trained comes first."""
    chosen = resolved(folder)
    run = folder / "adapters" / chosen.run
    place = _place(run, busy=busy)
    if place is None:
        return Training(chosen.run, None, None, (), (), None, None, chosen.select.step, whole=False)
    table, selection = _table(place)
    selected = _whole_number(selection.get("step"))
    best = _whole_number(selection.get("best_step")) or selected
    checkpoints = _checkpoints(place, table, selected, best)
    average = selection.get("average")
    kept = isinstance(average, dict) and bool(cast(dict[str, object], average).get("kept"))
    steps = cast(list[int], cast(dict[str, object], average).get("steps")) if kept else []
    return Training(
        run=chosen.run,
        folder=place,
        loss=loss_of(place / "metrics.jsonl"),
        checkpoints=checkpoints,
        curves=tuple((name, c) for name, width in _WIDTHS if (c := _likeness_curve(checkpoints, width))),
        selected=selected,
        best=best,
        by_hand=chosen.select.step,
        whole=(run / "adapter.safetensors").is_file(),
        average=tuple(steps or ()),
    )


def keep(folder: Path, step: int | None) -> None:
    """Write into the settings which checkpoint is kept: a step, or None for the best on the probes.

    Raises `InputError` for a step that is not there.
    """
    there = [one.step for one in training(folder).checkpoints]
    if step is not None and step not in there:
        needed = ", ".join(map(str, there)) or "a finished training"
        raise InputError("there is no such checkpoint", where="step", got=step, needed=needed)
    settings.set_one(folder, "select.step", yaml_edit.DEFAULT if step is None else step)


_WIDTHS: Final = (("wide", 640), ("narrow", 340))


def _place(run: Path, *, busy: bool) -> Path | None:
    """The run's own folder, or the successor beside it that was written to last."""
    places = [run] if run.is_dir() else []
    if (busy or not places) and run.parent.is_dir():
        places += [p for p in run.parent.glob(f".{run.name}-*") if (p / "inputs.json").is_file()]
    return max(places, key=_touched, default=None)


def _touched(folder: Path) -> float:
    files = [folder / name for name in ("metrics.jsonl", "previews.json", "selection.json", "inputs.json")]
    return max((f.stat().st_mtime for f in files if f.is_file()), default=0.0)


def _table(folder: Path) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """The rows of the probes, and the selection; while training goes on, the probes so far."""
    for name in ("selection.json", "previews.json"):
        try:
            value = cast(dict[str, Any], strict_json.load_object(folder / name, "table of probes"))
        except ArtifactError:
            continue
        rows = value.get("probes")
        if isinstance(rows, list):
            return cast(list[Mapping[str, Any]], rows), value if name == "selection.json" else {}
    return [], {}


def _checkpoints(
    folder: Path, table: Sequence[Mapping[str, Any]], selected: int | None, best: int | None
) -> tuple[Checkpoint, ...]:
    rows = {int(row["step"]): row for row in table}
    places = (folder / "checkpoints").glob("step-*") if (folder / "checkpoints").is_dir() else ()
    steps = sorted({int(p.name[5:]) for p in places if p.name[5:].isdigit()} | set(rows))
    rows_of: list[Checkpoint] = []
    for step in steps:
        row = rows.get(step, {})
        values = [float(v) for v in row.get("values") or ()]
        probes = folder / "probes" / f"step-{step:06d}"
        pictures = sorted(probes.glob("*.png")) if probes.is_dir() else []
        rows_of.append(
            Checkpoint(
                step=step,
                mean=float(row["mean"]) if row else None,
                ci95=interval(values),
                probes=len(values),
                face_found_rate=row.get("face_found_rate"),
                copy_score=row.get("copy_score"),
                pictures=tuple(pictures),
                chosen=step == selected,
                best=step == best,
            )
        )
    return tuple(rows_of)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t; None with fewer values than a report needs prompts."""
    if len(values) < MIN_PROMPTS:
        return None
    from scipy import stats

    mean, n = sum(values) / len(values), len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def loss_of(metrics: Path) -> Loss | None:
    """The loss of every step, and its running mean; None before the first step."""
    rows = [(int(r["step"]), float(r["loss"])) for r in _rows(metrics) if _measured(r)]
    if not rows:
        return None
    smooth: list[float] = []
    for i in range(len(rows)):
        window = [v for _, v in rows[max(0, i - SMOOTHED_OVER + 1) : i + 1]]
        smooth.append(sum(window) / len(window))
    curves = tuple((name, _loss_curve(rows, smooth, width)) for name, width in _WIDTHS)
    return Loss(rows[-1][0], rows[-1][1], smooth[-1], curves)


def _measured(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("loss"), int | float) and math.isfinite(row["loss"]) and "step" in row


def _rows(metrics: Path) -> list[Mapping[str, Any]]:
    try:
        with metrics.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - _MOST_BYTES))
            lines = stream.read().splitlines()
    except OSError:
        return []
    values: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            value: object = json.loads(line)
        except ValueError:  # the first of a part, or the one that is being written
            continue
        if isinstance(value, dict):
            values.append(cast(Mapping[str, Any], value))
    return values


def _loss_curve(rows: Sequence[tuple[int, float]], smooth: Sequence[float], width: int) -> Curve:
    stride = max(1, len(rows) // _MOST_POINTS)
    kept = [*range(0, len(rows), stride)]
    kept += [] if kept[-1] == len(rows) - 1 else [len(rows) - 1]
    low, high = min(v for _, v in rows), max(v for _, v in rows)
    left, right, top, bottom = 42, width - 10, 12, 190
    pad = max(0.05 * (high - low), 1e-4)
    up = Axis(max(low - pad, 0.0), high + pad, bottom, top)
    across = Axis(rows[0][0], max(rows[-1][0], rows[0][0] + 1), left, right)
    raw = " ".join(f"{across.at(rows[i][0])},{up.at(rows[i][1])}" for i in kept)
    mean = " ".join(f"{across.at(rows[i][0])},{up.at(smooth[i])}" for i in kept)
    return Curve(
        width, 222, left, right, bottom, top, (("curve faint", raw), ("curve", mean)),
        _steps(across, 4 if width < 500 else 7), tuple(_ticks(up, 4)),
    )  # fmt: skip


def _steps(across: Axis, most: int) -> tuple[tuple[float, str], ...]:
    """Round numbers of steps along an axis."""
    span = max(across.high - across.low, 1)
    rough = span / most
    size = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = next((size * m for m in (1, 2, 5, 10) if size * m >= rough), size * 10)
    first = math.ceil(across.low / step) * step
    count = int((across.high - first) // step) + 1
    return tuple((across.at(first + i * step), f"{int(first + i * step)}") for i in range(max(count, 0)))


def _ticks(axis: Axis, most: int) -> list[tuple[float, str]]:
    span = axis.high - axis.low
    if span >= 0.02:
        return axis.ticks(most)
    return [(axis.at(v), f"{v:.4f}") for v in (axis.low, axis.high)]


def _likeness_curve(checkpoints: Sequence[Checkpoint], width: int) -> Curve | None:
    rows = [(c, c.mean) for c in checkpoints if c.mean is not None]
    if not rows:
        return None
    lows = [c.ci95[0] if c.ci95 else m for c, m in rows]
    highs = [c.ci95[1] if c.ci95 else m for c, m in rows]
    left, right, top, bottom = 42, width - 10, 14, 190
    low = max(math.floor(min(lows) * 10) / 10, -0.5)
    up = Axis(low, max(min(math.ceil(max(highs) * 10) / 10, 1.0), low + 0.2), bottom, top)
    first, last = rows[0][0].step, rows[-1][0].step
    across = Axis(first, max(last, first + 1), left + 22, right - 22)
    points = tuple(
        Point(
            step=c.step,
            x=across.at(c.step),
            y=up.at(mean),
            bar=(up.at(c.ci95[0]), up.at(c.ci95[1])) if c.ci95 else None,
            chosen=c.chosen,
            text=f"{mean:.2f}",
        )
        for c, mean in rows
    )
    stride = math.ceil(len(points) / (5 if width < 500 else 10))
    named = tuple((p.x, str(p.step)) for i, p in enumerate(points) if i % stride == 0)
    line = " ".join(f"{p.x},{p.y}" for p in points)
    return Curve(width, 222, left, right, bottom, top, (("curve", line),), named, tuple(up.ticks(5)), points)


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def prepared(folder: Path) -> bool:
    """Whether the photos have been looked at: the check has run."""
    journal = likeness.Journal.open(folder / "reports")
    return "check" in journal.stages
