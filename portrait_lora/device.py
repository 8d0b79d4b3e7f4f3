"""Which device and number format a run uses, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from portrait_lora import log
from portrait_lora.errors import InputError

Precision = Literal["no", "bf16", "fp16"]
SPARE: Final = 0.92
"""Fraction of a GPU's memory to plan with."""
_IDLE: Final = 0.08
"""Of a card, what drivers, contexts and a desktop hold; the spare of the plan covers it."""
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """`device` is a torch device string; `mixed_precision` is accelerate's word for the autocast dtype."""

    device: str
    mixed_precision: Precision
    reason: str

    @property
    def kind(self) -> str:
        """cpu, cuda or mps: which of several devices of a kind it is changes nothing."""
        return self.device.split(":")[0]


def choose(preferred: str = "auto", mixed_precision: str = "auto") -> DeviceChoice:
    """The best device at hand, or the one asked for; `InputError` when that is not there."""
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = preferred.split(":")[0]
    if name != "auto" and not present.get(name, False):
        have = ", ".join(k for k, v in present.items() if v)
        raise InputError(
            f"device {preferred!r} is not here", where="device", got=preferred, needed=f"one of auto, {have}"
        )
    device = preferred if name != "auto" else next(k for k in ("cuda", "mps", "cpu") if present[k])
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # one process per GPU: accelerate launch, torchrun
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    why = "asked for" if name != "auto" else f"the best of: {', '.join(k for k, v in present.items() if v)}"
    if mixed_precision != "auto":
        if mixed_precision not in ("no", "bf16", "fp16"):
            raise InputError(
                "unknown number format",
                where="mixed_precision",
                got=mixed_precision,
                needed="auto, no, bf16 or fp16",
            )
        return DeviceChoice(device, mixed_precision, why)  # pyright: ignore[reportArgumentType]
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return DeviceChoice(device, "bf16" if bf16 or _cpu_has_bf16(device) else "no", why)


def _cpu_has_bf16(device: str) -> bool:
    """bf16 autocast pays on CPUs with native bf16 instructions only."""
    if device != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def gpu_memory_gb(device: str) -> float | None:
    """Memory of a CUDA device that other programs leave, in GB; None for anything else.

    What this process holds counts as its own.
    """
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    if others <= _IDLE * total:
        return total / 1e9
    _warn_of_others(device, round(others / 1e9), round(total / 1e9))
    return (total - others) / 1e9


@cache
def _warn_of_others(device: str, taken_gb: int, total_gb: int) -> None:
    log.get(__name__).warning(
        "Other programs hold %d of the %d GB of %s: what is left is planned with.", taken_gb, total_gb, device
    )


def system_memory_gb() -> float | None:
    """Memory this program may use, of the machine or of the container it runs in, in GB; None if unknown."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for path in _LIMITS if (limit := _limit(path)))]) / 1e9


def _limit(path: Path) -> int:
    """The limit in a control group's file; 0 for none."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdigit() else 0


def memory_gb(device: str) -> float | None:
    """Memory that a run on this device may plan with: the GPU's own, else the machine's; None if unknown."""
    return gpu_memory_gb(device) if device.startswith("cuda") else system_memory_gb()


def limit_threads(count: int | None = None) -> int:
    """Use `count` CPU threads in torch (default: OMP_NUM_THREADS, else the cores this process may use)."""
    import torch

    configured = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n = count or (int(configured) if configured.isdigit() and int(configured) > 0 else cores)
    torch.set_num_threads(n)
    _hint_when_busy(n, cores)
    return n


@cache
def _hint_when_busy(threads: int, cores: int) -> None:
    """Fewer threads are only proposed, not taken: with other threads the last bits of results differ."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads > 1 and load >= cores:
        log.get(__name__).info(
            "This machine is busy (load %.0f on %d cores), and threads that wait for one another slow a run "
            "down: OMP_NUM_THREADS=1 may be quicker (the last bits of results then differ).",
            load,
            cores,
        )
