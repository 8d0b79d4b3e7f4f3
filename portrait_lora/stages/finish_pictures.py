"""Pictures finished by one look: the gated chain, its files and figures; what stands is not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from portrait_lora import log, manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing import chain
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.look import Look, Planned
from portrait_lora.finishing.page import Shown, write_page
from portrait_lora.finishing.step import Opens, Redraw
from portrait_lora.finishing.steps.layers import Layers
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.generation import save
from portrait_lora.results import Number, Value
from portrait_lora.stages import finish_files
from portrait_lora.stages.finish_judge import Models, SimilarityJudge
from portrait_lora.stages.finish_source import canvas_digest, read_picture

ACTION: Final = "finish"
_PAIR: Final = ("mean", "lowest")
PAGE: Final = "finished.html"
RedrawOf = Callable[[save.Record | None], Redraw | None]
"""What draws over a picture with this generation record, if anything here can."""


class MovingFigures(Value):
    """Likeness in the frames of a clip: the mean and the lowest by A and by B; no face counts as 0."""

    frames: int
    faces: int
    mean_a: Number
    lowest_a: Number
    mean_b: Number
    lowest_b: Number

    @property
    def words(self) -> str:
        """In a sentence."""
        seen = f", {self.faces} with a face" if self.faces < self.frames else ""
        return (
            f"likeness in {self.frames} frames{seen}: A {self.mean_a:.3f} (lowest {self.lowest_a:.3f}), "
            f"B {self.mean_b:.3f} (lowest {self.lowest_b:.3f})"
        )


class StepFigures(Value):
    """A step as carried out: its strength (1: as asked), and embedder A's likeness before and after it.

    `moving`: in the frames of its clip, if it made one.
    """

    step: str
    strength: Number
    before: Number | None
    after: Number | None
    moving: MovingFigures | None = None


class FinishedPicture(Value):
    """A finished picture; likeness by A and B, before and after the whole chain.  Refused: no file.

    `stood`: it was there already, made from the same picture by the same look.
    """

    source: str
    file: str | None
    steps: tuple[StepFigures, ...] = ()
    before_a: Number | None = None
    after_a: Number | None = None
    before_b: Number | None = None
    after_b: Number | None = None
    refused: str | None = None
    stood: bool = False


class Finisher:
    """One look, with everything that decides what becomes of a picture."""

    def __init__(
        self,
        look: Look,
        models: Models,
        folder: Path,
        *,
        limit: float = chain.LIMIT,
        seed: int = 0,
        sheet: str = "",
        redo: bool = False,
        redraw: RedrawOf = lambda record: None,
        watch: Callable[[Sequence[tuple[str, Canvas]]], object] | None = None,
    ):
        """`folder` is where the files go; `sheet` the series or brand sheet that asked for them.

        `redo` makes pictures again that stand; `redraw` is for the detail pass; `watch` is called with the
        source and the result of every step.  Raises what `opened` does.
        """
        self.look, self.models, self.folder = look, models, folder
        self._limit, self._seed, self._sheet, self._redo = limit, seed, sheet, redo
        self._redraw, self._watch = redraw, watch
        held_out = models.held_out
        self._shared = SimilarityJudge(models, held_out, look.folder, seed) if held_out else None
        files = opened(look, models.tools(look.folder, seed))
        self.basis = basis_of(look, files, models.pack.digest, limit, seed)
        """Digest of all that decides but for the picture and those that likeness is measured to."""
        self._deciding = manifest.digest(
            [self.basis, models.commercial, [canvas_digest(Canvas.of(one)) for one in held_out]]
        )

    def finish(self, files: Sequence[Path]) -> list[FinishedPicture]:
        """Finish the pictures, in their order.  One that a step refuses is reported, and the others go on."""
        rows: list[FinishedPicture] = []
        with log.progress(f"finishing by {self.look.name}", len(files)) as advance:
            for file in files:
                rows.append(self._one(file))
                advance(1)
        return rows

    def page(self, rows: Sequence[FinishedPicture]) -> Path:
        """Write the page with before and after."""
        look, shown = self.look, [_shown(row) for row in rows]
        page = self.folder / PAGE
        return write_page(page, shown, look=look.name, about=look.about, references=self.references)

    @property
    def references(self) -> str:
        """What likeness is measured to."""
        return "the held-out photos" if self.models.held_out else "the picture before"

    def _one(self, file: Path) -> FinishedPicture:
        try:
            inputs = manifest.digest([self._deciding, manifest.sha256_file(file) if file.is_file() else ""])
            stem = f"{file.stem}-{self.look.name}"
            if not self._redo and (standing := finish_files.standing(self.folder, stem, inputs)):
                return _recalled(file, *standing)
            canvas, source_record = read_picture(file)
            done, record = self._chain(canvas, source_record, finish_files.mark_of(file))
            record = finish_files.with_mark(record, done.canvas, file)
            data = finish_files.encoded(done.canvas, record, file)
        except (InputError, ArtifactError) as error:
            return FinishedPicture(source=str(file), file=None, refused=error.message())
        suffix = finish_files.SUFFIX[done.canvas.delivery.file_format]
        wanted = self.folder / f"{stem}{suffix}"
        target = finish_files.place(wanted, data, done.canvas, superseding=bool(self._sheet))
        after = done.after if self.models.held_out else self._unlike(canvas, done.canvas)
        figures: dict[str, object] = {
            "A": _pair(done.before[0], after[0]),
            "B": _pair(done.before[1], after[1]),
        }
        extra = {"inputs": inputs, "likeness": figures} | ({"sheet": self._sheet} if self._sheet else {})
        finish_files.write(done.canvas, target, record, file, data, extra)
        return _recalled(file, target, {"recipe": record, **extra}, stood=False)

    def _chain(
        self, canvas: Canvas, source_record: save.Record | None, mark: bytes
    ) -> tuple[chain.Finished, save.Record]:
        look, seed = self.look, self._seed
        judge = self._judge(canvas)
        every = keeps(look.steps) or self._watch is not None
        redraw = self._redraw(source_record)
        tools = self.models.tools(look.folder, seed, redraw, keeps=every, mark=mark)
        done = chain.run(canvas, look.steps, tools, judge, limit=self._limit)
        if self._watch is not None:
            self._watch([*tools.trail, (look.steps[-1].step.name, done.canvas)])
        return done, _record(canvas, source_record, look, done, seed, self.models.pack.digest)

    def _judge(self, canvas: Canvas) -> SimilarityJudge:
        return self._shared or SimilarityJudge(self.models, (canvas.flat(),), self.look.folder, self._seed)

    def _unlike(self, before: Canvas, after: Canvas) -> tuple[float | None, float | None]:
        """Likeness (A, B) to the picture as it was; through the same colours it would be itself."""
        judge = self._judge(before)
        return judge.likeness(after.flat(), ()), judge.reported(after.flat(), ())


def opened(look: Look, tools: PictureTools) -> dict[str, str]:
    """Name -> sha256 of the files that the look names, each opened once, before any picture is touched.

    Raises `InputError` for one that is missing or cannot be used, and `ArtifactError` for a damaged one.
    """
    used: dict[str, str] = {}
    for place, one in enumerate(look.steps):
        if isinstance(one.step, Opens):
            tools.opening(place)
            try:
                one.step.open(one.settings, tools)
            except (InputError, ArtifactError) as error:
                where = f"look {look.name}, step {place + 1} ({one.step.name}): {error.where}"
                raise type(error)(
                    error.what, where=where, got=error.got, needed=error.needed, remedy=error.remedy
                ) from error
            used |= tools.used()
    return used


def basis_of(look: Look, files: Mapping[str, str], pack_digest: str, limit: float, seed: int) -> str:
    """Digest of a look with the bytes of its files, of the face pack and of how the gate decides."""
    steps = [one.entry for one in look.steps]
    return manifest.digest([look.name, steps, dict(files), pack_digest, limit, seed])


def keeps(steps: Sequence[Planned]) -> bool:
    """Whether a step needs what all steps before it gave."""
    return any(isinstance(one.step, Layers) for one in steps)


def _record(
    source: Canvas,
    source_record: Mapping[str, object] | None,
    look: Look,
    done: chain.Finished,
    seed: int,
    pack_digest: str,
) -> save.Record:
    """The record of a finished picture: every step as carried out, after the record of its source."""
    record: save.Record = {
        save.ACTION: ACTION,
        "look": look.name,
        "finish_seed": seed,
        "face_pack_digest": pack_digest,
        "steps": [one.entry for one in done.passed],
        "source_pixels_sha256": canvas_digest(source),
    }
    return record | ({save.PARENT: dict(source_record)} if source_record is not None else {})


def _recalled(
    source: Path, file: Path, sidecar: Mapping[str, object], *, stood: bool = True
) -> FinishedPicture:
    """The row of a picture by its sidecar.  Raises `ArtifactError` for one without the figures."""
    try:
        recipe = cast(Mapping[str, Sequence[Mapping[str, object]]], sidecar["recipe"])
        likeness = cast(Mapping[str, Sequence[Number | None]], sidecar["likeness"])
        (before_a, after_a), (before_b, after_b) = likeness["A"], likeness["B"]
        steps = [StepFigures.read(_step(entry)) for entry in recipe["steps"]]
        return FinishedPicture(
            source=str(source), file=str(file), steps=tuple(steps), before_a=before_a, after_a=after_a,
            before_b=before_b, after_b=after_b, stood=stood,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            "the record of the finished picture is damaged", where=file, got=repr(error)
        ) from error


def _step(entry: Mapping[str, object]) -> dict[str, object]:
    name = next(key for key in entry if key not in finish_files.OF_PASSING)
    figures = cast(Mapping[str, object], entry["likeness"])
    step: dict[str, object] = {
        "step": name,
        "strength": entry["strength"],
        "before": figures["before"],
        "after": figures["after"],
    }
    moving = cast(Mapping[str, Any] | None, figures.get("moving"))
    if moving is None:
        return step
    pairs = {f"{kind}_{name.lower()}": moving[name][i] for name in "AB" for i, kind in enumerate(_PAIR)}
    return {**step, "moving": {"frames": moving["frames"], "faces": moving["faces"], **pairs}}


def _shown(row: FinishedPicture) -> Shown:
    return Shown(
        before=Path(row.source),
        after=None if row.file is None else Path(row.file),
        likeness=(("A", row.before_a, row.after_a), ("B", row.before_b, row.after_b)),
        steps=[(step.step, step.strength) for step in row.steps],
        refused=row.refused or "",
        clips=[] if row.file is None else finish_files.clips_of(save.sidecar_of(Path(row.file))),
        moving=[step.moving.words for step in row.steps if step.moving],
    )


def _pair(before: float | None, after: float | None) -> list[float | None]:
    return [None if value is None else round(value, 5) for value in (before, after)]
