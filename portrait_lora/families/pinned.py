"""A base at the commit that the lock names, and the bytes of that commit on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from portrait_lora.families.base_model import BaseModel
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub
from portrait_lora.hub.lock import Lock


def pinned(base: BaseModel, lock: Lock) -> BaseModel:
    """The base with the commits of its locked repositories in place of branches; a folder stays as it is."""
    if base.folder is not None:
        return base
    train, generate = lock.models.get(base.repo), lock.models.get(base.generate_repo)
    text = lock.models.get(base.text_repo)
    return replace(
        base,
        revision=train.commit if train else base.revision,
        generate_revision=generate.commit if generate else base.generate_revision,
        text_revision=text.commit if text else base.text_revision,
    )


def locked(base: BaseModel, likeness: Path, hub: Hub | None = None) -> BaseModel:
    """The base as the lock of a likeness folder has it, after a look at its bytes.

    Raises `ArtifactError` when a locked file is not on this machine as it was locked.
    """
    if base.folder is not None:
        return base
    lock = locks.read(likeness)
    hub = hub or Hub.from_environment()
    for repo in base.repos:
        if model := lock.models.get(repo):
            locks.verify(model, hub.folder(repo, model.commit), memory=hub.memory)
    return pinned(base, lock)
