"""One file on its way into a store or out of it: the bytes are those that its digest says, or nothing is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, system_errors
from portrait_lora.fleet import snapshot
from portrait_lora.fleet.listing import Entry
from portrait_lora.fleet.objects import Objects

_IN_MEMORY: Final = 16 << 20


def upload(objects: Objects, file: Path, entry: Entry, name: str) -> bool:
    """Put a file into the store as `name`; False when it is no longer the one that was looked at."""
    try:
        if entry.size <= _IN_MEMORY:  # logs and journals are written to while they are copied
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                return False
            objects.write(name, data)
            return True
        objects.upload(file, name)
    except FileNotFoundError:
        return False
    if snapshot.unchanged(file, entry):
        return True
    objects.remove([name])
    return False


@contextmanager
def downloaded(objects: Objects, name: str, entry: Entry, target: Path, shown: str) -> Iterator[Path]:
    """A whole file beside `target`, to be moved there; what is left of it at the end is removed.

    Raises `ArtifactError` for other bytes than the digest says.
    """
    manifest.make_folder(target.parent)
    part = target.with_name(f".{target.name[:60]}.{entry.sha256[:8]}.part")
    try:
        with system_errors(target):
            objects.download(name, part)
            if (digest := manifest.sha256_file(part)) != entry.sha256:
                raise ArtifactError(
                    "the store has other bytes than its listing says",
                    where=shown,
                    got=digest[:12],
                    needed=entry.sha256[:12],
                    remedy="Run it again; if it stays so, remove this person from the store.",
                )
            part.chmod(manifest.file_mode(False))
            os.utime(part, ns=(entry.mtime_ns, entry.mtime_ns))
            yield part
    finally:
        part.unlink(missing_ok=True)
