"""Which base suits a machine and a purpose, and why: what `init` proposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from portrait_lora.device import SPARE
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.footprint import drawing_gb
from portrait_lora.families.rows import EMBEDDED, bases

_BATCHES: Final = (4, 2, 1)


class Way(Protocol):
    """How training would be done: `training.preflight.Means`."""

    @property
    def weights(self) -> str: ...
    @property
    def gradient_checkpointing(self) -> float: ...
    @property
    def micro_batch(self) -> int: ...
    @property
    def memory_gb(self) -> float: ...
    @property
    def fits(self) -> bool: ...


Planner = Callable[[BaseModel, float, int], Way]
"""(base, GPU memory in GB, batch size) -> how it would be trained: `stages.usual.usual_means`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A base, the number format and batch for it, and the reasons in one sentence each."""

    base: BaseModel
    mixed_precision: str
    batch_size: int
    reasons: tuple[str, ...]


def choose_base(
    *,
    device: str,
    memory_gb: float | None,
    bf16: bool,
    commercial: bool,
    studio_pictures: bool,
    plan: Planner,
) -> Choice:
    """A base for this device.  `memory_gb` is the GPU's; None stands for a CPU.

    Pictures of the synthetic studio get the embedded base.  For commercial use only bases that may be sold
    without conditions or under OpenRAIL's are proposed.  A base has to be trained (by `plan`) and to be drawn
    with, the denoiser staying on the GPU: the first of the preferred ones for which both fit.
    """
    if studio_pictures:
        return Choice(EMBEDDED, "auto", 4, ("the pictures are the synthetic studio's",))
    precision = "bf16" if bf16 else "fp16" if device.startswith("cuda") else "auto"
    ranked = [(b.preference, b) for b in bases() if b.preference is not None and not b.gated]
    allowed = [b for _, b in sorted(ranked, key=lambda pair: pair[0])]
    if commercial:
        allowed = [b for b in allowed if b.commercial != "no"]
    room = memory_gb or 0.0
    fitting = [b for b in allowed if plan(b, room, 1).fits and drawing_gb(b, room) <= room * SPARE]
    if device == "cpu" or not fitting:
        smallest = min(allowed, key=lambda b: b.parameters_b)
        why = "there is no GPU" if device == "cpu" else f"{room:.0f} GB of GPU memory are few"
        return Choice(
            smallest, precision, 1, (f"{why}: the smallest base; training will be slow", _terms(smallest))
        )
    best = fitting[0]
    one = plan(best, room, 1)
    batch = next(n for n in _BATCHES if n == 1 or _as_quick(plan(best, room, n), one, n))
    return Choice(best, precision, batch, (_needs(best, plan(best, room, batch), room), _terms(best)))


def _as_quick(way: Way, one: Way, batch_size: int) -> bool:
    """Whether a whole batch fits at once without saving more memory than a single sample needs."""
    same = (way.weights, way.gradient_checkpointing) == (one.weights, one.gradient_checkpointing)
    return way.fits and same and not way.gradient_checkpointing and way.micro_batch == batch_size


def _needs(base: BaseModel, way: Way, room: float) -> str:
    twice = ", activations computed twice" if way.gradient_checkpointing else ""
    return (
        f"training takes about {way.memory_gb:.0f} of {room:.0f} GB of GPU memory ({way.weights} "
        f"weights{twice}), drawing about {drawing_gb(base, room):.0f}"
    )


def _terms(base: BaseModel) -> str:
    return f"{base.licence}: {base.terms}"
