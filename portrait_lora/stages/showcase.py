"""The end of the demo: its best portrait finished by a brand's look, and a sheet that shows every step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from portrait_lora import log, manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.faces import eyes
from portrait_lora.finishing.before_after import Panel, write_sheet
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.look import planned
from portrait_lora.generation import save
from portrait_lora.generation.series import finish_of
from portrait_lora.results import Showcase
from portrait_lora.stages import finish_files, series
from portrait_lora.stages.context import Context, folder_digest
from portrait_lora.stages.finish import finishing, models_of, timeless
from portrait_lora.stages.finish_judge import Models
from portrait_lora.stages.finish_pictures import FinishedPicture, Finisher
from portrait_lora.stages.finish_source import read_picture

BRAND: Final = "finished"
SHEET: Final = "finished.jpg"
MAX_BYTES: Final = 150_000
_CANDIDATES: Final = 3
_KIND: Final = "showcase"
_SHEET_DIGEST: Final = "sheet_sha256"
_LABELS: Final = {
    "cutout": "cut out",
    "backdrop": "the brand's backdrop",
    "grade": "graded",
    "retouch": "retouched",
    "upscale": "enlarged",
}
_log = log.get(__name__)


def showcase(ctx: Context) -> Showcase | None:
    """Finish one portrait by the look of the brand sheet `finished`; writes `reports/finished.jpg`.

    Skipped when portraits, look and files are as they were.  None, with a warning, when a step refuses the
    portrait: what was measured of the person stands all the same.
    """
    wanted = finish_of(ctx.config.generate.series, BRAND)
    assert wanted is not None  # the shipped sheet names steps
    look = finishing(ctx, wanted)
    folder, sheet = look.folder, ctx.likeness.reports / SHEET
    portraits = ctx.likeness.portraits(ctx.series)
    inputs = {
        "portraits": folder_digest(portraits),
        "dataset": folder_digest(ctx.likeness.dataset),
        "look": look.basis,
    }
    if not ctx.redo and (known := _known(folder, sheet, portraits, inputs)):
        ctx.skipped.append(_KIND)
        return known
    started = time.monotonic()
    models, seen = models_of(ctx), list[tuple[str, Canvas]]()
    finisher = Finisher(
        look.look, models, folder, limit=look.limit, seed=look.seed, sheet=look.sheet, redo=True,
        watch=seen.extend,
    )  # fmt: skip
    portrait = _best(ctx, models)
    (row,) = finisher.finish([portrait])
    if row.file is None:
        _log.warning("%s could not be finished: %s", portrait, row.refused)
        return None
    panels = _panels(seen)
    title = "From the drawn portrait to the delivered picture"
    write_sheet(
        sheet,
        panels,
        title=title,
        facts=_facts(row),
        mark=finish_files.mark_of(portrait),
        max_bytes=MAX_BYTES,
    )
    result = Showcase(
        portrait=str(portrait),
        look=look.look.name,
        picture=row.file,
        sheet=str(sheet),
        size_px=panels[-1].canvas.size_px,
        before_b=row.before_b,
        after_b=row.after_b,
        seconds=round(time.monotonic() - started, 2),
    )
    own = save.sidecar_of(Path(row.file))
    names = {file.name for file in (finisher.page([row]), *finish_files.files_of(own))}
    extra: dict[str, object] = {_KIND: timeless(result), _SHEET_DIGEST: manifest.sha256_file(sheet)}
    manifest.finish(folder, kind=_KIND, inputs=inputs, extra=extra, names=names)
    return result


def _known(folder: Path, sheet: Path, portraits: Path, inputs: Mapping[str, str]) -> Showcase | None:
    """What an earlier call left, when it was made from these inputs and is whole."""
    try:
        sealed = manifest.verify(folder)
        result = Showcase.read(sealed.extra.get(_KIND), folder)
    except ArtifactError:
        return None
    whole = sheet.is_file() and manifest.sha256_file(sheet) == sealed.extra.get(_SHEET_DIGEST)
    if dict(sealed.inputs) != dict(inputs) or not whole:
        return None
    drawn = portraits / Path(result.portrait).name
    place = {"portrait": str(drawn), "picture": str(folder / Path(result.picture).name), "sheet": str(sheet)}
    return result.model_copy(update=place)


def _best(ctx: Context, models: Models) -> Path:
    """Of the three portraits most like the person that no check objects to, one with clear eyes, and among
    those the one cut out most cleanly."""
    portraits = series.delivered(ctx)
    failed = _failed(ctx)
    items = [similarity.PortraitItem.of(one) for one in portraits]
    scores = similarity.score_portraits(items, series.holdout_of(ctx), ctx.finder)
    ranked = sorted(
        zip(portraits, scores, strict=True),
        key=lambda both: (failed.get(both[0].path.name, 0), -(both[1].similarity or -1.0)),
    )
    paths = [portrait.path for portrait, _ in ranked[:_CANDIDATES]]
    return min(paths, key=lambda path: (_dull(path, models), _softness(path, models)))


def _dull(path: Path, models: Models) -> int:
    """0 for clear eyes, 2 for blank ones, 1 between; a face pack without landmarks cannot tell them apart."""
    image = similarity.read_rgb(path)
    face = similarity.subject_face(models.finder.find(image))
    contrast = None if face is None else eyes.eye_contrast(image, face)
    return 0 if contrast is None else (contrast < eyes.CLEAR) + (contrast < eyes.BLANK)


def _failed(ctx: Context) -> dict[str, int]:
    """File name -> number of checks that it failed."""
    file = ctx.likeness.portraits(ctx.series) / series.CHECKLIST
    rows = cast(
        Mapping[str, Sequence[Mapping[str, object]]],
        strict_json.load_object(file, "checklist", file_names=True),
    )
    return {name: sum(one.get("passed") is False for one in checks) for name, checks in rows.items()}


def _softness(path: Path, models: Models) -> float:
    """How much of the picture the cut-out leaves between person and backdrop; 1 where it is refused."""
    (cut,) = planned(["cutout"], "cutout")
    canvas = read_picture(path)[0]
    tools = models.tools(Path(), 0)
    tools.begin(0, "", canvas)
    try:
        alpha = cut.step.apply(canvas, cut.settings, tools).alpha_HW
    except InputError:
        return 1.0
    return 1.0 if alpha is None else float((alpha * (1 - alpha)).mean())


def _panels(seen: Sequence[tuple[str, Canvas]]) -> list[Panel]:
    """The source, every step that shows on a small picture, and the result."""
    (_, begun), *steps = seen
    _, done = steps[-1]
    panels = [Panel(begun, "portrait", _size(begun))]
    for name, canvas in steps[:-1]:
        if name in ("cutout", "backdrop"):
            panels.append(Panel(canvas, _LABELS[name], _size(canvas)))
    rest = [_LABELS.get(name, name) for name, _ in steps if name not in ("cutout", "backdrop")]
    return [*panels, Panel(done, "finished", f"{_size(done)}: {', '.join(rest)}")]


def _size(canvas: Canvas) -> str:
    return f"{canvas.size_px[0]} x {canvas.size_px[1]} px"


def _facts(row: FinishedPicture) -> list[str]:
    """Lines on the likeness, which every step is measured by."""
    lines = [
        f"{name}: {before:.3f} before, {after:.3f} after"
        for name, before, after in (
            ("embedder A", row.before_a, row.after_a),
            ("embedder B", row.before_b, row.after_b),
        )
        if before is not None and after is not None
    ]
    return ["likeness to the held-out photos, which go through the same steps", *lines] if lines else []
