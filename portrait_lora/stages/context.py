"""What the stages of one journey share: models, digests, the journal.

Heavy rooms are imported by what uses them, so a run in which nothing has changed is quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora import device, likeness, log, manifest
from portrait_lora.errors import ArtifactError, PhotosError
from portrait_lora.faces.packs import FacePack, resolve_pack
from portrait_lora.families import catalog, pinned
from portrait_lora.families.rows import row_of
from portrait_lora.generation.presets import fitting
from portrait_lora.likeness import Journal, Likeness
from portrait_lora.removal import plain_name
from portrait_lora.results import FinishedSeries, R, TrainingResult
from portrait_lora.stages.sampling import sampler_of

if TYPE_CHECKING:
    from portrait_lora.dataset.curate import TooFewPhotos
    from portrait_lora.faces.backends import Analyzer
    from portrait_lora.families.family import Family
    from portrait_lora.records import Adapter, CaptionedCrop, CuratedSet, PhotoReport, Portrait, Shot

ADAPTER: Final = "adapter.safetensors"
ADAPTER_COMFY: Final = "adapter_comfy.safetensors"
ALONE: Final = "-references"
"""Behind the name of a series that was drawn from reference photos alone."""
_log = log.get(__name__)


class Context:
    """One journey over one likeness folder; models are opened once, when first needed."""

    def __init__(
        self,
        opened: Likeness,
        *,
        redo: Collection[str] = (),
        trains: bool = True,
        beside: Context | None = None,
        alone: bool = False,
    ):
        """`redo` names the stages to run even when nothing has changed.

        Models that a journey `beside` this one has opened, and that are the same, serve both.

        Without `trains` an adapter that is there is used or refused, never trained anew.  `alone`: portraits
        are drawn without an adapter, from reference photos alone, into a folder of their own.
        """
        self.likeness = opened
        self.run_folder = opened.adapters  # or one beside it while a successor is trained
        self.trains = trains
        self.beside = beside
        self.alone = alone
        self.config = opened.config
        self.redo = frozenset(redo)
        self.journal = Journal.open(opened.reports)
        self.skipped: list[str] = []
        self.started = time.monotonic()
        self.finished: FinishedSeries | None = None  # by the look that series or brand names
        self.examined: tuple[list[PhotoReport], CuratedSet | TooFewPhotos] | None = None
        self.spent: dict[str, float] = {}  # seconds of a stage's work that was done before, with others
        self.drawn: dict[str, float] = {}  # seconds of every shot of the series that was drawn with others
        self.refused: list[Path] = []  # pictures that the guard's checker refused then

    @cached_property
    def pack(self) -> FacePack:
        return resolve_pack(self.config.face_pack)

    @cached_property
    def base(self) -> catalog.BaseModel:
        """The base; a preset that is not for it is refused here, before anything is computed."""
        base = pinned.locked(catalog.resolve_base(self.config.base), self.likeness.root)
        if self.config.generate.preset:
            fitting(self.config.generate.preset, base.family)
        return base

    @cached_property
    def device(self) -> device.DeviceChoice:
        return device.choose(self.config.device, self.config.mixed_precision)

    @cached_property
    def finder(self) -> Analyzer:
        """Embedder A: curates and selects."""
        if self.beside is not None and self.beside.pack.digest == self.pack.digest:
            return self.beside.finder
        from portrait_lora.faces.backends import open_analyzer

        return open_analyzer(self.pack, "select")

    @cached_property
    def reporter(self) -> Analyzer:
        """Embedder B: reports."""
        if self.beside is not None and self.beside.pack.digest == self.pack.digest:
            return self.beside.reporter
        from portrait_lora.faces.backends import open_analyzer

        return open_analyzer(self.pack, "report")

    @cached_property
    def family(self) -> Family:
        if self.beside is not None and self._same_base(self.beside):
            return self.beside.family
        from portrait_lora.families import open_family

        device.limit_threads()
        return open_family(self.base, self.device.device)

    def _same_base(self, other: Context) -> bool:
        weights = self.config.training.weights, other.config.training.weights
        return (self.base.digest, self.device) == (other.base.digest, other.device) and weights[0] == weights[
            1
        ]

    @cached_property
    def photo_digests(self) -> dict[str, str]:
        """Name → sha256 of every file in photos/."""
        files = likeness.photo_files(self.likeness.photos)
        if not files:
            raise self.no_photos("0 files")
        return {p.name: manifest.sha256_file(p) for p in files}

    def photos_of(self, crops: Iterable[CaptionedCrop]) -> list[Path]:
        """The photos that crops were cut from, by name; by digest where the name is another one now.

        One that is turned or cropped by the settings is its copy in `dataset/edited/`.
        """
        from portrait_lora.dataset.build import edited_name

        names = {sha256: name for name, sha256 in sorted(self.photo_digests.items(), reverse=True)}
        same = {c.source_sha256: c.source for c in crops}
        shown = {s: n if self.photo_digests.get(n) == s else names.get(s, n) for s, n in same.items()}
        edited = {s: self.likeness.dataset / "edited" / edited_name(name, s) for s, name in same.items()}
        return sorted(
            edited[s] if edited[s].is_file() else self.likeness.photos / name for s, name in shown.items()
        )

    def no_photos(self, got: str) -> PhotosError:
        """The error of a photos/ folder without a usable picture."""
        where, needed = self.likeness.photos, "10-20 photos of one person"
        return PhotosError("no photos in this folder", where=where, got=got, needed=needed)

    @property
    def trigger(self) -> str:
        return self.config.subject.trigger

    def digest(self, *sections: str) -> str:
        """Digest of the named parts of the configuration."""
        whole = self.config.model_dump(mode="json")
        return manifest.digest({name: whole[name] for name in sections})

    def stage(
        self,
        kind: type[R],
        inputs: Mapping[str, str],
        whole: Callable[[], bool],
        work: Callable[[], R],
        outputs: Callable[[], Iterable[Path]] | None = None,
    ) -> R:
        """Do the work of the stage unless it was done from these inputs and its files are whole.

        `outputs` names the files that the work leaves outside of sealed folders; their digests are kept, and
        one that is missing or changed makes the stage run again.
        """
        name = kind.STAGE
        log.event("progress", stage=name)
        if self.is_done(kind, inputs, whole) and (outputs is None or self._unchanged(name)):
            self.skipped.append(name)
            _log.info("%-9s nothing has changed, skipped", name)
            return self.journal.result(kind)
        self.journal.forget(name)
        started = time.monotonic()
        result = work()
        files = () if outputs is None else outputs()
        digests = {p.relative_to(self.likeness.root).as_posix(): manifest.sha256_file(p) for p in files}
        seconds = time.monotonic() - started + self.spent.pop(name, 0.0)
        self.journal.record(inputs, seconds, result, digests)
        return result

    def is_done(self, kind: type[R], inputs: Mapping[str, str], whole: Callable[[], bool]) -> bool:
        """Whether the stage was done from these inputs, and what it left is whole."""
        name = kind.STAGE
        return name not in self.redo and self.journal.is_done(name, inputs) and whole()

    def _unchanged(self, name: str) -> bool:
        """Whether every file that the stage wrote is there with its bytes; False when none was recorded."""
        written = self.journal.outputs(name)
        try:
            same = [manifest.sha256_file(self.likeness.root / f) == digest for f, digest in written.items()]
        except OSError:
            return False
        return bool(same) and all(same)

    @cached_property
    def adapters(self) -> list[Adapter]:
        """The checkpoints of this run, oldest first."""
        from portrait_lora.families.adapter_file import read_adapter

        names = self.journal.result(TrainingResult).checkpoints
        folder = self.run_folder / "checkpoints"
        return [read_adapter(folder / name / "adapter.safetensors") for name in names]

    def forget_checkpoints(self) -> None:
        """They lie elsewhere now."""
        self.__dict__.pop("adapters", None)

    def draw(
        self,
        adapter: Adapter | None,
        shots: Sequence[Shot],
        folder: Path,
        *,
        force: bool = False,
        on_drawn: Callable[[Portrait, float], None] | None = None,
        framing: Mapping[str, object] | None = None,
        label: str = "portraits",
        refused: list[str] | None = None,
        references: Mapping[str, Sequence[Path]] | None = None,
    ) -> list[Portrait]:
        """Draw the shots into `folder` with the settings of the configuration; see `sample.generate`."""
        from portrait_lora.generation import sample

        self.guard([shot.prompt for shot in shots])
        settings = self.config.generate
        return sample.generate(
            self.family,
            adapter,
            shots,
            folder,
            sampler_of(settings),
            batch_size=settings.batch_size,
            force=force,
            on_drawn=on_drawn,
            framing=framing,
            label=label,
            refused=refused,
            references=references,
        )

    @cached_property
    def references(self) -> Mapping[str, Sequence[Path]]:
        """Shot -> the photos of the person that are shown to the base while the series is drawn."""
        from portrait_lora.stages.referring import references_of

        return references_of(self, self.shots)

    def guard(self, prompts: Sequence[str]) -> None:
        """Raise `Refused` for a prompt that is not drawn of this person."""
        from portrait_lora.rights import consent, guard

        guardian = consent.of_a_minor(self.likeness.root)
        where = self.config.generate.series
        guard.require(prompts, guardian=guardian, of_minor=guardian, where=where)

    @cached_property
    def selected(self) -> Adapter:
        """The adapter that selection kept."""
        from portrait_lora.families.adapter_file import read_adapter

        return read_adapter(self.likeness.adapters / ADAPTER)

    @cached_property
    def shots(self) -> list[Shot]:
        from portrait_lora.generation import prompts

        known = prompts.known_words(self.base)
        return prompts.load_series(
            self.config.generate.series,
            trigger=self.trigger,
            subject=self.config.subject.kind,
            resolution_px=self.base.resolution_px,
            per_shot=self.config.generate.per_shot,
            brand=self.config.generate.brand,
            form=row_of(self.base.family).text.form,
            closed=known is not None,
            known=known,
        )

    @property
    def series(self) -> str:
        """The folder of the series: the name of its file, and the brand's behind it; and whether `alone`.

        Raises `InputError` for one that is no folder name.
        """
        name = self.likeness.series + (ALONE if self.alone else "")
        return plain_name(name, where=self.config.generate.series)


def is_whole(folder: Path) -> bool:
    """Whether the folder was finished and is unchanged."""
    try:
        manifest.verify(folder)
    except ArtifactError:
        return False
    return True


def folder_digest(folder: Path) -> str:
    """The digest in the folder's manifest; empty without one."""
    stored = manifest.read(folder)
    return stored.digest if stored else ""
