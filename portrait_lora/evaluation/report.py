"""`drift.html`, one page that a person can look at, and `drift.json`, the same numbers for programs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageOps

from portrait_lora import manifest
from portrait_lora.evaluation import figures
from portrait_lora.evaluation.drift import Estimate, by_prompt, estimate, gain_over_base
from portrait_lora.evaluation.identity import verified
from portrait_lora.evaluation.select import CheckpointScore
from portrait_lora.records import DriftReport, IdentityScore, PromptDrift

TEMPLATES: Final = Path(__file__).parent / "templates"
THUMBNAIL_PX: Final = 256
JPEG_QUALITY: Final = 84
INDICATIVE_BELOW: Final = 3
"""With fewer held-out photos than this, every figure is marked indicative."""


@dataclass(frozen=True, slots=True)
class PageNotes:
    """What the page says beside the numbers; everything is optional."""

    title: str = "How much of the face survived"
    subject: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    checkpoints: Sequence[CheckpointScore] = ()
    selected_step: int | None = None
    embedder_select: str = ""
    copy_gap: float | None = None
    synthetic: bool = False
    made_at: str = ""
    not_verified: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture with what is written under it; `uri` is None when the file is missing."""

    name: str
    uri: str | None
    similarity: float | None
    verified: bool
    nearest: str | None = None
    pose_bin: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    drift: PromptDrift
    tiles: tuple[Tile, ...]
    base_tiles: tuple[Tile, ...]
    base_mean: float | None


@dataclass(frozen=True, slots=True)
class Headline:
    """One number and one sentence that says what it means."""

    label: str
    value: str
    detail: str
    meaning: str
    kind: str = ""


def thumbnail_uri(path: Path, side_px: int = THUMBNAIL_PX) -> str | None:
    """A small upright JPEG without metadata as a data: URI; None when the picture cannot be read."""
    try:
        with Image.open(path) as picture:
            small = ImageOps.exif_transpose(picture).convert("RGB")
            small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    stream = io.BytesIO()
    bare.save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def write_drift_html(
    path: Path,
    report: DriftReport,
    *,
    portraits: Mapping[str, Path],
    holdout: Mapping[str, Path],
    base_portraits: Mapping[str, Path] | None = None,
    notes: PageNotes | None = None,
) -> None:
    """Write the page.  The mappings lead from the names used in the report to the pictures."""
    said = notes or PageNotes()
    layouts = (("wide", figures.WIDE_PX), ("narrow", figures.NARROW_PX))
    curves = [(name, figures.curve(said.checkpoints, said.selected_step, width)) for name, width in layouts]
    template = _environment().get_template("drift.html.j2")
    page = template.render(
        report=report,
        notes=said,
        headlines=headlines(report, said),
        verdict=verdict(report),
        has_width=len(report.scores) > 1,
        indicative=len(report.holdout) < INDICATIVE_BELOW,
        scales=[(name, figures.scale(report, width)) for name, width in layouts],
        curves=curves,
        axis=figures.similarity_axis(report, 0, 100),
        holdout=[Tile(name, _thumbnail(holdout, name), None, False) for name in report.holdout],
        rows=_rows(report, portraits, base_portraits or {}),
    )
    manifest.write_bytes_atomic(path, page.encode("utf-8"))


def write_drift_json(path: Path, report: DriftReport, notes: PageNotes | None = None) -> None:
    """The report as plain JSON; a number that was not measured is null.  It never holds embeddings."""
    value = {name: getattr(report, name) for name in (f.name for f in fields(report))}
    value["prompts"] = [asdict(p) for p in report.prompts]
    value["scores"] = [asdict(s) for s in report.scores]
    value["base_scores"] = [asdict(s) for s in report.base_scores]
    value["share_of_ceiling"] = report.share_of_ceiling if report.ceiling > report.impostor else None
    value["indicative"] = len(report.holdout) < INDICATIVE_BELOW
    gain = gain_over_base(report.scores, report.base_scores)
    value["gain_over_base"] = None if gain is None else asdict(gain)
    if notes is not None:
        value["copy_gap"] = notes.copy_gap
        value["selected_step"] = notes.selected_step
        value["checkpoints"] = [
            {"step": c.step, "mean": c.mean, "face_found_rate": c.face_found_rate, "n": c.n}
            for c in notes.checkpoints
        ]
    manifest.write_json_atomic(path, _plain(value))


def verdict(report: DriftReport) -> str:
    """The page in one sentence."""
    if report.mean_of_found is None:
        return "No face was found in any portrait: there is no likeness to measure."
    gap = report.ceiling - report.impostor
    if gap <= 0:
        return (
            "Here real photos of the person are no more alike than other people are: "
            "these photos or this embedder cannot carry a measurement."
        )
    share = report.share_of_ceiling
    if share <= 0.005:
        return "The portraits are no more like this person than other people are."
    text = f"The portraits reach {_percent(share)} of the way from other people to real photos of this person"
    return (
        f"{text} (95\u00a0% interval {_share_interval(report)})." if len(report.prompts) > 1 else f"{text}."
    )


def _share_interval(report: DriftReport) -> str:
    """The interval of the mean carried over to the share; ceiling and impostor are taken as known."""
    gap = report.ceiling - report.impostor
    low, high = ((end - report.impostor) / gap for end in report.ci95)
    return f"{_percent(low)} to {_percent(high)}"


def headlines(report: DriftReport, notes: PageNotes) -> list[Headline]:
    """The numbers at the top, the most important first."""
    base = estimate(report.base_scores) if report.base_scores else None
    gain = gain_over_base(report.scores, report.base_scores)
    measurable = report.ceiling > report.impostor
    found = (
        "no face found" if report.mean_of_found is None else f"{report.mean_of_found:.3f} over faces found"
    )
    return [
        Headline(
            "Similarity",
            f"{report.mean:.3f}",
            f"{_interval(report.ci95) if len(report.scores) > 1 else 'one portrait: no interval'} · {found}",
            "Mean cosine of the portraits to the held-out photos; a portrait without a face counts as 0.",
            "adapter",
        ),
        Headline(
            "Share of ceiling",
            _percent(report.share_of_ceiling) if measurable else "–",
            "0\u00a0% other people · 100\u00a0% real photos",
            "How far the portraits get from other people's similarity to that of real photos.",
        ),
        _base_headline(base, gain),
        Headline(
            "Ceiling",
            f"{report.ceiling:.3f}",
            f"from {len(report.holdout)} held-out photos",
            "What real photos of this person reach against the held-out ones, each without itself.",
            "ceiling",
        ),
        Headline(
            "Impostor",
            f"{report.impostor:.3f}",
            "the pack's gallery",
            "What other people reach against the same held-out photos: the floor.",
            "impostor",
        ),
        Headline(
            "Face found",
            _percent(report.face_found_rate),
            _of(report.face_found_rate, len(report.scores)),
            "Portraits in which the detector sees a face at all.",
        ),
        Headline(
            "Verified",
            _percent(report.verified_rate),
            f"threshold {report.threshold:.3f} at a false-match rate of {report.false_match_rate:g}",
            "Portraits that would pass as this person; one without a face does not.",
            "threshold",
        ),
        Headline(
            "Copy score",
            _percent(report.copy_score),
            "lower is better" if notes.copy_gap is None else f"similarity gap {notes.copy_gap:+.3f}",
            "Portraits whose pixels match a training photo more than real photos match each other.",
        ),
    ]


def _base_headline(base: Estimate | None, gain: Estimate | None) -> Headline:
    meaning = "The same prompts and seeds without the adapter: what the base model knew already."
    if base is None:
        return Headline("Base model", "–", "not measured", meaning, "base")
    detail = _interval(base.ci95) if base.portraits > 1 else "one portrait: no interval"
    if gain is not None:
        detail = f"gain {gain.mean:+.3f} ({gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f})"
    return Headline("Base model", f"{base.mean:.3f}", detail, meaning, "base")


def _rows(report: DriftReport, portraits: Mapping[str, Path], base: Mapping[str, Path]) -> list[Row]:
    ours, theirs = by_prompt(report.scores), by_prompt(report.base_scores)
    rows = []
    for drift in report.prompts:
        other = theirs.get(drift.prompt, [])
        rows.append(
            Row(
                drift=drift,
                tiles=tuple(_tile(s, portraits, report.threshold) for s in ours.get(drift.prompt, [])),
                base_tiles=tuple(_tile(s, base, report.threshold) for s in other),
                base_mean=estimate(other).mean if other else None,
            )
        )
    return rows


def _tile(score: IdentityScore, pictures: Mapping[str, Path], threshold: float) -> Tile:
    uri = _thumbnail(pictures, score.portrait)
    passes = verified(score, threshold)
    return Tile(score.portrait, uri, score.similarity, passes, score.nearest, score.pose_bin)


def _thumbnail(pictures: Mapping[str, Path], name: str) -> str | None:
    return thumbnail_uri(pictures[name]) if name in pictures else None


def _interval(ends: tuple[float, float]) -> str:
    return f"95\u00a0% CI {ends[0]:.3f} to {ends[1]:.3f}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f}\u00a0%" if math.isfinite(share) else "–"


def _of(rate: float, count: int) -> str:
    return f"{round(rate * count)} of {count} portraits"


def _plain(value: object) -> object:
    """Tuples to lists, NaN and infinities to null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
