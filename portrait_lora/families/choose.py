"""Which base suits a machine and a purpose, and why: what `init` proposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.bases import BASES

_PREFERRED: Final = ("z-image", "flux2-klein-4b", "sdxl", "sd15")
"""Best likeness first, by what users of other trainers report; nothing of it was measured here."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A base, the number format and batch for it, and the reasons in one sentence each."""

    base: BaseModel
    mixed_precision: str
    batch_size: int
    reasons: tuple[str, ...]


def choose_base(
    *, device: str, memory_gb: float | None, bf16: bool, commercial: bool, studio_pictures: bool
) -> Choice:
    """A base for this device.  `memory_gb` is the GPU's; None stands for a CPU.

    Pictures of the synthetic studio get the embedded base.  For commercial use only bases that may be sold
    without conditions or under OpenRAIL's are proposed.
    """
    if studio_pictures:
        embedded = BASES[0]
        return Choice(embedded, "auto", 4, ("the pictures are the synthetic studio's",))
    precision = "bf16" if bf16 else "fp16" if device.startswith("cuda") else "auto"
    allowed = [b for name in _PREFERRED for b in BASES if b.name == name and not b.gated]
    if commercial:
        allowed = [b for b in allowed if b.commercial != "no"]
    room = memory_gb or 0.0
    fitting = [b for b in allowed if (b.train_memory_gb or 1e9) <= room]
    if device == "cpu" or not fitting:
        smallest = min(allowed, key=lambda b: b.train_memory_gb or 1e9)
        why = "there is no GPU" if device == "cpu" else f"{room:.0f} GB of GPU memory are few"
        return Choice(
            smallest, precision, 1, (f"{why}: the smallest base; training will be slow", _terms(smallest))
        )
    best = fitting[0]
    needed = best.train_memory_gb or 1.0
    batch = max(1, min(4, int((room - 0.6 * needed) / (0.4 * needed))))
    reasons = (f"it needs about {needed:.0f} of {room:.0f} GB of GPU memory", _terms(best))
    return Choice(best, precision, batch, reasons)


def _terms(base: BaseModel) -> str:
    return f"{base.licence}: {base.terms}"
