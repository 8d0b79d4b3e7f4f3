"""Judging a checkpoint by its probe portraits: likeness to the held-out photos, copying, obedience."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait_lora import log
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import protocol, similarity
from portrait_lora.evaluation.adherence import mean_adherence
from portrait_lora.evaluation.checkpoint_choice import (
    FIRST_PROBES,
    MIN_TO_SMOOTH,
    CheckpointScore,
    checkpoint_score,
    in_the_race,
    passes,
)
from portrait_lora.evaluation.measure import PhotosSeen, PortraitsSeen
from portrait_lora.faces.backends import Analyzer
from portrait_lora.generation import prompts
from portrait_lora.records import Adapter, IdentityScore, Portrait
from portrait_lora.rights.guard import RefusedPicture
from portrait_lora.stages.context import Context

_log = log.get(__name__)


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

    def race(self, adapters: Sequence[Adapter], keep: int | None = None) -> list[CheckpointScore]:
        """The rows of all checkpoints, of which those that fall behind on the first probes have these alone.

        Of so many checkpoints that each is averaged with its neighbours there is no race; nor where training
        has drawn all probes already.  `keep` is a step that stays in it.
        """
        config = self._ctx.config
        drawn = config.training.early_stop or config.training.previews
        if drawn or len(self._shots) < 2 * FIRST_PROBES or not 1 < len(adapters) < MIN_TO_SMOOTH:
            return [self.score(adapter) for adapter in adapters]
        limit = config.select.copy_limit
        first = {adapter.step: self.score(adapter, most=FIRST_PROBES) for adapter in adapters}
        left = in_the_race(list(first.values()), copy_limit=limit) | {keep}
        table = [self.score(a) if a.step in left else first[a.step] for a in adapters]
        if any(row.step in left and passes(row, table, copy_limit=limit) for row in table):
            if behind := ", ".join(str(step) for step in first if step not in left):
                _log.info("behind on the first %d probes, not drawn further: step %s", FIRST_PROBES, behind)
            return table
        return [r if r.step in left else self.score(a) for a, r in zip(adapters, table, strict=True)]

    def score(self, adapter: Adapter, name: str = "", most: int | None = None) -> CheckpointScore:
        """The row of one checkpoint, from the pictures in `probes/step-000400/`, or `probes/name/`.

        `most` looks at so many probes only.  One that the guard's checker refuses counts as one without a
        face; `RefusedPicture` when all are.
        """
        folder = self._ctx.run_folder / "probes" / (name or f"step-{adapter.step:06d}")
        label, refused = f"probe {name or f'step {adapter.step}'}", list[str]()
        shots, portraits = self._shots[:most], list[Portrait]()
        # Always in the same batches, whether the race goes on or not: others change the last bits.
        for part in filter(None, (shots[:FIRST_PROBES], shots[FIRST_PROBES:])):
            portraits += self._ctx.draw(adapter, part, folder, label=label, refused=refused)
        if len(refused) == len(self._shots):
            raise RefusedPicture(
                "every probe portrait of a checkpoint was refused, so it cannot be judged",
                where=label,
                got=f"{len(refused)} of {len(self._shots)}",
                needed="one at least",
                remedy="Look at the photos, and at the threshold of `picture_checker` in the policy.",
            )
        places = [place for place, shot in enumerate(shots) if shot.name in refused]
        row = self._probe.score(adapter.step, [similarity.PortraitItem.of(p) for p in portraits], places)
        log.event(
            "metric", name="probe", step=row.step, similarity=row.mean, copy_score=row.copy_score,
            folder=folder.relative_to(self._ctx.likeness.root).as_posix(),
        )  # fmt: skip
        return row
