"""The photos of a person as the studio shows them: what the last check found, and what the user decided.

Decisions stand in `likeness.yaml` (`dataset.edits`, `dataset.curate.use_anyway`, `same_person`,
`other_person`), where a run on the command line finds them too.  The files are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora import config, likeness, manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.results import CheckResult, PhotoFinding, PhotoVerdict
from portrait_lora.web import ids

if TYPE_CHECKING:
    from portrait_lora.settings import EditConfig, LikenessConfig
    from portrait_lora.web.studio import Person

UNKNOWN: Final = "unknown"
Box = tuple[float, float, float, float]
WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)
_PERSON: Final = frozenset({"other_person", "doubtful_person"})
_FOR_THE_FILE: Final = _PERSON | {"surplus"}
"""Findings whose advice ends by naming a setting; on a page a button does that."""
_WORDS: Final = {
    "good": "Used", "held": "Held out", "warn": "Used, with a remark", "ask": "A question to you",
    "bad": "Not used", "new": "Not checked yet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remark:
    """One finding in words; `figures` is `84 px; at least 160 needed`."""

    code: str
    title: str
    severity: str
    figures: str
    advice: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One photo; `tone` is good, held, warn, ask, bad or new.

    `box` is the face (x, y, width, height) and `size` the picture (W, H) in pixels as it is read, after
    `turn_deg` and `crop`; None before a check.  `may_use` says whether "take it anyway" would help, `asks`
    whether the question is who is shown.  `pending` says that a decision waits for the next check.
    """

    id: str
    name: str
    sha256: str
    bytes: int
    tone: str
    verdict: str
    facts: str
    remarks: tuple[Remark, ...]
    size: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None
    turn_deg: int = 0
    crop: Box = WHOLE
    accepted: bool | None = None
    anyway: bool = False
    same: bool = False
    other: bool = False
    may_use: bool = False
    asks: bool = False
    pending: bool = False
    view: str = ""
    expression: str = ""

    @property
    def edited(self) -> bool:
        """Whether it is turned or cropped by hand."""
        return self.turn_deg != 0 or self.crop != WHOLE

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its findings."""
        return tuple(r.code for r in self.remarks)


@dataclass(frozen=True, slots=True)
class Grid:
    """Photos by view and expression: `rows` are (view, counts), `most` the largest count."""

    words: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    most: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All photos of a person, and what the last check says about the set; `stale` when it is out of date."""

    photos: tuple[Shown, ...]
    grid: Grid | None
    advice: tuple[str, ...]
    missing: tuple[str, ...]
    enough: bool
    checked: bool
    stale: bool

    def count(self, *tones: str) -> int:
        """How many photos have one of these tones."""
        return sum(p.tone in tones for p in self.photos)


def overview(person: Person) -> Overview:
    """Everything of the page.  Raises `ConfigError` for a `likeness.yaml` that cannot be read."""
    settings = settings_of(person.folder)
    result = last_check(person.folder)
    verdicts = {v.file: v for v in result.findings} if result else {}
    held = set(result.held_out) if result else set()
    files = files_of(person.folder)
    photos = tuple(_shown(path, verdicts.get(path.name), held, settings) for path in files)
    gone = set(verdicts) - {p.name for p in files}
    stale = result is not None and (bool(gone) or any(p.tone == "new" or p.pending for p in photos))
    return Overview(
        photos=photos,
        grid=_grid(photos) if result else None,
        advice=result.advice if result else (),
        missing=result.missing if result else (),
        enough=bool(result and result.enough),
        checked=result is not None,
        stale=stale,
    )


def shown_of(person: Person, photo_id: str) -> Shown:
    """One photo, without looking at the others.  Raises `InputError` when it is not there."""
    path, result = photo_of(person, photo_id), last_check(person.folder)
    verdict = next((v for v in result.findings if v.file == path.name), None) if result else None
    held = set(result.held_out) if result else set()
    return _shown(path, verdict, held, settings_of(person.folder))


def files_of(folder: Path) -> list[Path]:
    """The files of `photos/` that are or could be pictures, by name; none without the folder."""
    from portrait_lora.pictures.reader import list_photos

    return list_photos(folder / "photos") if (folder / "photos").is_dir() else []


def settings_of(folder: Path) -> LikenessConfig:
    """The settings of the person as the file stands."""
    file = folder / config.FILE_NAME
    return config.load(file if file.is_file() else None)


def edit_of(folder: Path, name: str) -> EditConfig | None:
    """How the photo of this name is turned and cropped; None when it is read as it is."""
    return next((edit for edit in settings_of(folder).dataset.edits if edit.file == name), None)


def last_check(folder: Path) -> CheckResult | None:
    """What the last check found; None before one."""
    try:
        return likeness.Journal.open(folder / "reports").result(CheckResult)
    except ArtifactError:
        return None


def photo_of(person: Person, id: str) -> Path:
    """The photo of that id.  Raises `InputError` when it is not there (any more)."""
    for path in files_of(person.folder):
        if ids.digest_id(f"photos/{path.name}") == id:
            return path
    raise InputError(
        "no such photo",
        where=id,
        remedy="It may have been removed in another tab. Load the page again.",
    )


def sha256_of(path: Path) -> str:
    """The sha256 of the file's bytes; read once as long as the file does not change."""
    status = path.stat()
    return _sha256(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _sha256(path: str, mtime_ns: int, size: int) -> str:
    del mtime_ns, size
    return manifest.sha256_file(Path(path))


def _shown(path: Path, verdict: PhotoVerdict | None, held: set[str], settings: LikenessConfig) -> Shown:
    name, curate = path.name, settings.dataset.curate
    sha256 = sha256_of(path)
    edit = next((e for e in settings.dataset.edits if e.file == name), None)
    turn, crop = (edit.turn_deg, edit.crop) if edit else (0, WHOLE)
    current = verdict if verdict and _speaks_of(verdict, sha256, turn, crop) else None
    tone = _tone(current, name in held)
    remarks = tuple(_remark(f) for f in current.findings) if current else ()
    anyway, same, other = (name in n for n in (curate.use_anyway, curate.same_person, curate.other_person))
    out = {r.code for r in remarks if r.severity in ("reject", "question")}
    size = current.size_px if current and current.size_px and current.size_px[0] else None
    box = None
    if current and current.box_px:
        x0, y0, x1, y1 = (float(v) for v in current.box_px)
        box = (x0, y0, x1 - x0, y1 - y0)
    return Shown(
        id=ids.digest_id(f"photos/{name}"), name=name.encode(errors="replace").decode(), sha256=sha256,
        bytes=path.stat().st_size, tone=tone, verdict=_WORDS[tone], facts=_facts(current),
        remarks=remarks, size=size, box=box, turn_deg=turn, crop=crop,
        accepted=current.accepted if current else None, anyway=anyway, same=same, other=other,
        may_use=bool(out) and box is not None and not out & (_PERSON | {"no_face", "unreadable"}),
        asks=bool(out & _PERSON), view=(current and current.view) or "",
        expression=(current and current.expression) or "",
        pending=_pending(current, out, anyway=anyway, same=same, other=other),
    )  # fmt: skip


def _speaks_of(verdict: PhotoVerdict, sha256: str, turn: int, crop: Box) -> bool:
    """Whether a verdict is of these bytes, read in this way; one of an earlier version counts."""
    as_read = (verdict.turn_deg or 0, tuple(map(float, verdict.crop or WHOLE)))
    return verdict.sha256 in (None, sha256) and as_read == (turn, tuple(map(float, crop)))


def _pending(verdict: PhotoVerdict | None, out: set[str], *, anyway: bool, same: bool, other: bool) -> bool:
    """Whether what the user decided is not yet in the verdict."""
    if verdict is None:
        return False
    if anyway and out - _PERSON - {"no_face", "unreadable"}:
        return True
    return (same and bool(out & _PERSON)) or (other and verdict.accepted)


def _tone(verdict: PhotoVerdict | None, is_held: bool) -> str:
    if verdict is None:
        return "new"
    severities = {f.severity for f in verdict.findings}
    if verdict.accepted:
        return "held" if is_held else "warn" if "warn" in severities else "good"
    return "bad" if "reject" in severities else "ask"


def _remark(finding: PhotoFinding) -> Remark:
    from portrait_lora.dataset.report import TITLES

    advice = finding.advice
    if finding.code in _FOR_THE_FILE:
        end = advice.find("? ") if "? " in advice else advice.find(". ")
        advice = advice[: end + 1] if end > 0 else advice
    title = TITLES.get(finding.code, finding.code)
    return Remark(finding.code, title, finding.severity, _figures(finding), advice)


def _figures(finding: PhotoFinding) -> str:
    from portrait_lora.dataset.report import figures
    from portrait_lora.records import Finding

    code, severity, measured = finding.code, finding.severity, finding.measured
    return figures(Finding(code, severity, measured, finding.threshold, ""))


def _facts(verdict: PhotoVerdict | None) -> str:
    if verdict is None or not verdict.size_px or not verdict.size_px[0]:
        return ""
    facts = [f"{verdict.size_px[0]} × {verdict.size_px[1]} px"]
    facts += [word for word in (verdict.view, verdict.expression) if word and word != UNKNOWN]
    return " · ".join(facts)


def _grid(photos: Sequence[Shown]) -> Grid | None:
    """The accepted photos by view and expression, from what the cards say."""
    from portrait_lora import vocabulary
    from portrait_lora.dataset.coverage import YAW_BINS

    cells: dict[tuple[str, str], int] = {}
    for photo in photos:
        if photo.accepted and photo.view:
            place = (photo.view, photo.expression or UNKNOWN)
            cells[place] = cells.get(place, 0) + 1
    if not cells:
        return None
    views = (*YAW_BINS, *((UNKNOWN,) if any(view == UNKNOWN for view, _ in cells) else ()))
    known = any(word != UNKNOWN for _, word in cells)
    unknown = (UNKNOWN,) if any(word == UNKNOWN for _, word in cells) else ()
    expressions = (*(vocabulary.EXPRESSIONS if known else ()), *unknown)
    rows = tuple((view, tuple(cells.get((view, word), 0) for word in expressions)) for view in views)
    return Grid(expressions, rows, max(cells.values()))


def by_name(photos: Sequence[Shown]) -> Mapping[str, Shown]:
    """Photos by their file name."""
    return {photo.name: photo for photo in photos}
