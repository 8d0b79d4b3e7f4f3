"""Models that steps of finishing name and `pull` has fetched: found by the lock, and compared with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from portrait_lora.errors import InputError
from portrait_lora.finishing.marigold_sources import LICENCE, NAME, REPOSITORIES
from portrait_lora.finishing.tools import FindModel
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub, as_locked


def finder(root: Path | None) -> FindModel:
    """Finds models by the lock of a likeness folder, without one by that of the folder one stands in."""

    def find(name: str) -> Path:
        repo = REPOSITORIES.get(name)
        if repo is None:
            raise no_such(name)
        locked = locks.read(root or Path()).models.get(repo)
        if locked is None:
            into = f" --into {root}" if root else ""
            raise InputError(
                f"{name} is not on this machine yet",
                where=(root or Path()) / locks.NAME,
                needed=f"{repo} (licence, as reported: {LICENCE})",
                remedy=f"Fetch it with: portrait-lora pull {NAME}{into}",
            )
        return replace(Hub.from_environment(), offline=True).fetch(as_locked(locked), label=name)[0]

    return find


def no_such(name: str) -> InputError:
    """For a name that no step knows."""
    return InputError("no such model for finishing", got=name, needed=f"{NAME}, or a file or folder")
