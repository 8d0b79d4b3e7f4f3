"""`portrait-lora.lock`: commit and checksums of every downloaded model.

A branch name is resolved to a commit once; commit, size and sha256 of every file are recorded, and
every later use must match them.  One JSON file per likeness folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portrait_lora import manifest, removal, strict_json
from portrait_lora.errors import ArtifactError

NAME: Final = "portrait-lora.lock"
FORMAT: Final = 1
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_AGAIN: Final = "Download it again with: portrait-lora pull"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file: its sha256 and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedModel:
    """A model as it was downloaded: `revision` is the branch requested, `commit` what it resolved to.

    For an archive that has no commits, `commit` is the archive's sha256.
    """

    source: str
    revision: str
    commit: str
    files: Mapping[str, LockedFile]

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(f.size for f in self.files.values())


@dataclass(frozen=True, slots=True)
class Lock:
    """All locked models by source (a repository or a URL)."""

    models: Mapping[str, LockedModel] = field(default_factory=dict)

    def with_model(self, model: LockedModel) -> Lock:
        """The same lock with one model added or replaced."""
        return Lock(dict(sorted({**self.models, model.source: model}.items())))


def read(folder: Path) -> Lock:
    """The lock of a folder; an empty one when there is none.  Raises `ArtifactError` when it is damaged."""
    path = folder / NAME
    if not path.is_file():
        return Lock()
    try:
        raw: Any = strict_json.load_object(path, "lock")
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}")
        return Lock({source: _model(source, value) for source, value in raw["models"].items()})
    except (ArtifactError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Restore it from a backup, or remove it and pull again."
        raise ArtifactError("the lock cannot be read", where=path, got=repr(error), remedy=remedy) from error


def write(folder: Path, lock: Lock) -> Path:
    """Write the lock of a folder atomically; the same models give the same bytes."""
    models = {
        source: {
            "asked": model.revision,
            "commit": model.commit,
            "files": {n: {"sha256": f.sha256, "size": f.size} for n, f in sorted(model.files.items())},
        }
        for source, model in sorted(lock.models.items())
    }
    manifest.write_json_atomic(folder / NAME, {"format": FORMAT, "models": models})
    return folder / NAME


def verify(model: LockedModel, folder: Path, *, memory: Path | None = None) -> None:
    """Check that every locked file is in `folder` with the locked bytes; else `ArtifactError` for the first.

    With `memory` (a JSON file), a file with the size and time of its last successful check is not hashed
    again.
    """
    seen = _remembered(memory)
    for name, locked in model.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError("a file of the model is missing", where=path, remedy=f"{_AGAIN}.")
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, locked.sha256]
        if stat.st_size == locked.size and seen.get(str(path.resolve())) == state:
            continue
        got = manifest.sha256_file(path) if stat.st_size == locked.size else f"{stat.st_size} bytes"
        if got != locked.sha256:
            raise ArtifactError(
                "a file of the model differs from the locked one",
                where=path,
                got=got[:16],
                needed=f"sha256 {locked.sha256[:16]}, {locked.size} bytes",
                remedy=f"{_AGAIN}.",
            )
        seen[str(path.resolve())] = state
    if memory is not None and os.access(memory.parent, os.W_OK):
        manifest.write_json_atomic(memory, seen)


def _remembered(memory: Path | None) -> dict[str, list[object]]:
    try:
        value: Any = strict_json.load_object(memory, "memory of digests") if memory else {}
    except ArtifactError:
        return {}
    return value


def _model(source: str, value: Mapping[str, Any]) -> LockedModel:
    commit = str(value["commit"])
    files = {str(n): LockedFile(str(f["sha256"]), int(f["size"])) for n, f in value["files"].items()}
    whole = _COMMIT.fullmatch(commit) or _SHA256.fullmatch(commit)
    inside = all(removal.is_inner(name) for name in files) and all(f.size >= 0 for f in files.values())
    if not whole or not files or not inside or not all(_SHA256.fullmatch(f.sha256) for f in files.values()):
        raise ValueError(f"{source}: not a commit with files inside the model and their sha256")
    return LockedModel(source, str(value["asked"]), commit, files)
