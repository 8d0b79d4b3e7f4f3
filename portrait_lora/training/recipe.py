"""The training recipe: validated numbers that determine a run's weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from portrait_lora import manifest
from portrait_lora.errors import InputError

if TYPE_CHECKING:  # what a training will need is reckoned from its recipe without torch
    from portrait_lora.families.family import Family
    from portrait_lora.training.cache import Encodings, LearnRegion
    from portrait_lora.training.warm_start import Start

Schedule = Literal["constant", "linear", "cosine"]
Mixed = Literal["no", "bf16", "fp16"]
OptimizerName = Literal["adamw", "adamw8bit", "prodigy"]
AdapterKind = Literal["lora", "lokr", "loha"]
Timesteps = Literal["logit_normal", "uniform"]
Targets = Literal["attention", "attention_and_conv"]

IDENTITY: Final = ("identity",)
"""Stands for the blocks that a family says carry who is shown."""
_AT_LEAST_ONE: Final = ("rank", "batch_size", "steps", "max_references")
_ABOVE_ZERO: Final = ("alpha", "learning_rate", "snr_gamma", "max_grad_norm")
_FRACTIONS: Final = ("caption_dropout", "background_weight", "text_encoder", "references", "identity_share")
_NOT_NEGATIVE: Final = ("warmup_steps", "weight_decay", "prior_weight", "ema_decay", "identity_weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of a training that determine the weights; `settings` also identifies its data.

    `batch_size` counts over all processes.  `background_weight` below 1 lowers the loss outside the person's
    mask.  `blocks` are prefixes of layer names to which the adapter is restricted.  `timestep_shift` None is
    the shift of the base's scheduler.  `text_encoder` is the learning rate of an adapter on text encoders
    as a fraction of `learning_rate`; 0 means none.  `learn_region` "person" or "head" keeps the base's
    prediction elsewhere.  `references` is the share of samples at which 1 to `max_references` other photos of
    the person are shown in context.  The last `identity_share` of the steps have the identity loss with
    `identity_weight`; 0 means none.  `start` holds the first values of the adapter, without which it begins
    with none.  Raises `InputError` for invalid numbers.
    """

    rank: int
    alpha: float
    targets: Targets
    learning_rate: float
    batch_size: int
    steps: int
    seed: int
    warmup_steps: int
    schedule: Schedule
    caption_dropout: float
    snr_gamma: float
    background_weight: float
    mixed_precision: Mixed
    max_grad_norm: float = 1.0
    weight_decay: float = 1e-3
    blocks: tuple[str, ...]
    adapter_kind: AdapterKind
    rank_stabilised: bool
    dora: bool
    optimizer: OptimizerName
    ema_decay: float
    prior_weight: float
    timesteps: Timesteps
    timestep_shift: float | None
    text_encoder: float
    learn_region: LearnRegion
    references: float
    max_references: int
    identity_weight: float
    identity_share: float
    start: Start | None = None

    def __post_init__(self) -> None:
        for names, least, needed in (
            (_AT_LEAST_ONE, 1, "1 or more"),
            (_ABOVE_ZERO, math.ulp(0.0), "a number above 0"),
            (_FRACTIONS, 0.0, "0 to 1"),
            (_NOT_NEGATIVE, 0.0, "0 or more"),
        ):
            for name in names:
                value = float(getattr(self, name))
                above = value > 1.0 and (names is _FRACTIONS or name == "ema_decay")
                if not math.isfinite(value) or value < least or above:
                    raise InputError("invalid training setting", where=name, got=value, needed=needed)
        if self.dora and self.adapter_kind != "lora":
            raise InputError("DoRA needs a plain LoRA", where="dora", got=self.adapter_kind)
        if self.start is not None and (self.dora or self.adapter_kind != "lora"):
            raise InputError(
                "a warm start needs a plain LoRA",
                where="training.warm_start",
                got="dora" if self.dora else self.adapter_kind,
            )
        if self.optimizer == "prodigy" and 0.0 < self.text_encoder < 1.0:
            raise InputError(
                "prodigy has one learning rate for all weights",
                where="training.text_encoder",
                got=self.text_encoder,
                needed="0 or 1",
            )

    def rate(self, step: int) -> float:
        """The learning rate of step `step` (from 1)."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        done = (step - 1) / self.steps
        if self.schedule == "linear":
            return self.learning_rate * warm * (1.0 - done)
        if self.schedule == "cosine":
            return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / self.steps))
        return self.learning_rate * warm

    @property
    def identity_from(self) -> int:
        """The number of steps after which the identity loss begins; all of them without one."""
        if not self.identity_weight:
            return self.steps
        return max(1, self.steps - round(self.steps * self.identity_share))

    def planned(self, checkpoint_steps: Sequence[int]) -> tuple[int, ...]:
        """Those of the steps that lie in the run, where the identity loss begins, and the last step."""
        inside = (s for s in (*checkpoint_steps, self.identity_from) if 0 < s < self.steps)
        return tuple(sorted({*inside, self.steps}))

    def why_resident(self, processes: int = 1) -> str:
        """Why the base's blocks cannot be streamed; empty when they can."""
        if self.dora:
            return "training.dora: its magnitudes begin as those of all frozen weights"
        if self.adapter_kind != "lora":
            return f"training.adapter={self.adapter_kind}: only a plain LoRA leaves the base alone"
        return f"{processes} processes" if processes > 1 else ""

    def target_modules(self, family: Family) -> tuple[str, ...]:
        """`targets` in a family: suffixes of layer names."""
        layers = family.lora_layers
        return {"attention": layers.attention, "attention_and_conv": layers.everything}[self.targets]

    def blocks_in(self, family: Family) -> tuple[str, ...]:
        """`blocks` in a family, with `IDENTITY` resolved: prefixes of layer names."""
        if self.blocks != IDENTITY:
            return self.blocks
        if not family.lora_layers.identity_blocks:
            raise InputError(
                f"no identity layers are known for {family.base.name}",
                where="training.blocks",
                remedy="List the layers yourself, or leave the list empty.",
            )
        return family.lora_layers.identity_blocks

    def settings(self, family: Family, encodings: Encodings) -> dict[str, object]:
        """The settings that must be equal for a run to resume.

        With a constant rate, and no identity loss, which begins at a share of them, steps may be added.

        Written into every checkpoint, so the names stay as they are.
        """
        without = {"targets", "start", *(() if self.references else ("references", "max_references"))}
        without |= set() if self.identity_weight else {"identity_weight", "identity_share"}
        numbers: dict[str, object] = {n: getattr(self, n) for n in self.__slots__ if n not in without}
        if self.start is not None:
            numbers["start"] = self.start.digest
        numbers |= {"target_modules": self.target_modules(family), "blocks": self.blocks_in(family)}
        numbers |= {"weights": family.weights, "base": family.base.digest}
        if not encodings.prior:
            numbers["prior_weight"] = 0.0
        if self.schedule == "constant" and not self.identity_weight:
            del numbers["steps"]
        numbers["samples"] = manifest.digest(
            [[[s.key, s.caption, s.mask_key] for s in kind] for kind in (encodings.samples, encodings.prior)]
        )
        if self.references:  # another photo of a crop, or another crop of a photo, is shown elsewhere
            pairs = [[s.key, s.source] for s in (*encodings.samples, *encodings.photos)]
            numbers["photos_shown"] = manifest.digest(pairs)
        return cast(dict[str, object], json.loads(json.dumps(numbers)))


def refuse_other_settings(old: Mapping[str, object], new: Mapping[str, object], where: Path) -> None:
    """Raise `InputError` with the differences when a run cannot resume from `old`."""
    changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if changed:
        raise InputError(
            "the checkpoints here were trained with other settings",
            where=where,
            got="; ".join(f"{k} {old.get(k)!r} became {new.get(k)!r}" for k in changed),
            remedy="Train into another run folder (-s run=NAME), or start this one again without resuming.",
        )


def steps_for(photos: int, exposures_per_photo: int, batch_size: int) -> int:
    """Number of steps that gives each photo `exposures_per_photo` exposures."""
    return max(1, math.ceil(photos * exposures_per_photo / batch_size))


def checkpoint_schedule(steps: int, count: int) -> tuple[int, ...]:
    """`count` evenly spaced steps, the last one being `steps`."""
    return tuple(sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)}))
