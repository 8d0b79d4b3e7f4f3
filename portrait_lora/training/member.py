"""One person of a group in training: own draws, optimizer, checkpoints and metrics, as one trained alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from portrait_lora import replacing
from portrait_lora.families.family import Family
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import cache, checkpoint
from portrait_lora.training.draws import Draw, draw, draw_prior
from portrait_lora.training.identity import IdentityLoss, Lessons
from portrait_lora.training.loop import CHECKPOINTS, METRICS, OnCheckpoint, final_loss, save_step
from portrait_lora.training.pace import WriteStep, metrics
from portrait_lora.training.recipe import Recipe, refuse_other_settings
from portrait_lora.training.run import about
from portrait_lora.training.stacked import Stack
from portrait_lora.training.update import Update, Updater


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What `train` takes of one person; `micro_batch` is what their checkpoints record for training alone.

    Without `lessons` a run ends where the identity loss begins.
    """

    crops: Sequence[CaptionedCrop]
    out_dir: Path
    recipe: Recipe
    checkpoint_steps: Sequence[int] = ()
    prior: Sequence[CaptionedCrop] = ()
    micro_batch: int | None = None
    cache_dir: Path | None = None
    dataset_digest: str = ""
    config_digest: str = ""
    on_checkpoint: OnCheckpoint | None = field(default=None, repr=False)
    lessons: Lessons | None = field(default=None, repr=False)

    @property
    def planned(self) -> tuple[int, ...]:
        """The steps of the checkpoints that stay."""
        return self.recipe.planned(self.checkpoint_steps)


class Person:
    """The state of one person's run while they are in the group."""

    def __init__(self, family: Family, stack: Stack, member: Member, encodings: cache.Encodings):
        """Goes on from the last checkpoint.  Raises `InputError` when that is of other settings."""
        self.family, self.stack, self.member = family, stack, member
        self.encodings, self.recipe = encodings, member.recipe
        self.about = about(
            family,
            member.recipe,
            member.out_dir,
            trigger=member.crops[0].trigger,
            dataset_digest=member.dataset_digest,
            config_digest=member.config_digest,
        )
        self.settings = member.recipe.settings(family, encodings)
        self.checkpoints, self.metrics = member.out_dir / CHECKPOINTS, member.out_dir / METRICS
        self.micro_batch = min(member.micro_batch or self.recipe.batch_size, self.recipe.batch_size)
        self.step, self.updating = 0, False
        existing = checkpoint.find(self.checkpoints)
        if existing:
            refuse_other_settings(existing[-1].settings, self.settings, self.checkpoints)
        complete = any(c.step == self.recipe.steps for c in existing)
        self._goes_through = complete or member.lessons is not None
        self.parameters: dict[str, nn.Parameter] = stack.parameters(self.recipe.seed, self.recipe.start)
        self.updater = Updater(self.parameters, self.recipe, family.device)
        self.old = next((c for c in reversed(existing) if c.step <= self.last), None)
        if self.old:
            self.updater.restore(checkpoint.read_tensors(self.old, self.parameters), self.old.numbers)
            self.micro_batch = min(self.micro_batch, int(str(self.old.numbers["micro_batch"])))
            self.step = self.old.step
        replacing.clean_leftovers(self.checkpoints)
        self._identity: IdentityLoss | None = None
        self._open = ExitStack()
        self._write: WriteStep = self._open.enter_context(metrics(self.metrics, self.step, write=True))

    @property
    def last(self) -> int:
        """The step at which this run ends: without lessons before the first that needs them."""
        return self.recipe.steps if self._goes_through else self.recipe.identity_from

    def ended_before(self) -> bool:
        """Whether nothing is left to do, asked once before the first step.

        A kill may have interrupted the callback of the checkpoint that is gone on from: it is called again.
        """
        again = self.old is not None and self.step in self.member.planned[:-1]
        return self.step >= self.last or bool(again and self.old and self._enough(self.old.adapter))

    def draws(self) -> list[Draw]:
        """The draws of the next step: a function of this person's own seed, step and samples.

        A dropped caption is this person's own empty prompt already: others of the pass may have another.
        """
        shared = self.recipe, self.encodings, self.family.schedule, self.step
        drawn: list[Draw] = []
        for slot in range(self.recipe.batch_size):
            drawn.append(draw(*shared, slot))
            if self.encodings.prior:
                drawn.append(draw_prior(*shared, slot))
        return [self._without_caption(d) if d.dropped else d for d in drawn]

    def _without_caption(self, drawn: Draw) -> Draw:
        return replace(drawn, sample=replace(drawn.sample, condition=self.encodings.empty), dropped=False)

    def identity(self, decode: Callable[[Tensor], Tensor]) -> IdentityLoss | None:
        """The identity loss of the next step, if it has one; all of a group decode with one decoder."""
        if self.member.lessons is None or self.step < self.recipe.identity_from:
            return None
        if self._identity is None:
            self._identity = IdentityLoss(self.family, self.recipe, self.member.lessons, decode)
        return self._identity if self._identity.due(self.step) else None

    def update(self, plain: float, weighted: float, likeness: float | None = None) -> bool:
        """Take the step whose gradients are there; whether this person is done.

        Raises `PortraitError` when training has diverged.
        """
        self.updating = True
        update: Update = self.updater(self.step + 1)
        self.step += 1
        self.updating = False
        self._write(self.step, plain, weighted, update, self.updater.skipped, likeness)
        if self.step not in self.member.planned:
            return False
        adapter = self.save().adapter
        checkpoint.drop_unplanned(self.checkpoints, self.member.planned, self.step)
        return self._enough(adapter) or self.step >= self.last

    def save(self) -> checkpoint.Checkpoint:
        """An ordinary checkpoint of the last finished step."""
        with self.updater.averaged():
            state = self.stack.state(self.parameters)
        return save_step(
            self.checkpoints,
            self.step,
            state=state,
            about=self.about,
            family=self.family,
            updater=self.updater,
            settings=self.settings,
            micro_batch=self.micro_batch,
        )

    def save_if_needed(self) -> int:
        """Keep the last finished step unless it is kept; the last step that is on disk.

        Weights half-way through an update belong to no step: then the last checkpoint counts.
        """
        saved = [c.step for c in checkpoint.find(self.checkpoints)]
        if not self.updating and self.step and self.step not in saved:
            saved.append(self.save().step)
        return max(saved, default=0)

    def close(self) -> None:
        """Let go of the metrics file."""
        self._open.close()

    def result(self) -> TrainResult:
        """What came of the run so far."""
        by_step = {c.step: c for c in checkpoint.find(self.checkpoints)}
        adapters = tuple(by_step[s].adapter for s in self.member.planned if s in by_step and s <= self.step)
        samples = self.step * self.recipe.batch_size
        loss = final_loss(self.metrics, self.step)
        return TrainResult(adapters, self.step, samples, loss, self.old.step if self.old else None)

    def _enough(self, adapter: Adapter) -> bool:
        return self.member.on_checkpoint is not None and bool(self.member.on_checkpoint(adapter))
