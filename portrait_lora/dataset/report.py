"""`check.html`: one self-contained page with every photo, its verdict and the reasons.

Thumbnails are embedded as data URIs; nothing is loaded from elsewhere.  The page shows the subject's
photos, so it should stay beside them.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from portrait_lora import manifest
from portrait_lora.dataset.coverage import UNKNOWN
from portrait_lora.dataset.coverage import coverage as cover
from portrait_lora.dataset.photos import UnreadablePhoto, load_photo, pixels_of
from portrait_lora.records import Coverage, CuratedSet, Face, Finding, PhotoReport, Variety
from portrait_lora.rights import marks

THUMB_SIDE_PX: Final = 440
"""The longer side of an embedded thumbnail; it is shown at half of that, crisp on dense screens."""

TITLES: Final = {
    "unreadable": "Unreadable",
    "no_face": "No face",
    "several_faces": "Several faces",
    "other_person": "Another person",
    "doubtful_person": "The same person?",
    "face_too_small": "Face too small",
    "low_resolution": "Low resolution",
    "blurred": "Blurred",
    "under_exposed": "Too dark",
    "over_exposed": "Burnt out",
    "harsh_contrast": "Harsh contrast",
    "monochrome": "Black and white",
    "cut_off": "Cut off",
    "extreme_pose": "Extreme pose",
    "near_duplicate": "Near duplicate",
    "burst": "One of a burst",
    "surplus": "Enough of these",
    "occluded": "Covered face",
    "sunglasses": "Sunglasses",
    "may_be_minor": "A minor?",
}
UNITS: Final = {
    "face_too_small": "px",
    "low_resolution": "px",
    "blurred": "px of edge width in the aligned face",
    "extreme_pose": "°",
    "monochrome": "of chroma",
    "several_faces": "of the larger face",
    "other_person": "similarity to the nearest photos",
    "doubtful_person": "similarity to the nearest photos",
    "near_duplicate": "correlation",
    "burst": "correlation",
    "cut_off": "face sizes of room",
    "sunglasses": "of evidence",
    "occluded": "of the face covered",
    "may_be_minor": "years it looks",
}
_AT_MOST: Final = {
    "blurred",
    "several_faces",
    "over_exposed",
    "harsh_contrast",
    "extreme_pose",
    "near_duplicate",
    "burst",
    "surplus",
    "occluded",
    "sunglasses",
}
_VERDICTS: Final = {
    "bad": "Rejected",
    "ask": "A question to you; left out until then",
    "held": "Held out",
    "warn": "Used, with a remark",
    "good": "Used",
}
_WITHOUT_FIGURES: Final = {"no_face", "unreadable"}


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding as text."""

    code: str
    title: str
    severity: str
    figures: str
    advice: str


@dataclass(frozen=True, slots=True)
class Card:
    """One photo on the page; `box` and `points` are pixels of the upright photo, (W, H) its size."""

    name: str
    verdict: str
    tone: str
    thumb: str
    width: int
    height: int
    box: tuple[float, float, float, float] | None
    points: tuple[tuple[float, float], ...]
    facts: str
    reasons: tuple[Reason, ...]


def write_check_html(
    path: Path,
    curated: CuratedSet | None,
    reports: Sequence[PhotoReport],
    *,
    title: str = "Photo check",
    note: str = "",
) -> None:
    """Write the page.  Without `curated` (too few photos) it shows `reports` as they are.

    The order of the photos is that of `reports`; the findings of curation replace those in it.
    """
    final = _final(curated, reports)
    held = {r.photo.path for r in curated.holdout} if curated else set()
    cards = [_card(r, r.photo.path in held) for r in final]
    coverage = curated.coverage if curated else cover(final)
    counts = Counter(c.tone for c in cards)
    unchecked = sorted({f.code for r in final for f in r.findings if f.severity == "not_checked"})
    page = (
        _environment()
        .get_template("check.html.j2")
        .render(
            title=title,
            note=note,
            cards=cards,
            held=[c for c in cards if c.tone == "held"],
            photo_count=len(cards),
            usable=counts["good"] + counts["held"] + counts["warn"],
            rejected=counts["bad"],
            questions=counts["ask"],
            coverage=coverage,
            tables=_tables(coverage),
            variety=[_variety(one) for one in coverage.variety],
            advice=_advice(coverage, enough=curated is not None),
            unchecked=[TITLES.get(code, code).lower() for code in unchecked],
        )
    )
    manifest.write_text_atomic(path, page)


def _environment() -> Environment:
    loader = PackageLoader("portrait_lora.dataset", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _final(curated: CuratedSet | None, reports: Sequence[PhotoReport]) -> list[PhotoReport]:
    if curated is None:
        return list(reports)
    after = {r.photo.path: r for r in (*curated.kept, *curated.holdout, *curated.rejected)}
    return [after.get(r.photo.path, r) for r in reports]


@dataclass(frozen=True, slots=True)
class Table:
    """Counts per view and word; `most` is the largest of them."""

    title: str
    words: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    most: int


def _tables(coverage: Coverage) -> list[Table]:
    """View × expression, and view × tilt of the head; what is not measured at all is no table."""
    grids = [("expression", coverage.expression_bins, coverage.counts)]
    if coverage.cells:
        tilts = tuple(tuple(sum(row) for row in plane) for plane in coverage.cells)
        grids.append(("tilt of the head", coverage.pitch_bins, tilts))
    grids = [grid for grid in grids if _measured(grid[1], grid[2])] or [
        ("", ("photos",), tuple((sum(row),) for row in coverage.counts))
    ]
    return [
        Table(
            title,
            words,
            tuple(zip(coverage.yaw_bins, counts, strict=True)),
            max((n for row in counts for n in row), default=0),
        )
        for title, words, counts in grids
    ]


def _measured(words: tuple[str, ...], counts: tuple[tuple[int, ...], ...]) -> bool:
    """Whether any photo has another word than `unknown`; without photos every table stays."""
    known = sum(n for row in counts for word, n in zip(words, row, strict=True) if word != UNKNOWN)
    return known > 0 or not any(map(any, counts))


def _variety(one: Variety) -> str:
    """`3 outfits, the most frequent in 9 of 14 photos`."""
    count, most = len(one.groups), one.groups[0]
    noun = {"outfit": "outfit", "backdrop": "plain backdrop", "light": "kind of light"}[one.kind]
    plural = noun.replace("kind", "kinds") if one.kind == "light" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}, the most frequent in {most} of {one.photos} photos"


def _advice(coverage: Coverage, enough: bool) -> tuple[str, ...]:
    if coverage.advice or not enough:
        return coverage.advice
    return ("The views and expressions are well spread. Nothing to add.",)


def _card(report: PhotoReport, held: bool) -> Card:
    warned = any(f.severity == "warn" for f in report.findings)
    used = "held" if held else "warn" if warned else "good"
    tone = used if report.accepted else "ask" if report.questioned else "bad"
    verdict = _VERDICTS[tone]
    face = report.face
    return Card(
        name=_printable(report.photo.path.name),
        verdict=verdict,
        tone=tone,
        thumb=_thumbnail(report),
        width=report.photo.size_px[0],
        height=report.photo.size_px[1],
        box=face.box_xyxy_px if face else None,
        points=tuple((float(x), float(y)) for x, y in face.keypoints_px) if face else (),
        facts=_facts(report, face),
        reasons=tuple(_reason(f) for f in report.findings if f.severity != "not_checked"),
    )


def _printable(name: str) -> str:
    """A file name as valid Unicode: invalid bytes become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _facts(report: PhotoReport, face: Face | None) -> str:
    width, height = report.photo.size_px
    facts = [f"{width} × {height} px"] if width else []
    if face is not None:
        facts.append(f"face {face.size_px:.0f} px")
        if face.pose_deg is not None:
            facts.append(f"turned {round(face.pose_deg[1]):+d}°")
        facts += [face.expression] if face.expression else []
        facts.append(f"sharpness {face.sharpness:.0f}")
    return " · ".join(facts)


def _reason(finding: Finding) -> Reason:
    title = TITLES.get(finding.code, finding.code)
    return Reason(finding.code, title, finding.severity, figures(finding), finding.advice)


def figures(finding: Finding) -> str:
    """`84 px; at least 160 needed`."""
    if finding.measured is None or finding.threshold is None or finding.code in _WITHOUT_FIGURES:
        return ""
    unit = UNITS.get(finding.code, "")
    measured, threshold = _number(finding.measured), _number(finding.threshold)
    limit = "below" if finding.code in _AT_MOST else "at least"
    gap = "" if unit in ("", "°") else " "
    return f"{measured}{gap}{unit}; {limit} {threshold} needed"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2f}"


def _thumbnail(report: PhotoReport) -> str:
    """A small upright JPEG as a data: URI, with only the mark of a synthetic picture, if any; else empty."""
    if report.photo.size_px[0] == 0:
        return ""
    try:
        photo = report.photo
        most = pixels_of(photo)
        pixels = load_photo(photo.path, THUMB_SIDE_PX, max_pixels=most, edit=photo.edit)[1]
    except UnreadablePhoto:
        return ""
    data = marks.encode(Image.fromarray(pixels), "JPEG", marks.of_copy(report.photo.path), quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
