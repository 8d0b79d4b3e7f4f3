"""The schedulers, by the names of `generate.scheduler`."""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import diffusers

from portrait_lora.errors import InputError
from portrait_lora.generation.presets import Argument

SCHEDULERS: Final = {
    "dpm++": ("DPMSolverMultistepScheduler", "DPM++ 2M"),
    "dpm++-sde": ("DPMSolverSDEScheduler", "DPM++ SDE"),
    "euler": ("EulerDiscreteScheduler", "Euler"),
    "euler-a": ("EulerAncestralDiscreteScheduler", "Euler a"),
    "heun": ("HeunDiscreteScheduler", "Heun"),
    "ddim": ("DDIMScheduler", "DDIM"),
    "unipc": ("UniPCMultistepScheduler", "UniPC"),
    "lcm": ("LCMScheduler", "LCM"),
}
"""Name -> (diffusers class, name in A1111)."""


def common_name(scheduler: str) -> str:
    """The name of a scheduler in other programs."""
    return SCHEDULERS[scheduler][1] if scheduler in SCHEDULERS else "DPM++ 2M"


def with_scheduler(pipe: Any, name: str, arguments: Sequence[tuple[str, Argument]]) -> Any:
    """A pipeline that shares everything but the scheduler: the named one, or its own reconfigured.

    Raises `InputError` for a name that is unknown or that the family cannot use.
    """
    if not name and not arguments:
        return pipe
    kind = _scheduler_class(pipe, name) if name else type(pipe.scheduler)
    scheduler = kind.from_config(pipe.scheduler.config, **dict(arguments))
    shared = type(pipe).from_pipe(pipe, scheduler=scheduler)
    shared.set_progress_bar_config(disable=True)
    return shared


def _scheduler_class(pipe: Any, name: str) -> Any:
    if name not in SCHEDULERS:
        known = ", ".join(SCHEDULERS)
        raise InputError("unknown scheduler", where="generate.scheduler", got=name, needed=known)
    kind = SCHEDULERS[name][0]
    fits = {c.__name__ for c in getattr(pipe.scheduler, "compatibles", [])}
    if SCHEDULERS["ddim"][0] in fits:  # the same noise process; diffusers leaves it out of its list
        fits.add(SCHEDULERS["lcm"][0])
    if kind not in fits:
        needed = ", ".join(k for k, (c, _) in SCHEDULERS.items() if c in fits) or "its own"
        raise InputError(
            "this family cannot use the scheduler", where="generate.scheduler", got=name, needed=needed
        )
    return getattr(diffusers, kind)
