"""One training loop.  Every draw is a function of (seed, step, sample), so a resumed run is the same run.

Shape legend: B pictures, C latent channels, H W latent rows and columns, L tokens, D embedding width.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from portrait_lora import log
from portrait_lora.errors import InputError, Interrupted
from portrait_lora.families.family import Family, PromptCondition
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import adapter as lora
from portrait_lora.training import cache, checkpoint, objective
from portrait_lora.training.draws import Draw, Mixed, Recipe, Schedule, draw
from portrait_lora.training.interrupt import Stop, stop_requests

CHECKPOINTS: Final = "checkpoints"
METRICS: Final = "metrics.jsonl"
_log = log.get(__name__)


def steps_for(photos: int, exposures_per_photo: int, batch_size: int) -> int:
    """Steps such that each photo is seen `exposures_per_photo` times."""
    return max(1, math.ceil(photos * exposures_per_photo / batch_size))


def checkpoint_schedule(steps: int, count: int) -> tuple[int, ...]:
    """`count` steps at equal distances, the last one being `steps`."""
    return tuple(sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)}))


def train(
    family: Family,
    crops: Sequence[CaptionedCrop],
    out_dir: Path,
    *,
    rank: int,
    alpha: float,
    target_modules: tuple[str, ...] | lora.Targets,
    learning_rate: float,
    batch_size: int,
    steps: int,
    checkpoint_steps: Sequence[int] = (),
    seed: int = 0,
    caption_dropout: float = 0.05,
    snr_gamma: float = 5.0,
    warmup_steps: int = 10,
    schedule: Schedule = "constant",
    background_weight: float = 1.0,
    mixed_precision: Mixed = "no",
    max_grad_norm: float = 1.0,
    weight_decay: float = 1e-3,
    cache_dir: Path | None = None,
    dataset_digest: str = "",
    config_digest: str = "",
    accelerator: Accelerator | None = None,
    resume: bool = True,
    on_checkpoint: Callable[[Adapter], None] | None = None,
) -> TrainResult:
    """Train a LoRA on `crops` and leave its checkpoints in `out_dir`.

    `batch_size` counts over all processes.  `background_weight` below 1 lowers the loss outside the
    person's mask.  An unfinished run in `out_dir` goes on to bit-identical weights; `resume=False` starts
    afresh.  `on_checkpoint` is called after each planned checkpoint, and must leave the family's denoiser
    alone.

    Raises `InputError` for settings that cannot work or differ from those of the run in `out_dir`, and
    `Interrupted` once stopped, with the state of the last finished step on disk.
    """
    if not crops:
        raise InputError("no pictures to train on", where=out_dir, needed="one crop or more")
    targets = (
        lora.TARGETS[cast(lora.Targets, target_modules)]
        if isinstance(target_modules, str)
        else target_modules
    )
    recipe = Recipe(
        rank, float(alpha), targets, learning_rate, batch_size, steps, seed, warmup_steps, schedule,
        caption_dropout, snr_gamma, background_weight, mixed_precision, max_grad_norm, weight_decay,
    )  # fmt: skip
    if not resume:
        shutil.rmtree(out_dir / CHECKPOINTS, ignore_errors=True)
        (out_dir / METRICS).unlink(missing_ok=True)
    encodings = cache.encode(family, crops, cache_dir or out_dir / "cache")
    about = Adapter(
        out_dir, family.base.family, family.base.name, family.base.digest, rank, float(alpha), targets,
        crops[0].trigger, dataset_digest, config_digest, 0,
    )  # fmt: skip
    run = _Run(
        family, encodings, out_dir, recipe, about, accelerator or Accelerator(cpu=family.device.type == "cpu")
    )
    planned = tuple(sorted({*(s for s in checkpoint_steps if 0 < s < steps), steps}))
    return run.go(planned, on_checkpoint)


class _Run:
    """The state of a run in progress: model, optimizer and where they are written."""

    def __init__(
        self,
        family: Family,
        encodings: cache.Encodings,
        out_dir: Path,
        recipe: Recipe,
        about: Adapter,
        accelerator: Accelerator,
    ):
        self.family, self.recipe, self.accelerator = family, recipe, accelerator
        self.encodings, self.samples = encodings, encodings.samples
        self.about = about
        self.settings = recipe.settings(family.base.digest, encodings)
        self.checkpoints, self.metrics = out_dir / CHECKPOINTS, out_dir / METRICS
        if recipe.batch_size % accelerator.num_processes:
            raise InputError(
                "the batch cannot be shared out", where="batch_size", got=recipe.batch_size,
                needed=f"a multiple of {accelerator.num_processes}",
            )  # fmt: skip
        self.found = checkpoint.find(self.checkpoints)
        if self.found:
            self._same_run(self.found[-1].settings)
        # A fresh denoiser: one that carries an earlier run's adapter would be trained on top of it.
        family.load("none")
        family.load("denoiser")
        self.parameters = lora.add_adapter(
            family.denoiser,
            rank=recipe.rank,
            alpha=recipe.alpha,
            target_modules=recipe.target_modules,
            seed=recipe.seed,
        )
        self.plain = family.denoiser
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=recipe.weight_decay,
        )
        self.step = 0

    def _same_run(self, old: Mapping[str, object]) -> None:
        changed = sorted(k for k in {*old, *self.settings} if old.get(k) != self.settings.get(k))
        if changed:
            raise InputError(
                "the checkpoints here were trained with other settings",
                where=self.checkpoints,
                got="; ".join(f"{k} {old.get(k)!r} became {self.settings.get(k)!r}" for k in changed),
                remedy="Train into another run folder, or start this one afresh (resume off).",
            )

    def go(self, planned: tuple[int, ...], on_checkpoint: Callable[[Adapter], None] | None) -> TrainResult:
        """Resume, run to the last planned step, and report."""
        usable = [c for c in self.found if c.step <= planned[-1]]
        resumed = usable[-1].step if usable else None
        if usable:
            checkpoint.restore(usable[-1], self.parameters, self.optimizer)
            self.step = usable[-1].step
        self.family.denoiser = self.accelerator.prepare(self.plain)
        self.plain.train()
        try:
            with log.MetricsWriter(self.metrics) as writer:
                writer.truncate_after(self.step)
                self._loop(planned, writer, on_checkpoint)
        finally:
            self.family.denoiser = self.plain.eval()
        loss = _final_loss(self.metrics, planned[-1])
        made = {c.step: c for c in checkpoint.find(self.checkpoints)}
        adapters = tuple(made[s].adapter for s in planned if s in made)
        return TrainResult(adapters, planned[-1], planned[-1] * self.recipe.batch_size, loss, resumed)

    def _loop(
        self,
        planned: tuple[int, ...],
        writer: log.MetricsWriter,
        on_checkpoint: Callable[[Adapter], None] | None,
    ) -> None:
        last = planned[-1]
        updating = False
        try:
            with stop_requests() as stop, log.progress("train", last) as advance:
                advance(self.step)
                while self.step < last:
                    loss, weighted = self._gradients(self.step)
                    updating = True
                    rate, norm = self._update(self.step + 1)
                    self.step += 1
                    updating = False
                    writer.write(
                        step=self.step, loss=loss, weighted_loss=weighted, learning_rate=rate, grad_norm=norm
                    )
                    advance(loss=loss)
                    if self.step in planned:
                        made = self._save()
                        checkpoint.drop_unplanned(self.checkpoints, planned, self.step)
                        if on_checkpoint is not None:
                            on_checkpoint(made.adapter)
                    if stop.asked and self.step < last:
                        raise Stop
        except (KeyboardInterrupt, Stop) as error:
            # Weights half-way through an update belong to no step: then the last checkpoint counts.
            if not updating and self.step and not checkpoint.folder_of(self.checkpoints, self.step).exists():
                self._save()
            saved = [c.step for c in checkpoint.find(self.checkpoints)]
            raise Interrupted(
                "training stopped",
                where=self.checkpoints,
                got=f"{saved[-1] if saved else 0} of {last} steps saved",
                remedy="Run the same command again to go on.",
            ) from error

    def _gradients(self, step: int) -> tuple[float, float]:
        """Gradients of one batch; returns its mean loss without and with the min-SNR weight.

        Slots of different size go through the denoiser in turn; the gradient is that of the whole batch.
        """
        recipe, accelerator = self.recipe, self.accelerator
        slots = range(accelerator.process_index, recipe.batch_size, accelerator.num_processes)
        draws = [draw(recipe, self.encodings, self.family.schedule.steps, step, slot) for slot in slots]
        groups: dict[tuple[int, ...], list[Draw]] = {}
        for drawn in draws:
            groups.setdefault(tuple(drawn.noise_CHW.shape), []).append(drawn)
        total = torch.zeros((), device=self.family.device)
        plain = torch.zeros((), device=self.family.device)
        for group in groups.values():
            loss_B, timestep_B = self._forward(group)
            weight_B = objective.snr_weight(self.family.schedule, timestep_B, recipe.snr_gamma)
            total = total + (loss_B * weight_B).sum() / len(draws)
            plain = plain + loss_B.detach().sum() / len(draws)
        accelerator.backward(total)
        both = cast(Tensor, accelerator.reduce(torch.stack([plain, total.detach()]), reduction="mean"))
        return float(both[0]), float(both[1])

    def _forward(self, group: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """Loss per sample (B,) and timesteps (B,) of slots that share one latent size."""
        family, device = self.family, self.family.device
        chosen = [self.samples[d.sample] for d in group]
        latents_BCHW = torch.stack(
            [s.mean_CHW + s.std_CHW * d.posterior_CHW for s, d in zip(chosen, group, strict=True)]
        )
        latents_BCHW = family.to_model_space(latents_BCHW.to(device))
        noise_BCHW = torch.stack([d.noise_CHW for d in group]).to(device)
        timestep_B = torch.tensor([d.timestep for d in group], device=device)
        embeds_BLD = torch.stack(
            [
                self.encodings.empty_LD if d.dropped else s.embeds_LD
                for s, d in zip(chosen, group, strict=True)
            ]
        ).to(device)
        schedule = family.schedule
        noisy_BCHW = objective.add_noise(schedule, latents_BCHW, noise_BCHW, timestep_B)
        with _autocast(device, self.recipe.mixed_precision):
            answer_BCHW = family.predict(
                noisy_BCHW, timestep_B, PromptCondition(embeds_BLD), [s.geometry for s in chosen]
            )
        target_BCHW = objective.target(schedule, latents_BCHW, noise_BCHW, timestep_B)
        return objective.sample_loss(answer_BCHW, target_BCHW, self._place_weights(chosen)), timestep_B

    def _place_weights(self, chosen: Sequence[cache.EncodedSample]) -> Tensor | None:
        if self.recipe.background_weight >= 1.0:
            return None
        masks = [torch.ones_like(s.mean_CHW[:1]) if s.mask_1HW is None else s.mask_1HW for s in chosen]
        return objective.place_weights(
            torch.stack(masks).to(self.family.device), self.recipe.background_weight
        )

    def _update(self, step: int) -> tuple[float, float]:
        """Clip, set the rate of `step`, move the weights; returns rate and gradient norm before clipping."""
        rate = self.recipe.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return rate, float(norm)

    def _save(self) -> checkpoint.Checkpoint:
        state = lora.diffusers_state(self.plain, self.family.denoiser_name)
        about = Adapter(
            **{n: getattr(self.about, n) for n in Adapter.__slots__ if n != "step"}, step=self.step
        )
        payload = lora.adapter_bytes(state, about, self.family.base, self.family.schedule.prediction_type)
        if self.accelerator.is_main_process:
            checkpoint.write(
                self.checkpoints,
                self.step,
                adapter=payload,
                parameters=self.parameters,
                optimizer=self.optimizer,
                settings=self.settings,
            )
        self.accelerator.wait_for_everyone()
        return checkpoint.Checkpoint(
            checkpoint.folder_of(self.checkpoints, self.step), self.step, self.settings
        )


def _autocast(device: torch.device, mixed_precision: Mixed) -> torch.autocast:
    dtype = torch.float16 if mixed_precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=mixed_precision != "no")


def _final_loss(metrics: Path, steps: int) -> float:
    """Mean loss of the last tenth of the steps, from the file: the same for a resumed run."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    losses = [float(r["loss"]) for r in rows if r["step"] > steps - max(1, steps // 10)]
    return sum(losses) / len(losses) if losses else float("nan")
