"""The numbers that decide a run's weights, checked once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.families.family import Weights
from portrait_lora.training import cache

Schedule = Literal["constant", "linear", "cosine"]
Mixed = Literal["no", "bf16", "fp16"]
OptimizerName = Literal["adamw", "adamw8bit", "prodigy"]
AdapterKind = Literal["lora", "lokr", "loha"]
Timesteps = Literal["logit_normal", "uniform"]

_AT_LEAST_ONE: Final = ("rank", "batch_size", "steps")
_ABOVE_ZERO: Final = ("alpha", "learning_rate", "snr_gamma", "max_grad_norm")
_FRACTIONS: Final = ("caption_dropout", "background_weight", "text_encoder")
_NOT_NEGATIVE: Final = ("warmup_steps", "weight_decay", "prior_weight", "ema_decay")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a run that decide its weights; `settings` also names its data.

    `timestep_shift` None stands for the shift of the base's own scheduler.  `text_encoder` is the learning
    rate of an adapter on the text encoders as a share of `learning_rate`; 0 stands for none.  Raises
    `InputError` for a number that cannot work.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
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
    max_grad_norm: float
    weight_decay: float
    blocks: tuple[str, ...] = ()
    adapter_kind: AdapterKind = "lora"
    rank_stabilised: bool = False
    dora: bool = False
    optimizer: OptimizerName = "adamw"
    ema_decay: float = 0.0
    prior_weight: float = 0.0
    timesteps: Timesteps = "logit_normal"
    timestep_shift: float | None = None
    weights: Weights = "float32"
    text_encoder: float = 0.0
    learn_region: cache.Region = "picture"

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
                    raise InputError("training cannot work with this", where=name, got=value, needed=needed)
        if self.dora and self.adapter_kind != "lora":
            raise InputError("DoRA goes with a plain LoRA only", where="dora", got=self.adapter_kind)
        if self.optimizer == "prodigy" and 0.0 < self.text_encoder < 1.0:
            raise InputError(
                "prodigy has one rate for all weights",
                where="training.text_encoder",
                got=self.text_encoder,
                needed="0 or 1",
            )

    def rate(self, step: int) -> float:
        """The learning rate of the update that makes step `step` (from 1)."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        done = (step - 1) / self.steps
        if self.schedule == "linear":
            return self.learning_rate * warm * (1.0 - done)
        if self.schedule == "cosine":
            return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / self.steps))
        return self.learning_rate * warm

    def settings(self, base: str, encodings: cache.Encodings) -> dict[str, object]:
        """What must be equal for a run to go on; a constant rate may be given more steps."""
        numbers: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        if self.schedule == "constant":
            del numbers["steps"]
        data = manifest.digest(
            [[[s.key, s.caption, s.mask_key] for s in kind] for kind in (encodings.samples, encodings.prior)]
        )
        return cast(dict[str, object], json.loads(json.dumps({**numbers, "base": base, "samples": data})))


def refuse_other_settings(old: Mapping[str, object], new: Mapping[str, object], where: Path) -> None:
    """Raise `InputError`, naming what differs, when a run cannot go on from `old`."""
    changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if changed:
        raise InputError(
            "the checkpoints here were trained with other settings",
            where=where,
            got="; ".join(f"{k} {old.get(k)!r} became {new.get(k)!r}" for k in changed),
            remedy="Train into another run folder, or start this one afresh (resume off).",
        )


def steps_for(photos: int, exposures_per_photo: int, batch_size: int) -> int:
    """Steps such that each photo is seen `exposures_per_photo` times."""
    return max(1, math.ceil(photos * exposures_per_photo / batch_size))


def checkpoint_schedule(steps: int, count: int) -> tuple[int, ...]:
    """`count` steps at equal distances, the last one being `steps`."""
    return tuple(sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)}))
