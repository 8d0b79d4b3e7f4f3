"""The training loop shared by the encoder, the decoder and the UNet.

Every draw is a function of (seed, step), and a checkpoint holds weights, running average and optimiser in one
safetensors file, so a stopped run goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .replay import Replayed

CHECKPOINT: Final = "checkpoint.safetensors"
Figures = dict[str, float | Tensor]
TakeBatch = Callable[[int, torch.Generator], tuple[Tensor, ...]]
"""(step, generator) -> the tensors of the step."""
Loss = Callable[..., tuple[Tensor, Figures]]
"""Those tensors -> (loss, figures to print: numbers, or tensors of one value, read when printed)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train; `minutes` wins over `steps` when it is set."""

    steps: int
    batch: int
    lr: float
    minutes: float | None = None
    warmup: int = 100
    ema: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    seed: int = 0
    report_every: int = 100
    checkpoint_minutes: float = 5.0
    replay: bool = False
    """On a GPU: record a step and replay it (`replay.py`)."""


@dataclass(slots=True)
class State:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    finished: bool = False
    figures: dict[str, float] | None = None

    def fraction(self, plan: Plan) -> float:
        """Part of the run that is done, 0..1."""
        if plan.minutes is not None:
            return min(1.0, self.seconds / 60 / plan.minutes)
        return min(1.0, self.step / plan.steps)


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def write_atomically(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, str(temporary), metadata)
    os.replace(temporary, file)


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2), encoding="utf-8")
    os.replace(temporary, file)


def read_part(file: Path, part: str) -> dict[str, Tensor]:
    """The tensors below `part/` of a safetensors file."""
    with safe_open(str(file), framework="pt") as handle:
        list(handle.keys())
        names: list[str] = list(handle.keys())
        return {k[len(part) + 1 :]: handle.get_tensor(k) for k in names if k.startswith(part + "/")}


def read_state(folder: Path) -> State:
    """The state inside the checkpoint of `folder`; a fresh one where there is none."""
    file = folder / CHECKPOINT
    if not file.exists():
        return State()
    with safe_open(str(file), framework="pt") as handle:
        return State(**json.loads((handle.metadata() or {})["state"]))


class Run:
    """One training run of the parameters of `modules`, kept in `folder`."""

    def __init__(self, name: str, folder: Path, modules: nn.ModuleDict, plan: Plan) -> None:
        self.name, self.folder, self.modules, self.plan = name, folder, modules, plan
        self.named = [(n, p) for n, p in modules.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in self.named]
        device = self.parameters[0].device
        on_gpu = device.type == "cuda"
        rate: float | Tensor = torch.tensor(plan.lr, device=device) if on_gpu else plan.lr
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        self._blend = torch.ones((), device=device)
        self.average = [p.detach().clone() for p in self.parameters]
        self.state = read_state(folder)
        self._stop = False
        self._loss = torch.zeros(())
        self._means: Figures = dict(self.state.figures or {})
        if (folder / CHECKPOINT).exists():
            self._load()

    def train(
        self, take_batch: TakeBatch, loss: Loss, on_checkpoint: Callable[[Run], None] | None = None
    ) -> State:
        """Train until the plan is fulfilled; SIGTERM or Ctrl-C saves and leaves with exit code 130."""
        before = {s: signal.signal(s, self._ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self._stream():
                self._loop(take_batch, loss, on_checkpoint)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._stop:
            print(f"{self.name}: stopped at step {self.state.step}, state saved", flush=True)
            raise SystemExit(130)
        return self.state

    def _stream(self) -> AbstractContextManager[object]:
        """On a GPU a stream of its own: nothing can be recorded on the default one."""
        if self.parameters[0].device.type != "cuda":
            return nullcontext()
        torch.cuda.synchronize()
        return torch.cuda.stream(torch.cuda.Stream())

    def averaged(self) -> dict[str, Tensor]:
        """The running average of the weights."""
        return {n: a for (n, _), a in zip(self.named, self.average, strict=True)}

    def use_average(self) -> None:
        """Put the running average into the modules, for good."""
        with torch.no_grad():
            for p, a in zip(self.parameters, self.average, strict=True):
                p.copy_(a)

    def _loop(self, take_batch: TakeBatch, loss: Loss, on_checkpoint: Callable[[Run], None] | None) -> None:
        plan, state = self.plan, self.state
        device = self.parameters[0].device
        saved, tick = state.seconds, time.monotonic()
        reported, reported_at = state.step, state.seconds

        def update(*tensors: Tensor) -> tuple[Tensor, Figures]:
            value, figures = loss(*tensors)
            self._update(value)
            return value.detach(), figures

        replayed = Replayed(update) if plan.replay and device.type == "cuda" else None
        while (fraction := state.fraction(plan)) < 1 and not self._stop:
            self._set_lr(fraction)
            generator = torch.Generator(device).manual_seed(plan.seed * 1_000_003 + state.step)
            self._blend.fill_(1 - min(plan.ema, 1 - 1 / (state.step / 8 + 1.125)))
            tensors = take_batch(state.step, generator)
            self._loss, figures = replayed(tensors) if replayed else update(*tensors)
            state.step += 1
            self._note(figures)
            now = time.monotonic()
            state.seconds, tick = state.seconds + now - tick, now
            if state.step % plan.report_every == 0:
                self._check()
                rate = (state.step - reported) * plan.batch / max(1e-6, state.seconds - reported_at)
                reported, reported_at = state.step, state.seconds
                self._report(rate)
            if state.seconds - saved > plan.checkpoint_minutes * 60:
                self.save(on_checkpoint)
                saved, tick = state.seconds, time.monotonic()
        state.finished = not self._stop
        self.save(on_checkpoint if state.finished else None)

    def _set_lr(self, fraction: float) -> None:
        warm = min(1.0, (self.state.step + 1) / self.plan.warmup)
        lr = self.plan.lr * warm * (0.5 * (1 + math.cos(math.pi * fraction)) + 0.005)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _update(self, loss: Tensor) -> None:
        if loss.device.type == "cpu":
            self._check(loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            off = torch._foreach_sub([p.detach() for p in self.parameters], self.average)
            torch._foreach_mul_(off, self._blend)
            torch._foreach_add_(self.average, off)

    def _check(self, loss: Tensor | None = None) -> None:
        """Nobody waits for a GPU at every step: there this comes before anything is reported or kept."""
        if not math.isfinite(value := (self._loss if loss is None else loss).item()):
            raise RuntimeError(f"{self.name}: loss is {value} at step {self.state.step}; lower --lr")

    def _note(self, figures: Figures) -> None:
        old = self._means or figures
        keep = 0.98 if self.state.step > 50 else 0.9
        self._means = {k: keep * old.get(k, v) + (1 - keep) * v for k, v in figures.items()}

    def _report(self, rate: float) -> None:
        state, plan = self.state, self.plan
        state.figures = {k: float(v) for k, v in self._means.items()}
        left = (1 - state.fraction(plan)) / max(state.fraction(plan), 1e-9) * state.seconds / 60
        shown = " ".join(f"{k} {v:.4f}" for k, v in (state.figures or {}).items())
        lr = float(self.optimizer.param_groups[0]["lr"])
        line = f"{self.name} step {state.step} {state.seconds:.0f} s {shown} lr {lr:.1e}"
        print(f"{line} {rate:.1f} samples/s, {left:.1f} min left", flush=True)

    def save(self, on_checkpoint: Callable[[Run], None] | None = None) -> None:
        """Write the checkpoint, then let the caller look at it."""
        self._check()
        self.state.figures = {k: float(v) for k, v in self._means.items()} or self.state.figures
        tensors: dict[str, Tensor] = {}
        for (name, p), average in zip(self.named, self.average, strict=True):
            tensors[f"weights/{name}"], tensors[f"average/{name}"] = p, average
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
        state = asdict(self.state)
        write_atomically(self.folder / CHECKPOINT, tensors, {"state": json.dumps(state)})
        record = state | {"samples": self.state.step * self.plan.batch, "plan": asdict(self.plan)}
        write_json(self.folder / "state.json", record)
        if on_checkpoint is not None:
            on_checkpoint(self)

    def _load(self) -> None:
        file = self.folder / CHECKPOINT
        weights, average = read_part(file, "weights"), read_part(file, "average")
        moments = {k: read_part(file, f"optimizer/{k}") for k in ("step", "exp_avg", "exp_avg_sq")}
        with torch.no_grad():
            for i, (name, p) in enumerate(self.named):
                p.copy_(weights[name])
                self.average[i].copy_(average[name])
                if name in moments["step"]:
                    self.optimizer.state[p] = {
                        k: v[name].clone().to(torch.float32 if k == "step" else p.dtype).to(p.device)
                        for k, v in moments.items()
                    }
        print(f"{self.name}: going on from step {self.state.step}", flush=True)

    def _ask_to_stop(self, *_: object) -> None:
        self._stop = True


def epoch_rows(step: int, batch: int, count: int, seed: int, skip: int = 0) -> Tensor:
    """Rows of one batch; rows `skip`..`count` are shuffled anew every epoch.  A pure function of `step`."""
    usable = count - skip
    size = min(batch, usable)
    per_epoch = usable // size
    epoch, position = divmod(step, per_epoch)
    order = _order(usable, seed * 7919 + epoch)
    return order[position * size : (position + 1) * size] + skip


_LAST_ORDER: dict[tuple[int, int], Tensor] = {}


def _order(count: int, seed: int) -> Tensor:
    """One permutation, kept until another is needed."""
    if (count, seed) not in _LAST_ORDER:
        _LAST_ORDER.clear()
        _LAST_ORDER[count, seed] = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return _LAST_ORDER[count, seed]
