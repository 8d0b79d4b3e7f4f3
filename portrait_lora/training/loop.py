"""The training loop.  Every draw is a function of (seed, step, sample), so resuming changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from portrait_lora import log, replacing
from portrait_lora.errors import Interrupted
from portrait_lora.families.family import Family
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.training import adapter as lora
from portrait_lora.training import cache, checkpoint, streaming
from portrait_lora.training.batch import accumulate
from portrait_lora.training.draws import Draw, draw, draw_prior
from portrait_lora.training.identity import IdentityLoss, Lessons
from portrait_lora.training.interrupt import Stop, StopRequest, stop_requests
from portrait_lora.training.memory import halved, is_out_of_memory
from portrait_lora.training.pace import Pace, metrics
from portrait_lora.training.recipe import Recipe, refuse_other_settings
from portrait_lora.training.update import Update, Updater

CHECKPOINTS: Final = "checkpoints"
METRICS: Final = "metrics.jsonl"
OnCheckpoint = Callable[[Adapter], bool | None]


class Run:
    """The state of a run in progress: model, optimizer and output paths."""

    def __init__(
        self, family: Family, encodings: cache.Encodings, out_dir: Path, recipe: Recipe, about: Adapter,
        accelerator: Accelerator, lessons: Lessons | None = None,
    ):  # fmt: skip
        self.family, self.recipe, self.accelerator = family, recipe, accelerator
        self.encodings, self.about = encodings, about
        self.settings = recipe.settings(family, encodings)
        self.checkpoints, self.metrics = out_dir / CHECKPOINTS, out_dir / METRICS
        self.micro_batch = recipe.batch_size // accelerator.num_processes
        self.step, self.updating = 0, False
        self.alone = accelerator.num_processes == 1
        self.existing = checkpoint.find(self.checkpoints)
        if self.existing:
            refuse_other_settings(self.existing[-1].settings, self.settings, self.checkpoints)
        # A fresh denoiser: one that carries an earlier run's adapter would be trained on top of it.
        family.load("none")
        family.load("denoiser_and_text" if recipe.text_encoder else "denoiser")
        self.plain = family.denoiser
        self.parameters = lora.add_adapters(family, recipe)
        self.streamed = streaming.of_family(family) if family.streamed else None
        self.updater = Updater(self.parameters, recipe, family.device)
        self.identity = IdentityLoss(family, recipe, lessons) if lessons is not None else None

    def go(self, planned: tuple[int, ...], on_checkpoint: OnCheckpoint | None) -> TrainResult:
        """Resume, run to the last planned step or until `on_checkpoint` stops it, and return the result.

        Without lessons the last step is the one before the first that needs them, unless all are done.
        """
        complete = any(c.step == planned[-1] for c in self.existing)
        if self.identity is None and not complete:
            planned = tuple(s for s in planned if s <= self.recipe.identity_from)
        old = next((c for c in reversed(self.existing) if c.step <= planned[-1]), None)
        if old:
            self.updater.restore(checkpoint.read_tensors(old, self.parameters), old.numbers)
            self.micro_batch = min(self.micro_batch, int(cast(int, old.numbers["micro_batch"])))
            self.step = old.step
        if self.accelerator.is_main_process:
            replacing.clean_leftovers(self.checkpoints)
        # Blocks that are streamed are not to be put on the device as a whole.
        placed = [self.streamed is None]
        self.family.denoiser = self.accelerator.prepare(self.plain, device_placement=placed)
        self.plain.train()
        try:
            with metrics(self.metrics, self.step, write=self.accelerator.is_main_process) as write:
                # A kill may have interrupted the callback: it is called again.
                again = old is not None and old.step in planned[:-1]
                if not (again and old and self._enough(old.adapter, on_checkpoint)):
                    self._loop(planned, write, on_checkpoint)
        finally:
            self.family.denoiser = self.plain.eval()
        self.accelerator.wait_for_everyone()
        by_step = {c.step: c for c in checkpoint.find(self.checkpoints)}
        adapters = tuple(by_step[s].adapter for s in planned if s in by_step and s <= self.step)
        samples, loss = self.step * self.recipe.batch_size, final_loss(self.metrics, self.step)
        return TrainResult(adapters, self.step, samples, loss, old.step if old else None)

    def _loop(
        self, planned: tuple[int, ...], write: Callable[..., None], on_checkpoint: OnCheckpoint | None
    ) -> None:
        last, whole = planned[-1], self.recipe.steps
        pace = Pace(self.recipe.batch_size, whole)
        try:
            with stop_requests() as stop, log.progress("train", whole) as advance:
                advance(self.step)
                while self.step < last:
                    loss, weighted, stopping, likeness = self._gradients(stop)
                    self.updating = True
                    update = self._update(self.step + 1)
                    self.step += 1
                    self.updating = False
                    write(self.step, loss, weighted, update, self.updater.skipped, likeness)
                    advance(1, loss=loss, **pace.after(self.step))
                    if self.step in planned:
                        adapter = self._save().adapter
                        if self.accelerator.is_main_process:
                            checkpoint.drop_unplanned(self.checkpoints, planned, self.step)
                        if self._enough(adapter, on_checkpoint):
                            break
                    if (stopping or (stop.requested and self.alone)) and self.step < last:
                        raise Stop
                if stop.requested and self.alone:  # in the last step: what comes after is not to begin
                    raise Stop
        except (KeyboardInterrupt, Stop) as error:
            # Weights half-way through an update belong to no step: then the last checkpoint counts.
            if not self.updating and self.step and self.step not in {c.step for c in self._whole()}:
                self._save()
            saved = [c.step for c in self._whole()]
            raise Interrupted(
                "training stopped",
                where=self.checkpoints,
                got=f"{saved[-1] if saved else 0} of {whole} steps saved",
                remedy="Run the same command again to continue.",
            ) from error

    def _gradients(self, stop: StopRequest) -> tuple[float, float, bool, float | None]:
        """Gradients of one batch; its mean loss without and with weights, whether to stop after it, and how
        alike the lessons of the identity loss come out, if there are any.

        Every process returns the same: a signal to one stops all at the same step.
        """
        while True:
            try:
                # First, because processes synchronise at the end of the batch.
                likeness = self._identity_gradients()
                losses = accumulate(
                    self.family, self.recipe, self.encodings, self._draws(), self.micro_batch,
                    self.accelerator, self.updater.scaled,
                )  # fmt: skip
                self._share_text_gradients()
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or not self.alone:
                    raise
                self.updater.forget_gradients()
                self.micro_batch = halved(self.micro_batch, error)
        beside = losses.new_tensor([float(stop.requested), likeness or 0.0])
        means = cast(Tensor, self.accelerator.reduce(torch.cat([losses, beside]), reduction="mean"))
        plain, weighted, stopping, alike = means.tolist()
        if likeness is not None and not self.alone:
            likeness = alike
        return plain, weighted, stopping > 0.0, likeness

    def _identity_gradients(self) -> float | None:
        if self.identity is None or not self.identity.due(self.step):
            return None
        mine = self.accelerator.process_index, self.accelerator.num_processes
        with self.accelerator.no_sync(self.family.denoiser):
            return self.identity.backward(self.step, self.micro_batch, self.updater.scaled, share=mine)

    def _share_text_gradients(self) -> None:
        """Average text encoder gradients over the processes; the denoiser's wrapper does so for its own."""
        named = self.parameters.items()
        # SDXL leaves out the last layer of its encoders: no gradient there, in any process.
        text = [p for n, p in named if n.startswith("text_encoder") and p.grad is not None]
        if self.alone or not text:
            return
        mine = torch.cat([cast(Tensor, p.grad).flatten() for p in text])
        mean = cast(Tensor, self.accelerator.reduce(mine, reduction="mean"))
        for parameter, part in zip(text, mean.split([p.numel() for p in text]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def _draws(self) -> list[tuple[Draw, ...]]:
        """The draws for this process's slots of the batch: the person's picture, and the class's if any.

        Slots are consecutive, like the micro-batches in one process, so that the sums are the same.
        """
        each = self.recipe.batch_size // self.accelerator.num_processes
        mine = range(self.accelerator.process_index * each, (self.accelerator.process_index + 1) * each)
        shared = self.recipe, self.encodings, self.family.schedule, self.step
        own = [(draw(*shared, slot),) for slot in mine]
        if not self.encodings.prior:
            return own
        return [(*o, draw_prior(*shared, slot)) for o, slot in zip(own, mine, strict=True)]

    def _update(self, step: int) -> Update:
        return self.updater(step)

    def _enough(self, adapter: Adapter, on_checkpoint: OnCheckpoint | None) -> bool:
        """Whether `on_checkpoint` ends the run; the main process decides for all."""
        if on_checkpoint is None:
            return False
        answer = [bool(on_checkpoint(adapter)) if self.accelerator.is_main_process else False]
        if not self.alone:
            broadcast_object_list(answer)
        return answer[0]

    def _save(self) -> checkpoint.Checkpoint:
        with self.updater.averaged():
            state = lora.diffusers_states(self.family, self.plain, self.recipe)
        saved = checkpoint.Checkpoint(
            checkpoint.folder_of(self.checkpoints, self.step), self.step, self.settings
        )
        if self.accelerator.is_main_process:
            save_step(
                self.checkpoints,
                self.step,
                state=state,
                about=self.about,
                family=self.family,
                updater=self.updater,
                settings=self.settings,
                micro_batch=self.micro_batch,
            )
        self.accelerator.wait_for_everyone()
        return saved

    def _whole(self) -> list[checkpoint.Checkpoint]:
        return checkpoint.find(self.checkpoints)


def save_step(
    checkpoints: Path,
    step: int,
    *,
    state: Mapping[str, Tensor],
    about: Adapter,
    family: Family,
    updater: Updater,
    settings: Mapping[str, object],
    micro_batch: int,
) -> checkpoint.Checkpoint:
    """Write the checkpoint of a step: the adapter in `state`, and what to go on from."""
    tensors, numbers = updater.state()
    here = replace(about, step=step)
    saved = checkpoint.write(
        checkpoints,
        step,
        adapter=lora.adapter_bytes(state, here, family.base, family.schedule.prediction_type),
        tensors=tensors,
        numbers={**numbers, "micro_batch": micro_batch},
        settings=settings,
    )
    log.event("metric", name="checkpoint", step=step)
    return saved


def final_loss(path: Path, steps: int) -> float | None:
    """Mean loss of the last tenth of the steps, from the file: the same for a resumed run.

    If all of these were skipped, the loss of the last step that was not; None without any.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    good = [r for r in rows if "skipped" not in r and r["step"] <= steps]
    losses = [float(r["loss"]) for r in good if r["step"] > steps - max(1, steps // 10)]
    losses = losses or [float(r["loss"]) for r in good[-1:]]
    return sum(losses) / len(losses) if losses else None
