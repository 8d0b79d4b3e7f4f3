"""One series and one brand over the people of a team: everybody's portraits, and a page with all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora import log, manifest, strict_json
from portrait_lora.config import load
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.generation.checklist import Framing, framing
from portrait_lora.generation.contact_sheet import contact_sheet
from portrait_lora.likeness import CONTACT_SHEET, open_likeness, series_name
from portrait_lora.records import Portrait
from portrait_lora.results import FinishedSeries, GenerateResult, Number, Value
from portrait_lora.stages.context import Context
from portrait_lora.stages.finish import pictures_of
from portrait_lora.stages.series import delivered

_log = log.get(__name__)
Make = Callable[[Path], GenerateResult]
"""Makes the series of one likeness folder."""
TOLD: Final = "team.json"
FINISHED_SHEET: Final = "finished_sheet.jpg"


class Member(Value):
    """The series of one person, or the error that kept them from it."""

    person: str
    portraits: int
    error: str = ""
    flawed: int = 0
    seconds_per_portrait: Number | None = None
    cost_per_portrait: Number | None = None
    gallery: str = ""
    finished: FinishedSeries | None = None


class Steadiness(Value):
    """Standard deviation over all people, as shares of the picture's height; None without faces."""

    eye_line_std: Number | None
    head_height_std: Number | None


class TeamResult(Value):
    """Everybody of a team, as in `team.json`; `series` names series and brand."""

    people: tuple[Member, ...]
    failed: int
    framing: Steadiness
    series: str
    contact_sheet: str = ""
    finished_sheet: str = ""


def generate(folders: Sequence[Path], make: Make, out: Path, overrides: Sequence[str]) -> TeamResult:
    """Make every person's series and put one row per person on a sheet; writes `out/team.json`.

    A person whose series fails does not keep the others from theirs: the reason is told.  Raises `InputError`
    for two folders of one name, and when `out` holds the sheet of another series.
    """
    names = [folder.resolve().name for folder in folders]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError("two folders have one name", where=twice, remedy="Rename one of them.")
    name_of_series = _refuse_another_sheet(out, overrides)
    rows: list[Member] = []
    by_name: dict[str, list[Portrait]] = {}
    done: dict[str, list[Portrait]] = {}
    seen: list[Framing] = []
    for name, folder in zip(names, folders, strict=True):
        try:
            result = make(folder)
        except PortraitError as error:
            _log.warning("%s: %s", name, error)
            rows.append(Member(person=name, portraits=0, error=str(error)))
            continue
        ctx = Context(open_likeness(folder, overrides))
        by_name[name] = delivered(ctx)
        seen += framings(ctx, by_name[name])
        row = Member(
            person=name,
            portraits=result.portraits,
            flawed=result.flawed,
            seconds_per_portrait=result.seconds_per_portrait,
            cost_per_portrait=result.cost_per_portrait,
            gallery=result.gallery,
        )
        if result.finished:
            row = row.model_copy(update={"finished": result.finished})
            done[name] = _finished(by_name[name], Path(result.finished.folder))
        rows.append(row)
    team = TeamResult(
        people=tuple(rows),
        failed=sum(bool(row.error) for row in rows),
        framing=steadiness(seen),
        series=name_of_series,
    )
    if by_name:
        manifest.make_folder(out)
        team = team.model_copy(update={"contact_sheet": str(team_sheet(by_name, out / CONTACT_SHEET))})
        if done := {name: portraits for name, portraits in done.items() if portraits}:
            sheet = team_sheet(done, out / FINISHED_SHEET)
            team = team.model_copy(update={"finished_sheet": str(sheet)})
        manifest.write_json_atomic(out / TOLD, team.json_value())
    return team


def _finished(portraits: Sequence[Portrait], folder: Path) -> list[Portrait]:
    """The finished pictures of those portraits that have one, each with its own size."""
    pictures = pictures_of(folder)
    out: list[Portrait] = []
    for one in portraits:
        if (path := pictures.get(one.path.stem)) is not None:
            with Image.open(path) as opened:
                out.append(replace(one, path=path, shot=replace(one.shot, size_px=opened.size)))
    return out


def _refuse_another_sheet(out: Path, overrides: Sequence[str]) -> str:
    """The name of series and brand; `InputError` when `out` holds the sheet of others."""
    generate = load(None, overrides).generate
    name = series_name(generate.series, generate.brand)
    try:
        before = strict_json.load_object(out / TOLD, "record of the team").get("series", name)
    except ArtifactError:
        return name
    if before != name:
        remedy = "Choose another folder with --out."
        raise InputError(
            "here is the sheet of another series", where=out, got=before, needed=name, remedy=remedy
        )
    return name


def framings(ctx: Context, portraits: Sequence[Portrait]) -> list[Framing]:
    """Eye line and head height of the portraits with a face."""
    from portrait_lora.evaluation import similarity

    seen: list[Framing] = []
    for portrait in portraits:
        image = similarity.read_rgb(portrait.path)
        face = similarity.subject_face(ctx.finder.find(image))
        if face is not None:
            seen.append(framing(face, image.shape[0]))
    return seen


def steadiness(seen: Sequence[Framing]) -> Steadiness:
    """Standard deviation over all people, as shares of the picture's height; None without faces."""
    if not seen:
        return Steadiness(eye_line_std=None, head_height_std=None)
    lines, heights = [f.eye_line for f in seen], [f.head_height for f in seen]
    return Steadiness(
        eye_line_std=round(float(np.std(lines)), 4), head_height_std=round(float(np.std(heights)), 4)
    )


def team_sheet(by_name: dict[str, list[Portrait]], path: Path) -> Path:
    """One row per person, the name below the pictures."""
    names = {str(p.path): [name] for name, portraits in by_name.items() for p in portraits}
    columns = max(len(portraits) for portraits in by_name.values())
    every = [p for portraits in by_name.values() for p in portraits]
    return contact_sheet(every, path, title="team", columns=columns, notes=names)
