"""Models that steps of finishing name and `pull` has fetched: found by the lock, and compared with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from portrait_lora.errors import InputError
from portrait_lora.finishing.sources import SOURCES, pull_names
from portrait_lora.finishing.tools import FindModel
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub, as_locked


def finder(root: Path | None) -> FindModel:
    """Finds models by the lock of a likeness folder, without one by that of the folder one stands in."""

    def find(name: str) -> Path:
        source = SOURCES.get(name)
        if source is None:
            raise no_such(name)
        locked = locks.read(root or Path()).models.get(source.repo)
        if locked is None:
            into = f" --into {root}" if root else ""
            licence = f"licence as reported: {source.licence}"
            raise InputError(
                f"{name} is not on this machine yet",
                where=(root or Path()) / locks.NAME,
                needed=f"{source.repo} (about {source.gigabytes:.0f} GB; {licence})",
                remedy=f"Fetch it with: portrait-lora pull {source.pull}{into}",
            )
        return replace(Hub.from_environment(), offline=True).fetch(as_locked(locked), label=name)[0]

    return find


def no_such(name: str) -> InputError:
    """For a name that no step knows."""
    return InputError(
        "no such model for finishing", got=name, needed=f"{', '.join(pull_names())}, or a file or folder"
    )
