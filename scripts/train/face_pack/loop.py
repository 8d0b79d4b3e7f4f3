"""One training loop for the networks: AdamW, cosine, running average, resumable checkpoints.

It trains where the weights are.  What a step makes of random numbers must be made there too, so a step runs
with that place as torch's default device (`torch.device` as a context).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHECKPOINT: Final = "{name}.checkpoint.safetensors"
CHUNK: Final = 200
"""Pictures of one batch when nothing is learnt."""
StepFunction = Callable[[float, torch.Generator], tuple[Tensor, dict[str, float]]]
"""(progress 0..1, generator) -> (loss, figures to print)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`minutes` of CPU time of the process (over as many runs as it takes), or `steps` when they come first.

    CPU time, so that other work on the machine makes training slower but not worse; on a GPU, time.
    """

    minutes: float
    lr: float
    steps: int = 10**9
    warmup: int = 60
    average: float = 0.998
    weight_decay: float = 0.02
    save_seconds: float = 90.0
    log_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Length:
    """How long a stage trains, and where; embedders go on from those in the folder `start`."""

    minutes: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Path | None = None


@dataclass(slots=True)
class _State:
    step: int = 0
    seconds: float = 0.0


def forward(net: nn.Module, x: Tensor) -> Tensor:
    """Answers in float32, reckoned in bfloat16."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return net(x).float()


def _save(file: Path, modules: nn.ModuleDict, average: dict[str, Tensor], optimiser: torch.optim.Optimizer,
          state: _State) -> None:  # fmt: skip
    table = {f"net.{k}": v.detach().contiguous() for k, v in modules.state_dict().items()}
    table.update({f"average.{k}": v.contiguous() for k, v in average.items()})
    for index, slots in optimiser.state_dict()["state"].items():
        table.update({f"adam.{index}.{k}": torch.as_tensor(v).contiguous() for k, v in slots.items()})
    facts = {"state": json.dumps({"step": state.step, "seconds": state.seconds})}
    temporary = file.with_suffix(".tmp")
    save_file({k: v.clone() for k, v in table.items()}, str(temporary), metadata=facts)
    os.replace(temporary, file)


def _load(file: Path, modules: nn.ModuleDict, average: dict[str, Tensor], optimiser: torch.optim.Optimizer
          ) -> _State:  # fmt: skip
    """Continue from a checkpoint; a last layer that has grown since keeps its first rows from there."""
    table = load_file(str(file))
    current = modules.state_dict()
    modules.load_state_dict(
        {k[4:]: _grown(v, current[k[4:]]) for k, v in table.items() if k.startswith("net.")}
    )
    for key in average:
        average[key].copy_(_grown(table[f"average.{key}"], average[key]))
    slots: dict[int, dict[str, Tensor]] = {}
    weights = list(modules.parameters())
    for key, value in table.items():
        if key.startswith("adam."):
            _, index, name = key.split(".", 2)
            weight = weights[int(index)]
            grown = _grown(value, torch.zeros_like(weight)) if value.ndim else value
            slots.setdefault(int(index), {})[name] = grown
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": slots, "param_groups": groups})
    with safe_open(str(file), framework="pt") as handle:
        raw = json.loads(handle.metadata()["state"])
    return _State(int(raw["step"]), float(raw["seconds"]))


def _grown(value: Tensor, current: Tensor) -> Tensor:
    """`value`, with the last rows of `current` where that has more of them."""
    if value.shape == current.shape or value.shape[1:] != current.shape[1:] or len(value) > len(current):
        return value
    return torch.cat([value, current[len(value) :].to(value.dtype)])


def _average(target: dict[str, Tensor], modules: nn.ModuleDict, decay: float) -> None:
    """Move the running average; statistics of batch norms are averaged too."""
    for key, value in modules.state_dict().items():
        if value.dtype.is_floating_point:
            target[key].lerp_(value.detach(), 1 - decay)
        else:
            target[key].copy_(value)


def train(
    name: str,
    modules: nn.ModuleDict,
    step: StepFunction,
    plan: Plan,
    folder: Path,
    seed: int,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train until the plan is fulfilled, then load the running average into `modules`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHECKPOINT.format(name=name)
    modules.train()
    optimiser = torch.optim.AdamW(modules.parameters(), plan.lr, weight_decay=plan.weight_decay)
    average = {k: v.detach().clone() for k, v in modules.state_dict().items()}
    state = _load(file, modules, average, optimiser) if file.exists() else _State()
    device = next(modules.parameters()).device
    clock = time.process_time if device.type == "cpu" else time.monotonic
    begun, before = clock(), state.seconds
    saved = logged = time.monotonic()
    while (progress := max(state.seconds / (plan.minutes * 60), state.step / plan.steps)) < 1:
        rate = plan.lr * min(1.0, (state.step + 1) / plan.warmup)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = rate
        generator = torch.Generator(device).manual_seed((seed * 1_000_003 + state.step) & 0x7FFFFFFF)
        torch.manual_seed((seed * 7919 + state.step) & 0x7FFFFFFF)  # dropout
        loss, figures = step(progress, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimiser.step()
        state.step += 1
        _average(average, modules, min(plan.average, (1 + state.step) / (10 + state.step)))
        now = time.monotonic()
        state.seconds = before + clock() - begun
        if now - logged > plan.log_seconds:
            logged = now
            print(_line(name, state, progress, loss.item(), figures), flush=True)
        if now - saved > plan.save_seconds:
            saved = now
            _save(file, modules, average, optimiser, state)
    _save(file, modules, average, optimiser, state)
    modules.load_state_dict(average)
    modules.eval()
    if evaluate is not None:
        print(name, "finished:", json.dumps(evaluate()), flush=True)


def _line(name: str, state: _State, progress: float, loss: float, figures: dict[str, float]) -> str:
    shown = " ".join(f"{k} {v:.4f}" for k, v in figures.items())
    return f"{name} {progress:5.1%} step {state.step} {state.seconds:.0f} s loss {loss:.4f} {shown}"


def averaged(folder: Path, name: str, prefix: str = "net.") -> dict[str, Tensor]:
    """The averaged weights of one module of a checkpoint."""
    table = load_file(str(folder / CHECKPOINT.format(name=name)))
    start = f"average.{prefix}"
    return {k[len(start) :]: v for k, v in table.items() if k.startswith(start)}
