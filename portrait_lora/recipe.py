"""check → prepare → train → select → generate → score: the only place where the stages stand in a row.

Every stage writes its inputs' digests into the journal; a stage whose inputs are unchanged and whose
files are whole is skipped.  Each public function does everything up to its stage.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from portrait_lora import config, likeness, log, manifest, replacing
from portrait_lora.errors import InputError, Interrupted, PhotosError, PortraitError, of_system
from portrait_lora.likeness import Likeness, open_likeness
from portrait_lora.results import CheckResult, InitResult, Journey, RunResult, TrainingPlan
from portrait_lora.stages import STAGES, Context, run_result
from portrait_lora.stages.check import check as look
from portrait_lora.stages.drawn_together import draw_together
from portrait_lora.stages.generate import finishing_of
from portrait_lora.stages.referring import refuse_to_train_with, refuse_what_cannot_be
from portrait_lora.stages.together import Ended, train_together
from portrait_lora.stages.train import refuse_other_training, train_along
from portrait_lora.stages.train import train as train_stage
from portrait_lora.training import processes

OnStage = Callable[[Path, str], None]
"""Called with the folder of a person and the name of a stage of theirs that has ended well."""
_log = log.get(__name__)


def check(folder: Path, *, overrides: Sequence[str] = ()) -> CheckResult:
    """Look at every photo and write `reports/check.html`; never raises for bad photos."""
    _lead()
    return look(Context(likeness.open_for_check(folder, overrides), redo=("check",)))


def prepare(folder: Path, *, overrides: Sequence[str] = (), force: bool = False) -> Journey:
    """Hold photos out, crop and caption the others into `dataset/`."""
    return _up_to("prepare", folder, overrides, force)


def train(folder: Path, *, overrides: Sequence[str] = (), force: bool = False) -> Journey:
    """Train the LoRA and choose its checkpoint."""
    return _up_to("select", folder, overrides, force, forced="train")


def plan_training(folder: Path, *, overrides: Sequence[str] = ()) -> TrainingPlan:
    """What `train` would do and need; nothing is trained."""
    from portrait_lora.stages import limits

    return limits.plan(Context(open_likeness(folder, overrides)))


def generate(
    folder: Path, *, overrides: Sequence[str] = (), force: bool = False, adapter: bool = True
) -> Journey:
    """Make the portraits of the series; an adapter that is there is used, never trained anew.

    Without `adapter` from references alone (`generate.references`), in `portraits/<series>-references/`.
    """
    return (
        _up_to("generate", folder, overrides, force)
        if adapter
        else _alone("generate", folder, overrides, force)
    )


def score(
    folder: Path, *, overrides: Sequence[str] = (), force: bool = False, adapter: bool = True
) -> Journey:
    """Measure the likeness and write `reports/drift.html`, `drift.json` and `run.json`.

    Without `adapter` that of the portraits from reference photos alone, in `reports/references/`.
    """
    return _up_to("score", folder, overrides, force) if adapter else _alone("score", folder, overrides, force)


def run(folder: Path, *, overrides: Sequence[str] = (), force: bool = False) -> RunResult:
    """Everything; the result is `reports/run.json` (docs/architecture.md)."""
    return _run(open_likeness(folder, overrides), force)


def run_together(
    folders: Sequence[Path],
    *,
    overrides: Sequence[str] = (),
    own: Mapping[Path, Sequence[str]] | None = None,
    on_stage: OnStage | None = None,
) -> list[RunResult | PortraitError]:
    """Everything for several people: what `run` gives of each, or the error that ended theirs alone.

    They train together where `training.together` is more than 1, and their portraits are drawn together where
    `generate.together` is.  `overrides` are for all of them, `own` for one.  Raises `Interrupted` when
    stopped, with everybody's state saved.
    """
    _lead()
    people: list[Context | PortraitError] = []
    for folder in folders:
        settings = [*overrides, *(own or {}).get(folder, ())]
        beside = next((one for one in people if isinstance(one, Context)), None)
        try:
            people.append(_begin(open_likeness(folder, settings), force=False, beside=beside))
        except PortraitError as error:
            people.append(error)
    train, generate = likeness.STAGES.index("train"), likeness.STAGES.index("generate")
    for number in range(train):
        here = range(number, number + 1)
        people = [_stages(one, here, on_stage) if _trains(one) else one for one in people]
    sharing = [one for one in people if isinstance(one, Context) and _trains(one)]
    trained = dict(zip(map(id, sharing), train_together(sharing), strict=True))
    begin = {id(one): train for one in sharing}
    people = [
        _stages(one, range(begin.get(id(one), 0), generate), on_stage, trained) if _is_drawn(one) else one
        for one in people
    ]
    drawing = [one for one in people if isinstance(one, Context) and _is_drawn(one)]
    draw_together(drawing)
    begin |= {id(one): generate for one in drawing}
    return [_rest(one, begin, on_stage, trained) for one in people]


def _trains(one: Context | PortraitError) -> bool:
    return isinstance(one, Context) and one.config.training.together > 1


def _is_drawn(one: Context | PortraitError) -> bool:
    return isinstance(one, Context) and one.config.generate.together > 1


def _stages(
    one: Context | PortraitError,
    numbers: range,
    on_stage: OnStage | None,
    trained: Mapping[int, Ended | None] | None = None,
) -> Context | PortraitError:
    """Some stages of somebody among others; their error is theirs alone."""
    if isinstance(one, PortraitError):
        return one
    try:
        for name in likeness.STAGES[numbers.start : numbers.stop]:
            if name == "train":
                train_stage(one, (trained or {}).get(id(one)))
                if on_stage is not None:
                    on_stage(one.likeness.root, name)
            else:
                _do(one, name, on_stage)
    except Interrupted:
        raise
    except Exception as error:
        return _own(error, one.likeness.root)
    return one


def _rest(
    one: Context | PortraitError,
    begin: Mapping[int, int],
    on_stage: OnStage | None,
    trained: Mapping[int, Ended | None],
) -> RunResult | PortraitError:
    """What is left of somebody's journey, from where the others were needed last."""
    left = range(begin.get(id(one), 0), len(likeness.STAGES))
    ended = _stages(one, left, on_stage, trained)
    if isinstance(ended, PortraitError):
        return ended
    try:
        return run_result(ended)
    except PortraitError as error:
        return error


def _own(error: Exception, folder: Path) -> PortraitError:
    """What ended the work on one person, whatever it was, so that it ends nobody else's."""
    if isinstance(error, PortraitError):
        return error
    known = of_system(error, folder) if isinstance(error, OSError) else None
    if known is None:
        _log.error("%s: unexpected", folder, exc_info=error)
        known = PortraitError(f"unexpected error ({type(error).__name__}: {error})", where=folder)
    known.__cause__ = error
    return known


def demo(out: Path, person_seed: int, *, overrides: Sequence[str] = (), force: bool = False) -> RunResult:
    """The whole journey for a made-up person, whose photos the synthetic studio takes.

    It ends with one finished picture and `reports/finished.jpg`, which shows how it came about.
    """
    _lead()
    manifest.make_folder(out)
    subject = _studio_photos(out, person_seed)
    defaults = {"base": "embedded", "subject": {"name": f"studio person {person_seed}", "kind": subject}}
    return _run(open_likeness(out, overrides, defaults=defaults), force, shows=True)


def open_demo(out: Path, person_seed: int) -> None:
    """A likeness folder of a made-up person with their photos and a `likeness.yaml`, and nothing done yet."""
    subject = _studio_photos(out, person_seed)
    defaults = {"base": "embedded", "subject": {"name": f"studio person {person_seed}", "kind": subject}}
    likeness.write_config(out, config.load(None, (), defaults=defaults))


def init(folder: Path, photos: Path, *, overrides: Sequence[str] = ()) -> InitResult:
    """Make a likeness folder from a folder of pictures; the originals are copied, never touched.

    Stopped anywhere, also at its very end, the same call does it again: `photos/` is there with every
    picture, or not at all.  Raises `InputError` where another likeness is.
    """
    _lead()
    if not photos.is_dir():
        raise InputError("no such folder of photos", where=photos, needed="a folder with 10-20 pictures")
    files = likeness.photo_files(photos)
    taken = InputError("there is a likeness here already", where=folder, remedy="Choose another folder.")
    if (folder / "photos").exists() and not _holds(folder / "photos", files):
        raise taken
    if not files:
        got = ", ".join(["0 files", *likeness.left_out(photos)])
        raise PhotosError("no photos in this folder", where=photos, got=got, needed="10-20 pictures")
    captions = _captions_among(photos, files)
    came = ["dataset.captions.captioner=sidecar"] if captions else []
    resolved, file = config.load(None, [*came, *overrides]), folder / config.FILE_NAME
    if (folder / "photos").exists():
        if file.exists() and file.read_bytes() != config.short(resolved, folder).encode():
            raise taken
        replacing.clear_mark(folder / "photos")
    else:
        with manifest.new_folder(folder / "photos") as part:
            for file in files:
                shutil.copyfile(file, part / file.name)
    likeness.write_config(folder, resolved)
    return InitResult(folder=str(folder), photos=len(files), captions=captions)


def _captions_among(folder: Path, files: Sequence[Path]) -> int:
    """How many of the pictures come with a caption, in a text file or a row; rows of no picture are told."""
    from portrait_lora.dataset import sidecars

    table = folder / sidecars.METADATA
    rows = sidecars.read_metadata(table)
    texts = (*sidecars.SUFFIXES, table.suffix)
    pictures = [p for p in files if p.suffix.lower() not in texts and not p.is_symlink()]
    if rows:
        sidecars.warn_of_strangers(table, rows, pictures)
    return sum(bool(sidecars.caption_of(picture, rows)) for picture in pictures)


def _holds(photos: Path, files: Sequence[Path]) -> bool:
    """Whether a folder holds copies of these very files and nothing else, as a finished `init` leaves it."""
    there = likeness.photo_files(photos)
    return [p.name for p in there] == [p.name for p in files] and all(
        manifest.sha256_file(a) == manifest.sha256_file(b) for a, b in zip(there, files, strict=True)
    )


def _studio_photos(out: Path, person_seed: int) -> str:
    """Take the photos of the studio person unless photos/ is there; returns man or woman.

    Raises `InputError` for a folder of something or somebody else: nothing in it is touched.
    """
    from portrait_lora.synthetic import photos

    record = out / "studio.json"
    taken = photos.read_truth(record)
    if taken is None and any(out.iterdir()):
        raise InputError(
            "the folder is not empty and was not made by `demo`",
            where=out,
            remedy="Choose another folder with --out, or remove this one.",
        )
    if taken is not None and taken.person_seed != person_seed:
        raise InputError(
            "this folder is of another studio person",
            where=out,
            got=f"person {taken.person_seed}",
            needed=f"person {person_seed}",
            remedy=f"Choose another folder with --out, or go on with --person-seed {taken.person_seed}.",
        )
    if taken is not None and taken.digests and (out / "photos").is_dir():
        replacing.clear_mark(out / "photos")
        if not photos.is_whole(taken, out / "photos"):
            _log.warning("%s is not as the studio left it, and stays as it is", out / "photos")
        return taken.subject
    _log.info("Taking the photos of studio person %d …", person_seed)
    # recorded first: a folder whose photos were interrupted is known as a demo and begun again
    photos.write_truth(photos.ReferenceSet(person_seed, "", (), {}), record)
    with manifest.new_folder(out / "photos") as part:
        taken = photos.make_reference_set(person_seed, part)
        photos.write_truth(taken, record)
    return taken.subject


def follow() -> None:
    """What a process does that is not the first of its run: train along, and nothing else."""
    for job in processes.jobs():
        train_along(job)


def _lead() -> None:
    """Of several processes only the first goes on from here; the others train along, and end."""
    if processes.follows():
        follow()
        raise SystemExit(0)
    processes.lead()


def _begin(opened: Likeness, force: bool, beside: Context | None = None) -> Context:
    ctx = Context(opened, redo=likeness.STAGES if force else (), beside=beside)
    refuse_to_train_with(ctx)
    likeness.write_config(opened.root, opened.config)
    finishing_of(ctx)  # what is wrong with it is told before hours of work
    return ctx


def _do(ctx: Context, name: str, on_stage: OnStage | None = None) -> None:
    STAGES[name](ctx)
    if on_stage is not None:
        on_stage(ctx.likeness.root, name)


def _run(opened: Likeness, force: bool, *, shows: bool = False) -> RunResult:
    """Every stage; with `shows` one portrait is finished at the end, and a sheet tells how."""
    _lead()
    ctx = _begin(opened, force)
    for name in likeness.STAGES:
        _do(ctx, name)
    if not shows:
        return run_result(ctx)
    from portrait_lora.stages.showcase import showcase  # opens pictures: heavy

    shown = showcase(ctx)
    result = run_result(ctx).model_copy(update={"showcase": shown} if shown else {})
    manifest.write_json_atomic(opened.reports / "run.json", result.json_value())
    return result


def _alone(last: str, folder: Path, overrides: Sequence[str], force: bool) -> Journey:
    """Prepare the photos, and draw the series from references alone; it has a journal of its own.

    What belongs to the adapter, if there is one, stays as it is.
    """
    _lead()
    opened = open_likeness(folder, overrides)
    aside = replace(opened, reports_folder=opened.reports / "references")
    first = Context(opened, trains=False)
    ctx = Context(aside, redo=(last,) if force else (), trains=False, beside=first, alone=True)
    refuse_what_cannot_be(ctx)
    finishing_of(ctx)
    likeness.write_config(opened.root, opened.config)
    done = [STAGES[name](first) for name in ("check", "prepare")]
    manifest.make_folder(aside.reports)
    names = ("generate", "score") if last == "score" else ("generate",)
    return Journey((*done, *(STAGES[name](ctx) for name in names)))


def _up_to(
    last: str, folder: Path, overrides: Sequence[str], force: bool, *, forced: str | None = None
) -> Journey:
    """Run the stages up to `last`; `--force` redoes from the command's own stage on, not what precedes it."""
    _lead()
    opened = open_likeness(folder, overrides)
    names = likeness.STAGES[: likeness.STAGES.index(last) + 1]
    ctx = Context(
        opened,
        redo=names[names.index(forced or last) :] if force else (),
        trains=last not in ("generate", "score"),
    )
    if "train" in names:
        refuse_to_train_with(ctx)
    likeness.write_config(opened.root, opened.config)
    if "generate" in names:
        finishing_of(ctx)
    if not ctx.trains:  # before the photos are prepared anew for nothing
        refuse_other_training(ctx)
    return Journey(tuple(STAGES[name](ctx) for name in names))
