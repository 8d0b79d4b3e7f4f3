"""How the networks of the pack, and small ones like them, are trained by `scripts/train/loop.py`.

They train where the weights are.  What a step makes of random numbers must be made there too, so a step runs
with that place as torch's default device (`torch.device` as a context).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from scripts.precision import half
from scripts.train.checkpoint import checkpoint_of
from scripts.train.loop import Figures, Plan, Run

CHUNK: Final = 200
"""Pictures of one batch when nothing is learnt."""
StepFunction = Callable[[float, torch.Generator], tuple[Tensor, dict[str, float]]]
"""(progress 0..1, generator) -> (loss, figures to print)."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a stage trains, and where; embedders go on from those in the folder `start`."""

    minutes: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Path | None = None


def plan_of(
    minutes: float | None, lr: float, batch: int, seed: int, steps: int | None = None, ema: float = 0.998
) -> Plan:
    """The plan of these networks; `minutes` of CPU time of the process, on a GPU of time."""
    return Plan(
        steps,
        batch,
        lr,
        minutes,
        processor_time=True,
        warmup=60,
        lr_floor=0.02,
        lr_span=0.98,
        ema=ema,
        ema_rise=(9, 11),
        average_buffers=True,
        betas=(0.9, 0.999),
        weight_decay=0.02,
        clip=5.0,
        fused=False,
        seed=seed,
        seed_steps=True,
        report_steps=None,
        report_seconds=20.0,
        save_seconds=90.0,
        grow=True,
    )


def forward(net: nn.Module, x: Tensor) -> Tensor:
    """Answers in float32, reckoned in bfloat16."""
    with half(x.device.type):
        return net(x).float()


def train(
    name: str,
    modules: nn.ModuleDict,
    step: StepFunction,
    plan: Plan,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train until the plan is fulfilled, then load the running average into `modules`."""
    modules.train()
    run = Run(name, folder, modules, replace(plan, checkpoint=checkpoint_of(name)))

    def loss(generator: torch.Generator) -> tuple[Tensor, Figures]:
        value, figures = step(run.progress, generator)
        return value, {"loss": value.detach(), **figures}

    run.train(lambda _, generator: (generator,), loss)
    run.use_average()
    modules.eval()
    if evaluate is not None:
        print(name, "finished:", json.dumps(evaluate()), flush=True)
