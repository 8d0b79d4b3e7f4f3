"""Judging a checkpoint by its probe portraits: likeness to the held-out photos, copying, obedience."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait_lora import log
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import protocol, similarity
from portrait_lora.evaluation.adherence import mean_adherence
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore, checkpoint_score
from portrait_lora.evaluation.measure import PhotosSeen, PortraitsSeen
from portrait_lora.faces.backends import Analyzer
from portrait_lora.generation import prompts
from portrait_lora.records import Adapter, IdentityScore
from portrait_lora.rights.guard import RefusedPicture
from portrait_lora.stages.context import Context


class Probe:
    """The real photos of one person, looked at once; every checkpoint is then scored against them."""

    def __init__(self, finder: Analyzer, holdout: Sequence[Path], training: Sequence[Path]) -> None:
        """Raises PhotosError with fewer than two held-out photos in which a face is found."""
        self._finder = finder
        self._held, self._trained = PhotosSeen(), PhotosSeen()
        self._holdout, _ = similarity.embed_photos(
            holdout, finder, min_faces=similarity.MIN_HOLDOUT, on_face=self._held
        )
        self._training, _ = similarity.embed_photos(training, finder, on_face=self._trained)

    def score(
        self, step: int, items: Sequence[similarity.PortraitItem], refused: Sequence[int] = ()
    ) -> CheckpointScore:
        """The row of one checkpoint for `choose_checkpoint` and `stop_decision`.

        `refused` are the places, in the order of all probes, of those that were not written: each counts as a
        portrait without a face, so that checkpoints are still compared probe by probe.
        """
        seen = PortraitsSeen(items)
        scores = list(similarity.score_portraits(items, self._holdout, self._finder, on_face=seen))
        for place in sorted(refused):
            blank = IdentityScore("refused", "", None, None, None, self._holdout.embedder_id)
            scores.insert(place, blank)
        copied = protocol.copies(
            seen.seen, self._trained.views, self._held.views, self._training.names, len(scores)
        )
        return checkpoint_score(
            step,
            scores,
            copy_score=None if copied is None else copied.score,
            adherence=mean_adherence((s.request, s.face) for s in seen.seen),
            refused=len(refused),
        )


class Checkpoints:
    """Draws and scores the probe portraits of checkpoints; what is drawn already is not drawn again."""

    def __init__(self, ctx: Context) -> None:
        """Raises PhotosError with fewer than two held-out photos in which a face is found."""
        crops, holdout = load_dataset_folder(ctx.likeness.dataset)
        training = ctx.photos_of(crops)
        self._ctx, self._probe = ctx, Probe(ctx.finder, holdout, training)
        self._shots = prompts.probe_shots(
            ctx.trigger,
            ctx.config.subject.kind,
            ctx.config.select.probes,
            resolution_px=ctx.base.resolution_px,
            seed=ctx.config.seed,
        )

    def score(self, adapter: Adapter, name: str = "") -> CheckpointScore:
        """The row of one checkpoint, from the pictures in `probes/step-000400/`, or `probes/name/`.

        One that the guard's checker refuses counts as one without a face; `RefusedPicture` when all are.
        """
        folder = self._ctx.run_folder / "probes" / (name or f"step-{adapter.step:06d}")
        label, refused = f"probe {name or f'step {adapter.step}'}", list[str]()
        portraits = self._ctx.draw(adapter, self._shots, folder, label=label, refused=refused)
        if refused and not portraits:
            raise RefusedPicture(
                "every probe portrait of a checkpoint was refused, so it cannot be judged",
                where=label,
                got=f"{len(refused)} of {len(self._shots)}",
                needed="one at least",
                remedy="Look at the photos, and at the threshold of `picture_checker` in the policy.",
            )
        places = [place for place, shot in enumerate(self._shots) if shot.name in refused]
        row = self._probe.score(adapter.step, [similarity.PortraitItem.of(p) for p in portraits], places)
        log.event(
            "metric", name="probe", step=row.step, similarity=row.mean, copy_score=row.copy_score,
            folder=folder.relative_to(self._ctx.likeness.root).as_posix(),
        )  # fmt: skip
        return row
