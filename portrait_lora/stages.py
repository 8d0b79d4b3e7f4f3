"""The stages of one journey: what each needs, whether it is done already, and what it says.

Heavy rooms are imported by the stage that uses them, so a run in which nothing has changed is quick.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from portrait_lora import device, likeness, log, manifest, provenance, summaries
from portrait_lora.errors import ArtifactError, InputError, PhotosError
from portrait_lora.faces.packs import FacePack, resolve_pack
from portrait_lora.families import catalog
from portrait_lora.likeness import Journal, Likeness, Summary

if TYPE_CHECKING:
    from portrait_lora.dataset.curate import TooFewPhotos
    from portrait_lora.faces.analyzer import FaceAnalyzer
    from portrait_lora.families.family import Family
    from portrait_lora.records import Adapter, CuratedSet, PhotoReport, Portrait, Shot

ADAPTER: Final = "adapter.safetensors"
ADAPTER_COMFY: Final = "adapter_comfy.safetensors"
_log = log.get(__name__)


class Stages:
    """One journey over one likeness folder; models are opened once, when first needed."""

    def __init__(self, opened: Likeness, *, redo: Collection[str] = ()):
        """`redo` names the stages to run even when nothing has changed."""
        self.likeness = opened
        self.config = opened.config
        self.redo = frozenset(redo)
        self.journal = Journal.open(opened.reports)
        self.skipped: list[str] = []
        self.started = time.monotonic()

    # -- what the stages share -------------------------------------------------------------------

    @cached_property
    def pack(self) -> FacePack:
        return resolve_pack(self.config.face_pack)

    @cached_property
    def base(self) -> catalog.BaseModel:
        return catalog.resolve_base(self.config.base)

    @cached_property
    def device(self) -> device.DeviceChoice:
        return device.choose(self.config.device, self.config.mixed_precision)

    @cached_property
    def finder(self) -> FaceAnalyzer:
        """Embedder A: curates and selects."""
        from portrait_lora.faces.analyzer import FaceAnalyzer

        return FaceAnalyzer(self.pack, "select")

    @cached_property
    def reporter(self) -> FaceAnalyzer:
        """Embedder B: reports."""
        from portrait_lora.faces.analyzer import FaceAnalyzer

        return FaceAnalyzer(self.pack, "report")

    @cached_property
    def family(self) -> Family:
        from portrait_lora.families import open_family

        device.limit_threads()
        return open_family(self.base, self.device.device)

    @cached_property
    def photo_digests(self) -> dict[str, str]:
        """Name → sha256 of every file in photos/."""
        files = likeness.photo_files(self.likeness.photos)
        if not files:
            raise self._no_photos("0 files")
        return {p.name: manifest.sha256_file(p) for p in files}

    def _no_photos(self, got: str) -> PhotosError:
        where, needed = self.likeness.photos, "10-20 photos of one person"
        return PhotosError("no photos in this folder", where=where, got=got, needed=needed)

    @property
    def trigger(self) -> str:
        return self.config.subject.trigger

    def _digest(self, *sections: str) -> str:
        """Digest of the named parts of the configuration."""
        whole = self.config.model_dump(mode="json")
        return manifest.digest({name: whole[name] for name in sections})

    def _stage(
        self, name: str, inputs: Mapping[str, str], whole: Callable[[], bool], work: Callable[[], Summary]
    ) -> Summary:
        """Do the work unless it was done from these inputs and its files are whole."""
        if name not in self.redo and self.journal.is_done(name, inputs) and whole():
            self.skipped.append(name)
            _log.info("%-9s nothing has changed, skipped", name)
            return self.journal.summary(name)
        self.journal.forget(name)
        started = time.monotonic()
        summary = work()
        self.journal.record(name, inputs, time.monotonic() - started, summary)
        return summary

    # -- check and prepare -----------------------------------------------------------------------

    @cached_property
    def examined(self) -> tuple[list[PhotoReport], CuratedSet | TooFewPhotos]:
        """Every photo's report, and the curated set or why there is none."""
        from portrait_lora.dataset import checks, curate

        self._refuse_unknown_world()
        _ = self.photo_digests
        settings = self.config.dataset
        reports = checks.check_folder(
            self.likeness.photos, self.finder, checks.CheckSettings.of(settings.check)
        )
        if not reports:
            got = f"{len(self.photo_digests)} files, none of them a picture"
            raise self._no_photos(got)
        # Profiles and hard light take the subject's own photos below the verification threshold (0.27-0.43
        # of 0.44 measured), strangers stay near 0: half the threshold tells them apart.
        same = 0.58 * self.pack.threshold("select")
        try:
            curated = curate.curate(
                reports, curate.CurateSettings.of(settings.curate), same_person_similarity=same
            )
            return reports, curated
        except curate.TooFewPhotos as few:
            return reports, few

    def _refuse_unknown_world(self) -> None:
        """The embedded models know only the studio; on photographs they would give nonsense figures."""
        if self.config.allow_synthetic_models or not (self.pack.synthetic or self.base.synthetic):
            return
        files = likeness.photo_files(self.likeness.photos)
        real = [p.name for p in files if provenance.is_unmarked_picture(p)]
        if real:
            which = "face pack and base model" if self.base.synthetic else "face pack"
            raise InputError(
                f"the embedded {which} knows only the synthetic studio, and these look like real photographs",
                where=self.likeness.photos,
                got=f"{len(real)} of {len(files)} pictures without the studio's mark, such as {real[0]}",
                needed="a face pack and a base model made for photographs",
                remedy="See `portrait-lora models`, or go on all the same with --allow-synthetic-models.",
            )

    def _photo_inputs(self) -> dict[str, str]:
        return {
            "photos": manifest.digest(self.photo_digests),
            "config": self._digest("dataset", "subject", "allow_synthetic_models"),
            "pack": self.pack.digest,
        }

    def check(self) -> Summary:
        """Write `reports/check.html`; few usable photos are told, not raised."""
        page = self.likeness.reports / "check.html"
        return self._stage("check", self._photo_inputs(), page.is_file, lambda: self._check(page))

    def _check(self, page: Path) -> Summary:
        from portrait_lora.dataset.report import write_check_html
        from portrait_lora.records import CuratedSet

        manifest.make_folder(self.likeness.reports)
        reports, outcome = self.examined
        curated = outcome if isinstance(outcome, CuratedSet) else None
        shown = reports if isinstance(outcome, CuratedSet) else outcome.reports
        title = self.config.subject.name or self.likeness.root.name
        write_check_html(page, curated, shown, title=title)
        return summaries.check_summary(curated, shown, page)

    def prepare(self) -> Summary:
        """Write `dataset/` and `captions.csv`.  Raises `PhotosError` when too few photos are usable."""
        folder = self.likeness.dataset
        summary = self._stage("prepare", self._prepare_inputs(), lambda: _whole(folder), self._prepare)
        if "prepare" not in self.skipped:  # the captions file that it wrote is an input of the next run
            self.journal.record("prepare", self._prepare_inputs(), self.journal.seconds("prepare"), summary)
        return summary

    def _prepare_inputs(self) -> dict[str, str]:
        """The captions file counts once it exists; see `_prepare`."""
        there = self.likeness.captions.is_file()
        captions = manifest.sha256_file(self.likeness.captions) if there else ""
        size = str(self.base.resolution_px)
        return self._photo_inputs() | {"captions": captions, "resolution_px": size}

    def _prepare(self) -> Summary:
        from portrait_lora.dataset.build import build_dataset
        from portrait_lora.records import CuratedSet

        _, outcome = self.examined
        if not isinstance(outcome, CuratedSet):
            raise outcome
        crops = build_dataset(
            outcome,
            self.likeness.dataset,
            size_px=self.base.resolution_px,
            trigger=self.trigger,
            subject=self.config.subject.kind,
            crops_per_photo=self.config.dataset.crops_per_photo,
            captions_csv=self.likeness.captions,
        )
        return summaries.prepare_summary(outcome, crops)

    # -- train and select ------------------------------------------------------------------------

    def train(self) -> Summary:
        """Leave the checkpoints of the LoRA under `adapters/<run>/checkpoints/`."""
        inputs = {
            "dataset": _folder_digest(self.likeness.dataset),
            "config": self._digest("training", "seed"),
            "base": self.base.digest,
            "precision": f"{self.device.device} {self.device.mixed_precision}",
        }
        return self._stage("train", inputs, lambda: self._checkpoints_whole(), lambda: self._train(inputs))

    def _checkpoints_whole(self) -> bool:
        names = self.journal.summary("train")["checkpoints"]
        folders = [self.likeness.adapters / "checkpoints" / str(name) for name in _strings(names)]
        return bool(folders) and all(_whole(folder) for folder in folders)

    def _train(self, inputs: Mapping[str, str]) -> Summary:
        from portrait_lora.dataset.build import load_dataset_folder
        from portrait_lora.training import loop

        crops, _ = load_dataset_folder(self.likeness.dataset)
        settings = self.config.training
        photos = len({crop.source_sha256 for crop in crops})
        steps = loop.steps_for(photos, settings.exposures_per_photo, settings.batch_size)
        self._begin_run(inputs)
        result = loop.train(
            self.family,
            crops,
            self.likeness.adapters,
            rank=settings.rank,
            alpha=settings.alpha,
            target_modules=settings.targets,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            steps=steps,
            checkpoint_steps=loop.checkpoint_schedule(steps, settings.checkpoints),
            seed=self.config.seed,
            caption_dropout=settings.caption_dropout,
            snr_gamma=settings.snr_gamma,
            warmup_steps=settings.warmup_steps,
            schedule=settings.schedule,
            background_weight=settings.background_weight,
            mixed_precision=self.device.mixed_precision,
            dataset_digest=inputs["dataset"],
            config_digest=inputs["config"],
        )
        return {
            "base": self.base.label,
            "steps": result.steps,
            "samples": result.samples,
            "final_loss": result.final_loss,
            "resumed_from": result.resumed_from,
            "checkpoints": [a.path.parent.name for a in result.checkpoints],
        }

    def _begin_run(self, inputs: Mapping[str, str]) -> None:
        """Go on with an interrupted run of the same inputs; clear what came from others."""
        folder = self.likeness.adapters
        told = folder / "inputs.json"
        same = told.is_file() and told.read_text(encoding="utf-8") == manifest.canonical(dict(inputs))
        if folder.exists() and ("train" in self.redo or not same):
            shutil.rmtree(folder)
        manifest.make_folder(folder)
        manifest.write_text_atomic(told, manifest.canonical(dict(inputs)))

    def select(self) -> Summary:
        """Choose the checkpoint by embedder A on probe portraits, and write the adapter files."""
        inputs = {
            "train": manifest.digest([self.journal.stages["train"]["inputs"], self._checkpoint_digests()]),
            "config": self._digest("select", "generate", "seed"),
            "pack": self.pack.digest,
        }
        folder = self.likeness.adapters
        return self._stage("select", inputs, lambda: _whole(folder), self._select)

    def _checkpoint_digests(self) -> list[str]:
        names = _strings(self.journal.summary("train")["checkpoints"])
        return [_folder_digest(self.likeness.adapters / "checkpoints" / name) for name in names]

    @cached_property
    def adapters(self) -> list[Adapter]:
        """The checkpoints of this run, oldest first."""
        from portrait_lora.families.adapter_file import read_adapter

        names = _strings(self.journal.summary("train")["checkpoints"])
        folder = self.likeness.adapters / "checkpoints"
        return [read_adapter(folder / name / "adapter.safetensors") for name in names]

    def _select(self) -> Summary:
        from portrait_lora.dataset.build import load_dataset_folder
        from portrait_lora.evaluation import identity
        from portrait_lora.evaluation.select import checkpoint_score, choose_checkpoint
        from portrait_lora.generation import prompts
        from portrait_lora.training import adapter as lora

        folder = self.likeness.adapters
        (folder / manifest.NAME).unlink(missing_ok=True)
        _, holdout_paths = load_dataset_folder(self.likeness.dataset)
        holdout, _ = identity.embed_photos(holdout_paths, self.finder, min_faces=identity.MIN_HOLDOUT)
        shots = prompts.probe_shots(
            self.trigger,
            self.config.subject.kind,
            self.config.select.probes,
            resolution_px=self.base.resolution_px,
            seed=self.config.seed,
        )
        table = []
        for adapter in self.adapters:
            made = self._draw(adapter, shots, folder / "probes" / f"step-{adapter.step:06d}")
            items = [identity.PortraitItem(p.path, p.shot.prompt) for p in made]
            table.append(
                checkpoint_score(adapter.step, identity.score_portraits(items, holdout, self.finder))
            )
        step = choose_checkpoint(table)
        chosen = next(a for a in self.adapters if a.step == step)
        lora.export_diffusers(chosen, folder / ADAPTER)
        lora.export_kohya(chosen, folder / ADAPTER_COMFY)
        rows = [
            {"step": r.step, "mean": r.mean, "face_found_rate": r.face_found_rate, "values": list(r.values)}
            for r in table
        ]
        manifest.write_json_atomic(folder / "selection.json", {"step": step, "probes": rows})
        manifest.finish(folder, kind="adapter", inputs={"base": self.base.digest}, extra={"step": step})
        return {"selected_step": step, "probes": rows, "adapter": str(folder / ADAPTER)}

    def _draw(
        self, adapter: Adapter | None, shots: Sequence[Shot], folder: Path, *, force: bool = False
    ) -> list[Portrait]:
        from portrait_lora.generation import sample

        settings = self.config.generate
        return sample.generate(
            self.family,
            adapter,
            shots,
            folder,
            steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            adapter_scale=settings.adapter_scale,
            batch_size=settings.batch_size,
            force=force,
        )

    # -- generate and score ----------------------------------------------------------------------

    @cached_property
    def selected(self) -> Adapter:
        """The adapter that selection kept."""
        from portrait_lora.families.adapter_file import read_adapter

        return read_adapter(self.likeness.adapters / ADAPTER)

    @cached_property
    def shots(self) -> list[Shot]:
        from portrait_lora.generation import prompts

        return prompts.load_series(
            self.config.generate.series,
            trigger=self.trigger,
            subject=self.config.subject.kind,
            resolution_px=self.base.resolution_px,
            per_shot=self.config.generate.per_shot,
        )

    @property
    def series(self) -> str:
        return Path(self.config.generate.series).stem

    def generate(self) -> Summary:
        """Write `portraits/<series>/` with one PNG and JSON per picture and the contact sheet."""
        inputs = {
            "adapter": manifest.sha256_file(self.likeness.adapters / ADAPTER),
            "config": self._digest("generate"),
            "shots": manifest.digest(
                [[s.name, s.prompt, s.negative_prompt, s.size_px, s.seed] for s in self.shots]
            ),
            "base": self.base.digest,
        }
        folder = self.likeness.portraits(self.series)
        return self._stage(
            "generate", inputs, lambda: _whole(folder), lambda: self._portraits(folder, inputs)
        )

    def _portraits(self, folder: Path, inputs: Mapping[str, str]) -> Summary:
        from portrait_lora.generation.contact_sheet import contact_sheet

        (folder / manifest.NAME).unlink(missing_ok=True)
        wanted = {f"{s.name}{suffix}" for s in self.shots for suffix in (".png", ".json")}
        for stale in folder.glob("*"):
            if stale.is_file() and stale.name not in wanted:
                stale.unlink()
        made = self._draw(self.selected, self.shots, folder, force="generate" in self.redo)
        sheet = contact_sheet(
            made, folder / "contact_sheet.jpg", title=self.config.subject.name or self.series
        )
        manifest.finish(folder, kind="portraits", inputs=inputs, extra={"series": self.series})
        return {"portraits": len(made), "folder": str(folder), "contact_sheet": str(sheet)}

    def score(self) -> Summary:
        """Measure the portraits with embedder B; writes drift.html, drift.json and run.json."""
        portraits = self.likeness.portraits(self.series)
        inputs = {
            "portraits": _folder_digest(portraits),
            "dataset": _folder_digest(self.likeness.dataset),
            "select": manifest.digest(self.journal.stages["select"]["inputs"]),
            "pack": self.pack.digest,
        }
        pages = [self.likeness.reports / name for name in ("drift.html", "drift.json", "run.json")]
        summary = self._stage("score", inputs, lambda: all(p.is_file() for p in pages), self._score)
        manifest.write_json_atomic(pages[2], self.run_summary())
        return summary

    def _score(self) -> Summary:
        from portrait_lora.scoring import measure

        made = self._draw(self.selected, self.shots, self.likeness.portraits(self.series))
        bare = self._draw(
            None, self.shots, self.likeness.portraits(f"{self.series}-base"), force="generate" in self.redo
        )
        return measure(self, made, bare)

    # -- the summary of the whole journey --------------------------------------------------------

    def run_summary(self) -> Summary:
        """`reports/run.json`: DESIGN section 8."""
        said = {name: self.journal.summary(name) for name in likeness.STAGES}
        seconds: Summary = {name: self.journal.seconds(name) for name in likeness.STAGES}
        total = round(time.monotonic() - self.started, 2)
        training = said["train"]
        keys = ("base", "steps", "samples", "final_loss")
        return {
            "seconds": seconds | {"total": total},
            "skipped": list(self.skipped),
            "photos": said["check"]["photos"],
            "training": {k: training[k] for k in keys} | {"selected_step": said["select"]["selected_step"]},
            "likeness": said["score"]["likeness"],
            "portraits": said["generate"]["portraits"],
            "device": self.device.device,
            "peak_memory_mb": summaries.peak_memory_mb(),
            "versions": summaries.versions(),
        }


def _strings(value: object) -> list[str]:
    return [str(v) for v in cast(list[object], value)]


def _whole(folder: Path) -> bool:
    """Whether the folder was finished and is unchanged."""
    try:
        manifest.verify(folder)
    except ArtifactError:
        return False
    return True


def _folder_digest(folder: Path) -> str:
    found = manifest.read(folder)
    return found.digest if found else ""
