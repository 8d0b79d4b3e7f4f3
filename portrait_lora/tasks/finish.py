"""Finishing of portraits by a look: the gated chain, the files, and the record that makes it again."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from portrait_lora import likeness, log, manifest, provenance, record_limits, strict_json
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.faces.packs import FacePack
from portrait_lora.finishing import chain
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.look import Look, Planned, load_look, looks_folder, planned
from portrait_lora.finishing.page import Shown, write_page
from portrait_lora.finishing.step import Redraw
from portrait_lora.finishing.steps.layers import Layers
from portrait_lora.generation import remake, save
from portrait_lora.results import Number, Value
from portrait_lora.tasks.edit import Reproduction
from portrait_lora.tasks.finish_files import SUFFIX, encoded, mark_of, place, write
from portrait_lora.tasks.finish_judge import Models, SimilarityJudge, open_models
from portrait_lora.tasks.redraw import redrawing

ACTION: Final = "finish"
PAGE: Final = "finished.html"
SUFFIXES: Final = frozenset(SUFFIX.values())


class StepFigures(Value):
    """A step as carried out: its strength (1: as asked), and embedder A's likeness before and after it."""

    step: str
    strength: Number
    before: Number | None
    after: Number | None


class FinishedPicture(Value):
    """A finished picture; likeness by A and B, before and after the whole chain.  Refused: no file."""

    source: str
    file: str | None
    steps: tuple[StepFigures, ...] = ()
    before_a: Number | None = None
    after_a: Number | None = None
    before_b: Number | None = None
    after_b: Number | None = None
    refused: str | None = None


class FinishResult(Value):
    """All pictures of one call; `references` says what likeness is measured against."""

    look: str
    folder: str
    references: str
    pictures: tuple[FinishedPicture, ...]
    page: str


def finish(
    path: Path,
    look_name: str,
    root: Path | None,
    out: Path | None,
    overrides: Sequence[str],
    *,
    limit: float = chain.LIMIT,
    seed: int = 0,
) -> FinishResult:
    """Finish a picture, or every PNG portrait of a series' folder, into a folder of its own.

    Originals stay as they are.  A picture that a step refuses is reported, and the others go on.  Raises
    `InputError` for a missing picture, `ConfigError` for a wrong look.
    """
    look = load_look(look_name)
    files = _pictures(path)
    root = root or next((p for p in path.resolve().parents if (p / FILE_NAME).is_file()), None)
    models = open_models(root, files, overrides)
    folder = out or _folder(path, root, look)
    shared = SimilarityJudge(models, models.held_out, look.folder, seed) if models.held_out else None
    rows: list[FinishedPicture] = []
    with log.progress(f"finishing by {look.name}", len(files)) as advance:
        for file in files:
            rows.append(_one(file, look, models, shared, folder, limit, seed, (root, overrides)))
            advance(1)
    references = "the held-out photos" if models.held_out else "the picture before"
    page = write_page(
        folder / PAGE, [_shown(row) for row in rows], look=look.name, about=look.about, references=references
    )
    return FinishResult(
        look=look.name, folder=str(folder), references=references, pictures=tuple(rows), page=str(page)
    )


def _shown(row: FinishedPicture) -> Shown:
    return Shown(
        before=Path(row.source),
        after=None if row.file is None else Path(row.file),
        likeness=(("A", row.before_a, row.after_a), ("B", row.before_b, row.after_b)),
        steps=[(step.step, step.strength) for step in row.steps],
        refused=row.refused or "",
    )


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    pictures = (
        [p for p in sorted(path.glob("*.png")) if save.sidecar_of(p).is_file()] if path.is_dir() else []
    )
    if not pictures:
        raise InputError(
            "nothing to finish",
            where=path,
            needed="a picture, or the folder of a series with portraits in it",
        )
    return pictures


def _folder(path: Path, root: Path | None, look: Look) -> Path:
    """Within a likeness beside the series, whose folder is sealed; else beside the picture."""
    if root is None:
        return path.parent / f"finished-{look.name}"
    series = path.resolve().name if path.is_dir() else path.resolve().parent.name
    series = series.removesuffix("-edits")
    return manifest.make_folder(likeness.open_likeness(root).portraits(f"{series}-finished")) / look.name


def _one(
    file: Path,
    look: Look,
    models: Models,
    shared: SimilarityJudge | None,
    folder: Path,
    limit: float,
    seed: int,
    drawn_in: tuple[Path | None, Sequence[str]],
) -> FinishedPicture:
    try:
        canvas, source_record = read_picture(file)
        judge = shared or SimilarityJudge(models, (canvas.flat(),), look.folder, seed)
        redraw = redrawing(drawn_in[0], source_record, drawn_in[1])
        tools = models.tools(look.folder, seed, redraw, keeps=_keeps(look.steps), mark=mark_of(file))
        done = chain.run(canvas, look.steps, tools, judge, limit=limit)
        record = record_of(canvas, source_record, look, done, seed, models.pack)
        data = encoded(done.canvas, record, file)
    except (InputError, ArtifactError) as error:
        return FinishedPicture(source=str(file), file=None, refused=error.message())
    after = done.after if models.held_out else _unlike(done.canvas, judge)
    suffix = SUFFIX[done.canvas.delivery.file_format]
    target = place(folder / f"{file.stem}-{look.name}{suffix}", data, done.canvas)
    write(done.canvas, target, record, file, data)
    steps = tuple(
        StepFigures(
            step=p.planned.step.name,
            strength=p.strength,
            before=_rounded(p.before),
            after=_rounded(p.after),
        )
        for p in done.passed
    )
    return FinishedPicture(
        source=str(file),
        file=str(target),
        steps=steps,
        before_a=_rounded(done.before[0]),
        after_a=_rounded(after[0]),
        before_b=_rounded(done.before[1]),
        after_b=_rounded(after[1]),
    )


def _unlike(canvas: Canvas, judge: SimilarityJudge) -> tuple[float | None, float | None]:
    """Likeness (A, B) to the picture as it was; one that went through the same colours would be itself."""
    return judge.likeness(canvas.flat(), ()), judge.reported(canvas.flat(), ())


def _keeps(steps: Sequence[Planned]) -> bool:
    """Whether a step needs what all steps before it gave."""
    return any(isinstance(one.step, Layers) for one in steps)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def read_picture(path: Path) -> tuple[Canvas, save.Record | None]:
    """The canvas of a picture and its generation record, None for a picture from elsewhere.

    Raises `InputError` for a file that is no picture, `ArtifactError` for a damaged record.
    """
    if not path.is_file():
        raise InputError("no such picture", where=path)
    rgb = similarity.read_rgb(path)
    alpha, kind = None, None
    with contextlib.suppress(UnidentifiedImageError), Image.open(path) as picture:  # HEIC has neither
        kind = picture.format
        if "A" in picture.getbands() or "transparency" in picture.info:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if alpha is not None and alpha.shape != rgb.shape[:2]:  # turned by its EXIF
        raise InputError("a turned picture with alpha", where=path, remedy="Save it upright first.")
    record = None
    if kind == "PNG":
        try:
            record = provenance.read_record(path)
        except ArtifactError as error:
            if error.what != provenance.NO_RECORD:
                raise
    return Canvas.of(rgb, alpha), record


def record_of(
    source: Canvas,
    source_record: Mapping[str, object] | None,
    look: Look,
    done: chain.Finished,
    seed: int,
    pack: FacePack,
) -> save.Record:
    """The record of a finished picture: every step as carried out, after the record of its source."""
    record: save.Record = {
        save.ACTION: ACTION,
        "look": look.name,
        "finish_seed": seed,
        "face_pack_digest": pack.digest,
        "steps": [one.entry for one in done.passed],
        "source_pixels_sha256": canvas_digest(source),
    }
    return record | ({save.PARENT: dict(source_record)} if source_record is not None else {})


def canvas_digest(canvas: Canvas) -> str:
    """Hex sha256 of the eight-bit pixels with their alpha, independent of the file format."""
    total = hashlib.sha256(repr(canvas.size_px).encode())
    total.update(to_bytes(canvas.rgb_HW3).tobytes())
    if (alpha := alpha_bytes(canvas)) is not None:
        total.update(alpha.tobytes())
    return total.hexdigest()


def is_finished(path: Path) -> bool:
    """Whether a file is what `finish` wrote, by its record or its sidecar."""
    sidecar = save.sidecar_of(path)
    try:
        if sidecar.is_file():
            record = strict_json.load_object(sidecar, "sidecar").get("recipe")
        else:
            record = provenance.read_record(path)
    except ArtifactError:
        return False
    return isinstance(record, dict) and cast(save.Record, record).get(save.ACTION) == ACTION


def record_of_file(path: Path) -> save.Record:
    """The record in the sidecar, which every format has, else in the PNG.  Raises `ArtifactError`."""
    sidecar = save.sidecar_of(path)
    if not sidecar.is_file():
        return provenance.read_record(path)
    content = strict_json.load_object(sidecar, "sidecar")
    record = cast(save.Record, content.get("recipe") or {})
    record_limits.refuse(record, sidecar)
    if content.get("sha256") != manifest.sha256_file(path):
        raise ArtifactError(
            "the picture was changed since it was made",
            where=path,
            got=manifest.sha256_file(path)[:12],
            needed=str(content.get("sha256"))[:12],
        )
    return record


def reproduce(path: Path, root: Path | None, source: Path | None, overrides: Sequence[str]) -> Reproduction:
    """Make a finished picture again, after the portrait that it was made from, and compare the bytes.

    `source` is the picture that was finished, if it was not drawn here.  Raises `InputError` without it.
    """
    record = record_of_file(path)
    root = root or next((p for p in path.resolve().parents if (p / FILE_NAME).is_file()), None)
    models = open_models(root, [path], overrides)
    places = [Path(), path.parent, *([source.parent] if source else []), *looks_folder()]
    again = _again(record, root, models, source, overrides, places)
    data = encoded(again, record, path)
    same = data == path.read_bytes()
    off, psnr = 0, None
    if not same:
        before, after = (Image.open(one).convert("RGB") for one in (path, io.BytesIO(data)))
        verdict = remake.compare(before, after, record)
        off, psnr = verdict.changed_pixels, verdict.psnr_db
    return Reproduction(
        file=str(path),
        same=same,
        changed_pixels=off,
        psnr_db=psnr,
        differences=() if same else remake.differences(record),
    )


def _again(
    record: Mapping[str, object],
    root: Path | None,
    models: Models,
    source: Path | None,
    overrides: Sequence[str],
    places: Sequence[Path],
) -> Canvas:
    """The canvas of a record: chains after chains, the first after a portrait or the picture `source`."""
    parent = record.get(save.PARENT)
    if not isinstance(parent, dict):
        if source is None:
            raise InputError(
                "the picture was finished from one that it does not contain",
                needed=f"the picture with pixels {str(record.get('source_pixels_sha256'))[:12]}",
                remedy="Pass it with --source FILE.",
            )
        before = read_picture(source)[0]
    elif cast(save.Record, parent).get(save.ACTION) == ACTION:
        before = _again(cast(save.Record, parent), root, models, source, overrides, places)
        before = Canvas.of(to_bytes(before.rgb_HW3), alpha_bytes(before))
    else:
        before = Canvas.of(np.asarray(_drawn(cast(save.Record, parent), root, source, overrides)))
    redraw = redrawing(root, cast(save.Record, parent) if isinstance(parent, dict) else None, overrides)
    return repeat(before, record, models, _folder_of(record, places), redraw)


def _folder_of(record: Mapping[str, object], places: Sequence[Path]) -> Path:
    """The folder that holds the files of the record's look, byte for byte; without such files the first."""
    steps = cast(Sequence[Mapping[str, Any]], record.get("steps") or ())
    files = {
        str(n): str(d) for step in steps for n, d in cast(dict[str, str], step.get("files") or {}).items()
    }

    def matching(folder: Path) -> int:
        return sum((folder / n).is_file() and manifest.sha256_file(folder / n) == d for n, d in files.items())

    return max(places, key=matching)


def _drawn(
    record: save.Record, root: Path | None, source: Path | None, overrides: Sequence[str]
) -> Image.Image:
    if root is None:
        raise InputError("the picture lies in no likeness folder", remedy="Name it with --likeness DIR.")
    from portrait_lora.stages.context import Context
    from portrait_lora.tasks.finished import adapter_of, find_style

    ctx = Context(likeness.open_likeness(root, overrides))
    begun = Image.fromarray(similarity.read_rgb(source)) if source else None
    return remake.remake(ctx.family, record, adapter_of(ctx, record), find_style(ctx), begun)


def alpha_bytes(canvas: Canvas) -> np.ndarray | None:
    return None if canvas.alpha_HW is None else to_bytes(canvas.alpha_HW)


def repeat(
    canvas: Canvas,
    record: Mapping[str, object],
    models: Models,
    folder: Path,
    redraw: Redraw | None = None,
) -> Canvas:
    """The chain of a record once more, each step at its recorded strength.

    Raises `ArtifactError` for another source picture or a damaged record.
    """
    if canvas_digest(canvas) != record.get("source_pixels_sha256"):
        raise ArtifactError(
            "this is not the picture that was finished",
            got=canvas_digest(canvas)[:12],
            needed=str(record.get("source_pixels_sha256"))[:12],
        )
    steps, strengths = recorded(record)
    seed = seed_of(record)
    tools = models.tools(folder, seed, redraw, keeps=_keeps(steps))
    judge = SimilarityJudge(models, models.held_out or (canvas.flat(),), folder, seed)
    done = chain.run(canvas, steps, tools, judge, strengths=strengths)
    for one, entry in zip(done.passed, cast(Sequence[Mapping[str, Any]], record["steps"]), strict=True):
        if dict(one.files) != dict(entry.get("files") or {}):
            raise ArtifactError(
                "a file that this look uses is another one now",
                where=folder.resolve(),
                got=", ".join(sorted(one.files)),
                needed="the files of the look as they were",
                remedy="Run it in the folder that holds them.",
            )
    return done.canvas


def recorded(record: Mapping[str, object]) -> tuple[tuple[Planned, ...], list[float]]:
    try:
        entries = cast(Sequence[Mapping[str, Any]], record["steps"])
        raw = [{k: v for k, v in e.items() if k not in ("strength", "likeness", "files")} for e in entries]
        return planned(raw, "the record"), [float(e["strength"]) for e in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError("the record of the finished picture is damaged", got=repr(error)) from error


def seed_of(record: Mapping[str, object]) -> int:
    """The seed of a recorded chain.  Raises `ArtifactError` for one that is no whole number from 0."""
    seed = record.get("finish_seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ArtifactError("the record of the finished picture is damaged", got=f"finish_seed {seed!r}"[:80])
    return seed
