"""Finishing of portraits by a look, and the record that makes them again, with what lies beside them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import Image

from portrait_lora import likeness, manifest, provenance, record_limits, strict_json
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.finishing import chain
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.look import Look, Planned, load_look, looks_folder, planned
from portrait_lora.finishing.step import Redraw
from portrait_lora.generation import remake, save
from portrait_lora.results import Value
from portrait_lora.rights import bare, marks
from portrait_lora.stages import finish_files
from portrait_lora.stages.finish_files import OF_PASSING, SUFFIX, encoded, mark_of
from portrait_lora.stages.finish_judge import Models, SimilarityJudge, open_models
from portrait_lora.stages.finish_pictures import ACTION, PAGE, FinishedPicture, Finisher, StepFigures, keeps
from portrait_lora.stages.finish_source import alpha_bytes, canvas_digest, read_picture
from portrait_lora.stages.redraw import redrawing
from portrait_lora.tasks import outside
from portrait_lora.tasks.edit import ProductAgain, Reproduction

__all__ = ["PAGE", "FinishResult", "FinishedPicture", "StepFigures", "finish", "reproduce"]

SUFFIXES: Final = frozenset(SUFFIX.values())


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

    Originals stay as they are, and what stands already is not made again.  A picture that a step refuses is
    reported, and the others go on.  Raises `InputError` for a missing picture, `ConfigError` for a wrong
    look, and either for a file of the look that is missing or cannot be used.
    """
    look = load_look(look_name)
    files = _pictures(path)
    root = root or next((p for p in path.resolve().parents if (p / FILE_NAME).is_file()), None)
    models = open_models(root, files, overrides)
    folder = out or _folder(path, root, look)

    def redraw(record: save.Record | None) -> Redraw | None:
        return redrawing(root, record, overrides)

    finisher = Finisher(look, models, folder, limit=limit, seed=seed, redraw=redraw)
    rows = finisher.finish(files)
    page = finisher.page(rows)
    if root is not None:
        _note(root, page, rows)
    return FinishResult(
        look=look.name,
        folder=str(folder),
        references=finisher.references,
        pictures=tuple(rows),
        page=str(page),
    )


def _note(root: Path, page: Path, rows: Sequence[FinishedPicture]) -> None:
    """Record what went outside the likeness folder, so that `forget` finds it."""
    if page.resolve().is_relative_to(root.resolve()):
        return
    sidecars = [save.sidecar_of(Path(row.file)) for row in rows if row.file]
    outside.record(root, [page, *(file for one in sidecars for file in finish_files.files_of(one))])


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


def reproduce(
    path: Path,
    root: Path | None,
    source: Path | None,
    overrides: Sequence[str],
    references: Sequence[Path] = (),
) -> Reproduction:
    """Make a finished picture again, after the portrait that it was made from, with all that lies beside it.

    Bytes are compared, without the credentials, which speak of the file that was finished.  `source` is that
    picture, if it was not drawn here, `references` are photos that the portrait was shown in context, where
    the dataset no longer holds them.  Raises `InputError` without one of them.
    """
    record = record_of_file(path)
    root = root or next((p for p in path.resolve().parents if (p / FILE_NAME).is_file()), None)
    models = open_models(root, [path], overrides)
    places = [Path(), path.parent, *([source.parent] if source else []), *looks_folder()]
    places += finish_files.look_folder(path.parent)
    again = _again(record, root, models, source, overrides, places, mark_of(path), references)
    there = path.read_bytes()
    data = encoded(again, record, path, again=there)
    same = bare.same(data, there)
    products = _products(path, again)
    off, psnr = 0, None
    if not same:
        before, after = (Image.open(one).convert("RGB") for one in (path, io.BytesIO(data)))
        verdict = remake.compare(before, after, record)
        off, psnr = verdict.changed_pixels, verdict.psnr_db
    all_same = same and all(one.same for one in products)
    return Reproduction(
        file=str(path),
        same=same,
        changed_pixels=off,
        psnr_db=psnr,
        differences=() if all_same else _differences(path),
        products=products,
    )


def _products(path: Path, again: Canvas) -> tuple[ProductAgain, ...]:
    """What lies beside the picture, made again, against the sidecar; one of an older version has none."""
    recorded = finish_files.products_of(save.sidecar_of(path))
    rows: list[ProductAgain] = []
    for product in again.products:
        file = finish_files.beside(path, product)
        now, there = finish_files.digest_of(product), finish_files.digest_of(file)
        then = recorded.pop(file.name, None)
        rows.append(
            ProductAgain(
                file=file.name,
                same=now == (then or there),
                by_encoder=file.suffix in finish_files.BY_ENCODER,
                state="missing" if there is None else "changed since" if then not in (None, there) else "",
            )
        )
    return (*rows, *(ProductAgain(file=name, same=False, state="not made again") for name in recorded))


def _differences(path: Path) -> tuple[str, ...]:
    """Libraries whose versions differ from those in the sidecar."""
    sidecar = save.sidecar_of(path)
    if not sidecar.is_file():
        return ()
    then = strict_json.load_object(sidecar, "sidecar", file_names=True).get("versions")
    return remake.differences({save.CONDITIONS: {"versions": then}}, finish_files.versions())


def _again(
    record: Mapping[str, object],
    root: Path | None,
    models: Models,
    source: Path | None,
    overrides: Sequence[str],
    places: Sequence[Path],
    mark: bytes,
    references: Sequence[Path],
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
        own = cast(save.Record, parent)
        before = _again(own, root, models, source, overrides, places, mark, references)
        before = _as_written(before, cast(save.Record, parent), record, mark)
    else:
        drawn = _drawn(cast(save.Record, parent), root, source, overrides, references)
        before = Canvas.of(np.asarray(drawn))
    redraw = redrawing(root, cast(save.Record, parent) if isinstance(parent, dict) else None, overrides)
    return repeat(before, record, models, _folder_of(record, places), redraw, mark)


def _as_written(canvas: Canvas, own: save.Record, following: Mapping[str, object], mark: bytes) -> Canvas:
    """The pixels of a finished picture as its file has them: with the watermark, unless an earlier version
    wrote it, which only the record of what was made from it can tell."""
    plain = Canvas.of(to_bytes(canvas.rgb_HW3), alpha_bytes(canvas))
    is_plain = canvas_digest(plain) == following.get("source_pixels_sha256")
    if is_plain or marks.of_packet(mark) != provenance.TRAINED:
        return plain
    picture = np.asarray(finish_files.marked(canvas, own))
    return Canvas.of(picture[..., :3], picture[..., 3] if picture.shape[2] == 4 else None)


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
    record: save.Record,
    root: Path | None,
    source: Path | None,
    overrides: Sequence[str],
    references: Sequence[Path],
) -> Image.Image:
    if root is None:
        raise InputError("the picture lies in no likeness folder", remedy="Name it with --likeness DIR.")
    from portrait_lora.stages.context import Context
    from portrait_lora.stages.named_files import adapter_of, find_style

    ctx = Context(likeness.open_likeness(root, overrides))
    begun = Image.fromarray(similarity.read_rgb(source)) if source else None
    return remake.remake(ctx.family, record, adapter_of(ctx, record), find_style(ctx, references), begun)


def repeat(
    canvas: Canvas,
    record: Mapping[str, object],
    models: Models,
    folder: Path,
    redraw: Redraw | None = None,
    mark: bytes = b"",
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
    tools = models.tools(folder, seed, redraw, keeps=keeps(steps), mark=mark)
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
        raw = [{k: v for k, v in e.items() if k not in OF_PASSING} for e in entries]
        return planned(raw, "the record"), [float(e["strength"]) for e in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError("the record of the finished picture is damaged", got=repr(error)) from error


def seed_of(record: Mapping[str, object]) -> int:
    """The seed of a recorded chain.  Raises `ArtifactError` for one that is no whole number from 0."""
    seed = record.get("finish_seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ArtifactError("the record of the finished picture is damaged", got=f"finish_seed {seed!r}"[:80])
    return seed
