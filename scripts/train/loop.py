"""The training loop of all networks: AdamW, half a cosine, a running average, checkpoints to go on from.

Every draw is a function of (seed, step), and a checkpoint holds weights, running average and optimiser in one
safetensors file, so a stopped run goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import CHECKPOINT, STATE, State, grown, read_part, read_state, write_atomically, write_json
from .replay import Replayed

Figures = dict[str, float | Tensor]
TakeBatch = Callable[[int, torch.Generator], tuple[Any, ...]]
"""(step, generator) -> what the loss of the step is computed from; tensors alone where steps are replayed."""
Loss = Callable[..., tuple[Tensor, Figures]]
"""That -> (loss, figures to print: numbers, or tensors of one value, read when printed)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train: `steps` or `minutes`, whichever comes first where both are set."""

    steps: int | None
    batch: int
    lr: float
    minutes: float | None = None
    processor_time: bool = False
    """`minutes` are CPU time of the process on a CPU: other work makes training slower, not worse."""
    warmup: int = 100
    lr_floor: float = 0.005
    lr_span: float = 1.0
    """The rate falls along half a cosine from `lr` × (floor + span) to `lr` × floor."""
    ema: float = 0.999
    ema_rise: tuple[float, float] = (8, 9)
    """(a, b): at step n the running average keeps at most 1 - a / (n + b)."""
    average_buffers: bool = False
    """Keep and average buffers as well: statistics of batch norms."""
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    fused: bool = True
    seed: int = 0
    seed_steps: bool = False
    """Seed torch's own generator at every step as well: dropout draws from it."""
    report_steps: int | None = 100
    report_seconds: float | None = None
    save_seconds: float = 300.0
    checkpoint: str = CHECKPOINT
    grow: bool = False
    """A last layer that is larger than in the checkpoint keeps its own further rows."""
    replay: bool = False
    """On a GPU: record a step and replay it (`replay.py`)."""

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("a plan of training needs steps or minutes, got neither")

    def fraction(self, state: State) -> float:
        """Part of the run that is done, 0..1."""
        by_time = state.seconds / 60 / self.minutes if self.minutes is not None else 0.0
        by_steps = state.step / self.steps if self.steps is not None else 0.0
        return min(1.0, max(by_time, by_steps))

    def rate(self, step: int, fraction: float) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / self.warmup)
        shape = self.lr_floor + self.lr_span * 0.5 * (1 + math.cos(math.pi * fraction))
        return self.lr * warm * shape

    def renewal(self, step: int) -> float:
        """What the running average takes from the weights at a step."""
        a, b = self.ema_rise
        return 1 - min(self.ema, 1 - a / (step + b))


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class Run:
    """One training run of the parameters of `modules`, kept in `folder`."""

    def __init__(self, name: str, folder: Path, modules: nn.ModuleDict, plan: Plan) -> None:
        self.name, self.folder, self.modules, self.plan = name, folder, modules, plan
        named = [(n, p) for n, p in modules.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        self.device = self.parameters[0].device
        on_gpu = self.device.type == "cuda"
        rate: float | Tensor = torch.tensor(plan.lr, device=self.device) if on_gpu else plan.lr
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
            fused=plan.fused or None,
            capturable=on_gpu,
        )
        trained = {n for n, _ in named}
        others = modules.state_dict().items() if plan.average_buffers else ()
        self.kept: dict[str, Tensor] = {n: p.detach() for n, p in named}
        self.kept |= {n: b for n, b in others if n not in trained}
        self.average = {n: t.clone() for n, t in self.kept.items()}
        self._slots = dict(named)
        floats = {n: None for n, t in self.kept.items() if t.is_floating_point()}
        self._moving = [self.kept[n] for n in floats], [self.average[n] for n in floats]
        self._counts = [n for n in self.kept if n not in floats]
        self._blend = torch.ones((), device=self.device)
        self.state = read_state(folder, plan.checkpoint)
        self._stop = False
        self._loss = torch.zeros(())
        self._means: Figures = dict(self.state.figures or {})
        if (folder / plan.checkpoint).exists():
            self._load()

    @property
    def progress(self) -> float:
        """Part of the run that is done, 0..1."""
        return self.plan.fraction(self.state)

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
        if self.device.type != "cuda":
            return nullcontext()
        torch.cuda.synchronize()
        return torch.cuda.stream(torch.cuda.Stream())

    def use_average(self) -> None:
        """Put the running average into the modules, for good."""
        for name, tensor in self.kept.items():
            tensor.copy_(self.average[name])

    def _loop(self, take_batch: TakeBatch, loss: Loss, on_checkpoint: Callable[[Run], None] | None) -> None:
        plan, state = self.plan, self.state
        clock = time.process_time if plan.processor_time and self.device.type == "cpu" else time.monotonic
        tick, saved = clock(), time.monotonic()
        reported, reported_at, shown = state.step, state.seconds, time.monotonic()

        def update(*inputs: Any) -> tuple[Tensor, Figures]:
            value, figures = loss(*inputs)
            self._update(value)
            return value.detach(), figures

        replayed = Replayed(update) if plan.replay and self.device.type == "cuda" else None
        while (fraction := self.progress) < 1 and not self._stop:
            self._set_lr(fraction)
            generator = torch.Generator(self.device).manual_seed(plan.seed * 1_000_003 + state.step)
            if plan.seed_steps:
                torch.manual_seed(plan.seed * 7919 + state.step)
            self._blend.fill_(plan.renewal(state.step))
            inputs = take_batch(state.step, generator)
            self._loss, figures = replayed(inputs) if replayed else update(*inputs)
            state.step += 1
            self._note(figures)
            now = clock()
            state.seconds, tick = state.seconds + now - tick, now
            if self._report_due(shown):
                self._check()
                rate = (state.step - reported) * plan.batch / max(1e-6, state.seconds - reported_at)
                reported, reported_at, shown = state.step, state.seconds, time.monotonic()
                self._report(rate)
            if time.monotonic() - saved > plan.save_seconds:
                self.save(on_checkpoint)
                tick, saved = clock(), time.monotonic()
        state.finished = not self._stop
        self.save(on_checkpoint if state.finished else None)

    def _set_lr(self, fraction: float) -> None:
        lr = self.plan.rate(self.state.step, fraction)
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
        torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        self.optimizer.step()
        weights, average = self._moving
        off = torch._foreach_sub(weights, average)
        torch._foreach_mul_(off, self._blend)
        torch._foreach_add_(average, off)
        for name in self._counts:
            self.average[name].copy_(self.kept[name])

    def _check(self, loss: Tensor | None = None) -> None:
        """Nobody waits for a GPU at every step: there this comes before anything is reported or kept."""
        if not math.isfinite(value := (self._loss if loss is None else loss).item()):
            raise RuntimeError(
                f"{self.name}: loss is {value} at step {self.state.step}; lower the learning rate"
            )

    def _note(self, figures: Figures) -> None:
        old = self._means or figures
        keep = 0.98 if self.state.step > 50 else 0.9
        self._means = {k: keep * old.get(k, v) + (1 - keep) * v for k, v in figures.items()}

    def _report_due(self, shown: float) -> bool:
        plan = self.plan
        by_steps = plan.report_steps is not None and self.state.step % plan.report_steps == 0
        by_time = plan.report_seconds is not None and time.monotonic() - shown > plan.report_seconds
        return by_steps or by_time

    def _report(self, rate: float) -> None:
        state = self.state
        state.figures = {k: float(v) for k, v in self._means.items()}
        left = (1 - self.progress) / max(self.progress, 1e-9) * state.seconds / 60
        shown = " ".join(f"{k} {v:.4f}" for k, v in state.figures.items())
        lr = float(self.optimizer.param_groups[0]["lr"])
        line = f"{self.name} step {state.step} {state.seconds:.0f} s {shown} lr {lr:.1e}"
        print(f"{line} {rate:.1f} samples/s, {left:.1f} min left", flush=True)

    def save(self, on_checkpoint: Callable[[Run], None] | None = None) -> None:
        """Write the checkpoint, then let the caller look at it."""
        self._check()
        self.state.figures = {k: float(v) for k, v in self._means.items()} or self.state.figures
        tensors = {f"weights/{n}": t for n, t in self.kept.items()}
        tensors |= {f"average/{n}": t for n, t in self.average.items()}
        for name, p in self._slots.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
        state = asdict(self.state)
        write_atomically(self.folder / self.plan.checkpoint, tensors, {"state": json.dumps(state)})
        record = state | {"samples": self.state.step * self.plan.batch, "plan": asdict(self.plan)}
        write_json(self.folder / self.plan.checkpoint.replace(CHECKPOINT, STATE), record)
        if on_checkpoint is not None:
            on_checkpoint(self)

    def _load(self) -> None:
        file = self.folder / self.plan.checkpoint
        weights, average = read_part(file, "weights"), read_part(file, "average")
        if missing := sorted(self.kept.keys() - weights.keys()):
            raise ValueError(f"{file}: no weights/{missing[0]}; of another network or version: move it away")
        for name, tensor in self.kept.items():
            tensor.copy_(self._fitting(weights[name], tensor))
            self.average[name].copy_(self._fitting(average[name], self.average[name]))
        moments = {k: read_part(file, f"optimizer/{k}") for k in ("step", "exp_avg", "exp_avg_sq")}
        for name, p in self._slots.items():
            if name in moments["step"]:
                none = torch.zeros_like(p)
                self.optimizer.state[p] = {
                    "step": moments["step"][name].clone().to(torch.float32).to(self.device),
                    **{
                        k: self._fitting(moments[k][name].clone(), none).to(p.dtype).to(self.device)
                        for k in ("exp_avg", "exp_avg_sq")
                    },
                }
        print(f"{self.name}: going on from step {self.state.step}", flush=True)

    def _fitting(self, value: Tensor, current: Tensor) -> Tensor:
        return grown(value, current) if self.plan.grow else value

    def _ask_to_stop(self, *_: object) -> None:
        self._stop = True
