"""One update of the weights: optimizer, learning rate, clipping, loss scale, averaging."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from portrait_lora import log
from portrait_lora.errors import PortraitError, require_extra
from portrait_lora.training.recipe import Recipe

MAX_SKIPPED: Final = 10
"""Number of consecutive non-finite steps that ends the run."""
_BETAS: Final = (0.9, 0.99)
_SCALE: Final = 2.0**12
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """The result of an update; `norm` is the gradient norm before clipping.  `skipped`: weights unchanged."""

    rate: float
    norm: float
    skipped: bool


class Updater:
    """Updates `parameters`; its whole state is saved by `state` and restored by `restore`."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], recipe: Recipe, device: torch.device):
        self.parameters, self.recipe = parameters, recipe
        self.optimizer = _optimizer(parameters, recipe, device)
        self.skipped = self.skipped_in_a_row = 0
        self.average: dict[str, Tensor] | None = None
        if recipe.ema_decay:
            self.average = {n: p.detach().clone() for n, p in parameters.items()}
        self.scaler = torch.amp.GradScaler(
            device.type, _SCALE, growth_interval=200, enabled=recipe.mixed_precision == "fp16"
        )

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call `backward` on: float16 gradients vanish without a scale."""
        return self.scaler.scale(loss)

    def __call__(self, step: int) -> Update:
        """Clip, set the learning rate of `step` (from 1), update the weights and their average.

        A gradient that is not finite is skipped and counted.  Raises `PortraitError` after `MAX_SKIPPED`
        such steps in a row, or for the later half of a short run.
        """
        rate = self.recipe.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.max_grad_norm))
        good = math.isfinite(norm)
        if good:
            self.scaler.step(self.optimizer)
            self._follow(step)
        self.scaler.update()
        self.forget_gradients()
        self.skipped_in_a_row = 0 if good else self.skipped_in_a_row + 1
        if not good:
            self.skipped += 1
            _log.warning("step %d is skipped: its gradient is not finite", step)
        ends_badly = step == self.recipe.steps and 2 * self.skipped_in_a_row >= step
        if self.skipped_in_a_row >= MAX_SKIPPED or ends_badly:
            raise PortraitError(
                "training has diverged",
                where=f"step {step}",
                got=f"{self.skipped_in_a_row} steps in a row without a finite gradient",
                remedy="Lower training.learning_rate, or set mixed_precision=no. The checkpoints are good.",
            )
        return Update(rate, norm, not good)

    def forget_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _follow(self, step: int) -> None:
        """average = d average + (1 - d) weights, d rising to `ema_decay` as (1 + t) / (10 + t)."""
        if self.average is None:
            return
        decay = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter, 1.0 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the weights are their moving average, if there is one."""
        if self.average is None:
            yield
            return
        own = {n: p.detach().clone() for n, p in self.parameters.items()}
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])
            yield
            for name, parameter in self.parameters.items():
                parameter.copy_(own[name])

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Tensors (`<what>/<parameter>`) and plain numbers: everything needed to resume bit-identically."""
        tensors = {f"param/{n}": p.detach() for n, p in self.parameters.items()}
        numbers: dict[str, object] = {"skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}
        own: dict[str, dict[str, object]] = {}
        for name, parameter in self.parameters.items():
            for key, value in cast(dict[str, object], self.optimizer.state.get(parameter, {})).items():
                if isinstance(value, Tensor):
                    tensors[f"{key}/{name}"] = value.detach()
                else:
                    own.setdefault(name, {})[key] = value
        tensors |= {f"average/{n}": t for n, t in (self.average or {}).items()}
        numbers["optimizer"] = own
        numbers["groups"] = [
            {k: v for k, v in g.items() if isinstance(v, (int, float, bool))}
            for g in self.optimizer.param_groups
        ]
        if self.scaler.is_enabled():
            numbers["scaler"] = self.scaler.state_dict()
        return tensors, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore the result of `state`, bit for bit."""
        self.skipped, self.skipped_in_a_row = int(numbers["skipped"]), int(numbers["skipped_in_a_row"])
        for group, old in zip(self.optimizer.param_groups, numbers["groups"], strict=True):
            group.update(old)
        if "scaler" in numbers:
            self.scaler.load_state_dict(numbers["scaler"])
        states: dict[str, dict[str, object]] = {n: dict(v) for n, v in numbers["optimizer"].items()}
        for key, tensor in tensors.items():
            what, _, name = key.partition("/")
            parameter = self.parameters[name]
            # Clones: what was read is mapped from the file.  AdamW keeps its step count on the CPU and its
            # moments beside the parameter.
            if what == "param":
                with torch.no_grad():
                    parameter.copy_(tensor)
            elif what == "average":
                if self.average is not None:
                    self.average[name].copy_(tensor)
            else:
                fused = bool(self.optimizer.param_groups[0].get("fused"))
                beside = "cpu" if what == "step" and not fused else parameter.device
                states.setdefault(name, {})[what] = tensor.to(beside, copy=True)
        for name, state in states.items():
            self.optimizer.state[self.parameters[name]] = state


def _groups(parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups: the denoiser's, and the text encoders' with their share of the learning rate."""
    text = [p for n, p in parameters.items() if n.startswith("text_encoder")]
    own: dict[str, Any] = {"params": list(parameters.values())[: len(parameters) - len(text)]}
    return [own, {"params": text, "share": recipe.text_encoder}] if text else [own]


def _optimizer(
    parameters: Mapping[str, nn.Parameter], recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer by name; its library is imported only when needed."""
    settings: dict[str, Any] = {
        "lr": recipe.learning_rate, "betas": _BETAS, "weight_decay": recipe.weight_decay,
    }  # fmt: skip
    groups = _groups(parameters, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True, **settings)
    if recipe.optimizer == "adamw8bit":
        from bitsandbytes.optim.adamw import AdamW8bit

        return AdamW8bit(groups, **settings)
    require_extra("prodigyopt", "prodigy")
    from prodigyopt import Prodigy  # pyright: ignore[reportMissingImports]

    return Prodigy(groups, safeguard_warmup=True, use_bias_correction=True, **settings)  # pyright: ignore[reportUnknownVariableType]
