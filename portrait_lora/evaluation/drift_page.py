"""The report: `drift.html`, a page for people, and `drift.json`, the same numbers for programs."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from portrait_lora import manifest
from portrait_lora.evaluation import charts, drift_words, figures
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.evaluation.drift import by_prompt, estimate, gain_over_base
from portrait_lora.evaluation.protocol import Extras
from portrait_lora.evaluation.similarity import verified
from portrait_lora.pictures.reader import UnreadablePhoto, load_photo
from portrait_lora.records import DriftReport, IdentityScore, PromptDrift
from portrait_lora.rights import marks

TEMPLATES: Final = Path(__file__).parent / "templates"
THUMBNAIL_PX: Final = 256
JPEG_QUALITY: Final = 84
MOST_PICTURES: Final = 240
"""Maximum number of each kind on the page, spread over the prompts; drift.csv has all."""
INDICATIVE_BELOW: Final = 3
"""With fewer held-out photos than this, every figure is marked indicative."""


@dataclass(frozen=True, slots=True)
class PageNotes:
    """Optional context for the page."""

    title: str = "How much of the face survived"
    subject: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    checkpoints: Sequence[CheckpointScore] = ()
    selected_step: int | None = None
    best_step: int | None = None  # what the probes would have chosen, where a person chose
    embedder_select: str = ""
    copy_gap: float | None = None
    synthetic: bool = False
    made_at: str = ""
    not_verified: Sequence[str] = ()
    words: drift_words.Wording = drift_words.TRAINED_HERE
    prompts_known: bool = True


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture with its caption; `uri` is None when the file is missing."""

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
    left_out: int = 0


def thumbnail_uri(path: Path, side_px: int = THUMBNAIL_PX) -> str | None:
    """A small upright JPEG as a data: URI, signed, with the picture's mark and no other metadata.

    None when the picture cannot be read."""
    try:
        small = Image.fromarray(load_photo(path, side_px)[1])
    except UnreadablePhoto:
        return None
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    data = marks.encode(bare, "JPEG", marks.of_copy(path), quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def write_drift_html(
    path: Path,
    report: DriftReport,
    *,
    portraits: Mapping[str, Path],
    holdout: Mapping[str, Path],
    base_portraits: Mapping[str, Path] | None = None,
    notes: PageNotes | None = None,
    extras: Extras | None = None,
) -> None:
    """Write the page.  The mappings are from names in the report to picture files."""
    page_notes = notes or PageNotes()
    gap = page_notes.copy_gap if extras is None else extras.copy_gap
    layouts = (("wide", figures.WIDE_PX), ("narrow", figures.NARROW_PX))
    curves = [
        (name, figures.curve(page_notes.checkpoints, page_notes.selected_step, width))
        for name, width in layouts
    ]
    template = _environment().get_template("drift.html.j2")
    page = template.render(
        report=report,
        notes=page_notes,
        probes_behind=_fewest(page_notes.checkpoints),
        refused_probes=sum(row.refused for row in page_notes.checkpoints),
        headlines=drift_words.headlines(report, gap, extras, page_notes.words, page_notes.prompts_known),
        verdict=drift_words.verdict(report, page_notes.prompts_known),
        words=page_notes.words,
        no_interval=_no_interval(report, page_notes),
        min_prompts=drift_words.MIN_PROMPTS,
        rate_words=drift_words.rate_words(report),
        set_facts=drift_words.set_facts(extras) if extras else {},
        remarks=drift_words.remarks(extras) if extras else [],
        bins=[("View", extras.by_view), ("Face size", extras.by_face_size)] if extras else [],
        protocol=extras.protocol if extras else "",
        indicative=len(report.holdout) < INDICATIVE_BELOW,
        scales=[(name, _scale(report, page_notes, width)) for name, width in layouts],
        curves=curves,
        spreads=[(name, charts.distribution(report, extras, width)) for name, width in layouts]
        if extras
        else [],
        heat=charts.heat_map(report),
        worst=_worst(report, portraits, holdout),
        axis=figures.similarity_axis(report, 0, 100, interval=not _no_interval(report, page_notes)),
        holdout=[Tile(name, _thumbnail(holdout, name), None, False) for name in report.holdout],
        rows=_rows(report, portraits, base_portraits or {}),
    )
    manifest.write_bytes_atomic(path, page.encode(errors="replace"))


def _fewest(rows: Sequence[CheckpointScore]) -> int:
    """How many probes those checkpoints have that were not drawn to the end; 0 when all were."""
    counts = {row.n for row in rows}
    return min(counts) if len(counts) > 1 else 0


def write_drift_json(
    path: Path, report: DriftReport, notes: PageNotes | None = None, extras: Extras | None = None
) -> None:
    """The report as plain JSON; a number that was not measured is null.  It never holds embeddings."""
    value = {name: getattr(report, name) for name in (f.name for f in fields(report))}
    value["prompts"] = [asdict(p) for p in report.prompts]
    value["scores"] = [_score(s) for s in report.scores]
    value["base_scores"] = [_score(s) for s in report.base_scores]
    value["share_of_ceiling"] = report.share_of_ceiling if report.ceiling > report.impostor else None
    value["indicative"] = len(report.holdout) < INDICATIVE_BELOW
    gain = gain_over_base(report.scores, report.base_scores)
    value["gain_over_base"] = None if gain is None else asdict(gain)
    if notes is not None:
        value["name"] = notes.subject
        value["copy_gap"] = notes.copy_gap
        value["prompts_known"] = notes.prompts_known
        value["selected_step"] = notes.selected_step
        value["checkpoints"] = [
            {"step": c.step, "mean": c.mean, "face_found_rate": c.face_found_rate, "n": c.n}
            | {"copy_score": c.copy_score, "adherence": c.adherence}
            | ({"refused": c.refused} if c.refused else {})
            for c in notes.checkpoints
        ]
    if extras is not None:
        value |= asdict(extras)
    manifest.write_json_atomic(path, _plain(value))


def _score(score: IdentityScore) -> dict[str, object]:
    """A row of the report; the layers stand with the picture, in its own record."""
    return {name: value for name, value in asdict(score).items() if name != "layers"}


def _scale(report: DriftReport, notes: PageNotes, width: int) -> figures.Scale:
    interval = not _no_interval(report, notes)
    return figures.scale(report, width, label=notes.words.portraits, interval=interval)


def _no_interval(report: DriftReport, notes: PageNotes) -> str:
    return drift_words.interval_missing(report, notes.prompts_known)


def _worst(
    report: DriftReport, portraits: Mapping[str, Path], holdout: Mapping[str, Path]
) -> list[tuple[Tile, Tile | None]]:
    """The least similar portraits, each with its nearest held-out photo."""
    return [
        (
            _tile(score, portraits, report.threshold),
            None
            if score.nearest is None
            else Tile(score.nearest, _thumbnail(holdout, score.nearest), None, False),
        )
        for score in charts.worst(report)
    ]


def _rows(report: DriftReport, portraits: Mapping[str, Path], base: Mapping[str, Path]) -> list[Row]:
    ours, theirs = by_prompt(report.scores), by_prompt(report.base_scores)
    most = max(MOST_PICTURES // max(len(report.prompts), 1), 1)
    rows = []
    for drift in report.prompts:
        other = theirs.get(drift.prompt, [])
        mine = ours.get(drift.prompt, [])
        rows.append(
            Row(
                drift=drift,
                tiles=tuple(_tile(s, portraits, report.threshold) for s in mine[:most]),
                base_tiles=tuple(_tile(s, base, report.threshold) for s in other[:most]),
                base_mean=estimate(other).mean if other else None,
                left_out=max(len(mine) - most, 0),
            )
        )
    return rows


def _tile(score: IdentityScore, pictures: Mapping[str, Path], threshold: float) -> Tile:
    uri = _thumbnail(pictures, score.portrait)
    passes = verified(score, threshold)
    return Tile(score.portrait, uri, score.similarity, passes, score.nearest, score.pose_bin)


def _thumbnail(pictures: Mapping[str, Path], name: str) -> str | None:
    return thumbnail_uri(pictures[name]) if name in pictures else None


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
