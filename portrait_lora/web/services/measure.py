"""The measured likeness as its page shows it; measurements kept for comparison; pictures from other tools.

What is kept lies in the studio's home: `kept/<person>/NAME.json` (a drift.json as it was) and
`judged/<person>/NAME/` (the pictures, re-encoded) with its report beside it.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.evaluation import charts, drift_words, tables
from portrait_lora.evaluation.drift import by_prompt, estimate
from portrait_lora.generation.reading import slug
from portrait_lora.pictures.reader import load_photo
from portrait_lora.records import DriftReport
from portrait_lora.rights import marks
from portrait_lora.tasks import compare

MOST_JUDGED: Final = 300
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt: likeness with its interval where there is one, faces, verified, and the bare base."""

    prompt: str
    mean: float
    ci95: tuple[float, float] | None
    face_found_rate: float
    verified_rate: float
    base: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A report in words and figures; a figure that was not measured is None."""

    name: str
    verdict: str
    headlines: tuple[drift_words.Headline, ...]
    mean: float
    ci95: tuple[float, float] | None
    no_interval: str
    impostor: float | None
    ceiling: float | None
    threshold: float
    rows: tuple[PromptRow, ...]
    worst: tuple[tuple[str, float | None], ...]
    portraits: int
    holdout: int
    embedder: str
    indicative: bool
    series: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A measurement that can be compared: its id for the form, and what it is called."""

    id: str
    name: str
    detail: str
    path: Path


@dataclass(frozen=True, slots=True)
class Judged:
    """Pictures from elsewhere: how many, and what was measured once they were."""

    name: str
    pictures: int
    measured: Measured | None


def report_path(folder: Path) -> Path:
    """The report of a likeness folder."""
    return folder / "reports" / "drift.json"


def measured(path: Path, *, series: str = "", other_tool: bool = False) -> Measured | None:
    """A drift.json; None where there is none, or one of another version."""
    try:
        report = tables.read_report(path)
        _, raw = tables.read_measured(path)
    except PortraitError:
        return None
    known = bool(raw.get("prompts_known", True))
    missing = drift_words.interval_missing(report, known)
    gap = raw.get("copy_gap")
    words = drift_words.OTHER_TOOL if other_tool else drift_words.TRAINED_HERE
    number = float(gap) if isinstance(gap, int | float) else None
    lines = drift_words.headlines(report, number, None, words, known)
    return Measured(
        name=str(raw.get("name") or ""),
        verdict=drift_words.verdict(report, known),
        headlines=tuple(lines),
        mean=report.mean,
        ci95=None if missing else report.ci95,
        no_interval=missing,
        impostor=_finite(report.impostor),
        ceiling=_finite(report.ceiling),
        threshold=report.threshold,
        rows=tuple(_rows(report, known)),
        worst=tuple((s.portrait, s.similarity) for s in charts.worst(report)[:6]),
        portraits=len(report.scores),
        holdout=len(report.holdout),
        embedder=report.embedder_id,
        indicative=len(report.holdout) < 3,
        series=series,
    )


def _rows(report: DriftReport, known: bool) -> Sequence[PromptRow]:
    base = {prompt: estimate(scores).mean for prompt, scores in by_prompt(report.base_scores).items()}
    rows = [
        PromptRow(
            row.prompt,
            row.mean,
            row.ci95 if known else None,
            row.face_found_rate,
            row.verified_rate,
            base.get(row.prompt),
        )
        for row in report.prompts
    ]
    return sorted(rows, key=lambda row: -row.mean)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def scored_series(folder: Path) -> str:
    """The series that the report speaks of; empty before one is scored."""
    from portrait_lora.likeness import Journal
    from portrait_lora.results import ScoreResult

    try:
        return Journal.open(folder / "reports").result(ScoreResult).series
    except ArtifactError:
        return ""


def keep(home: Path, person_id: str, folder: Path, name: str) -> str:
    """Keep the report as it is now under a name; raises `InputError` for a name that is taken."""
    place = _place(home / "kept" / person_id, name, ".json")
    report = report_path(folder)
    if measured(report) is None:
        raise InputError("there is no measurement to keep", remedy="Measure the portraits first.")
    manifest.make_folder(place.parent)
    value = strict_json.load_object(report, "report", file_names=True) | {"name": name.strip()}
    manifest.write_json_atomic(place, value)
    return place.stem


def forget_kept(home: Path, person_id: str, name: str) -> None:
    """Remove a kept measurement."""
    path = home / "kept" / person_id / f"{_sound(name)}.json"
    if not path.is_file():
        raise InputError("there is no such measurement", where=name)
    path.unlink()


def comparable(home: Path, person_id: str, folder: Path) -> tuple[Kept, ...]:
    """The report of now, those that were kept, and those of pictures from elsewhere."""
    rows: list[Kept] = []
    now = measured(report_path(folder), series=scored_series(folder))
    if now is not None:
        detail = f"likeness {now.mean:.3f}, {now.portraits} portraits"
        rows.append(Kept("now", f"now: {now.series or 'this series'}", detail, report_path(folder)))
    for path in sorted((home / "kept" / person_id).glob("*.json")):
        if (one := measured(path)) is not None:
            detail = f"likeness {one.mean:.3f}, {one.portraits} portraits"
            rows.append(Kept(f"kept-{path.stem}", one.name or path.stem, detail, path))
    for one in judged(home, person_id):
        if one.measured is not None:
            path = home / "judged" / person_id / f"{one.name}_report" / "drift.json"
            detail = f"likeness {one.measured.mean:.3f}, {one.pictures} pictures"
            rows.append(Kept(f"judged-{one.name}", f"elsewhere: {one.name}", detail, path))
    return tuple(rows)


def comparison(a: Kept, b: Kept) -> Mapping[str, Any]:
    """A against B, paired by prompt, with the interval.  Raises `InputError` when they cannot be compared."""
    if a.id == b.id:
        raise InputError("a measurement is always like itself", needed="two different ones")
    result = compare.compare_reports(a.path, b.path)
    names = {str(result["a"]): a.name, str(result["b"]): b.name}
    words = str(result["sentence"])
    for old, new in names.items():
        words = re.sub(rf"\b{re.escape(old)}\b", lambda _, n=new: f"“{n}”", words, count=2)
    return dict(result) | {"a": a.name, "b": b.name, "sentence": words}


def add_judged(home: Path, person_id: str, name: str, files: Sequence[Path]) -> Path:
    """Keep pictures from elsewhere, decoded and written anew as PNG; their folder, whole or not at all.

    Raises `InputError` for a name that is taken, no pictures, or a file that is none.
    """
    if not 0 < len(files) <= MOST_JUDGED:
        raise InputError(
            "no pictures" if not files else "too many pictures",
            got=len(files),
            needed=f"1 to {MOST_JUDGED}",
        )
    place = _place(home / "judged" / person_id, name, "")
    manifest.make_folder(place.parent)
    with manifest.new_folder(place) as part:
        for i, file in enumerate(files):
            pixels = load_photo(file)[1]
            origin = marks.of_copy(file, "c2pa.transcoded")
            data = marks.encode(Image.fromarray(pixels), "PNG", origin)
            (part / f"picture-{i + 1:03d}.png").write_bytes(data)
    return place


def judged(home: Path, person_id: str) -> tuple[Judged, ...]:
    """Sets of pictures from elsewhere, by name."""
    top = home / "judged" / person_id
    if not top.is_dir():
        return ()
    folders = sorted(p for p in top.iterdir() if p.is_dir() and not p.name.endswith("_report"))
    return tuple(
        Judged(
            p.name,
            sum(1 for _ in p.glob("*.png")),
            measured(top / f"{p.name}_report" / "drift.json", other_tool=True),
        )
        for p in folders
        if not p.name.startswith(".")
    )


def forget_judged(home: Path, person_id: str, name: str) -> None:
    """Remove a set of pictures from elsewhere with its report."""
    place = home / "judged" / person_id / _sound(name)
    if not place.is_dir():
        raise InputError("there is no such set of pictures", where=name)
    for folder in (place, place.with_name(f"{place.name}_report")):
        shutil.rmtree(folder, ignore_errors=True)


def drop(home: Path, person_id: str) -> None:
    """Everything kept of a person who is forgotten."""
    for name in ("kept", "judged"):
        shutil.rmtree(home / name / person_id, ignore_errors=True)


def _place(folder: Path, name: str, suffix: str) -> Path:
    place = folder / f"{_sound(slug(name)[:60])}{suffix}"
    if not name.strip() or place.name.endswith("_report"):
        raise InputError("a name is needed", where="name")
    if place.exists():
        raise InputError("this name is taken", where="name", got=name, needed="another one")
    return place


def _sound(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError("not a name", where="name", got=name[:60])
    return cast(str, name)
