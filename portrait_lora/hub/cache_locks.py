"""Several processes sharing one model cache: one downloads a file, the others wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import log, removal

_PATIENCE_S: Final = 1.0
"""Seconds to wait for another process before saying so."""
_log = log.get(__name__)


@contextmanager
def alone(lock: Path, label: str) -> Iterator[None]:
    """Wait until no other process of this program holds the lock."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(WeakFileLock(lock, timeout=_PATIENCE_S))
        except Timeout:
            _log.info("%s: another process is downloading it; waiting", label)
            held.enter_context(WeakFileLock(lock))
        yield


def sweep(blobs: Path, etag: str, lock: Path) -> None:
    """Remove partial blobs left by a killed download, unless another process is writing them.

    huggingface_hub holds `lock` while it writes the blob, and removes its own partial file when it fails.
    """
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    halves = [*blobs.glob(f"{etag}.incomplete"), *blobs.glob(f"{etag}.*.incomplete")]
    if not halves:
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with WeakFileLock(lock, timeout=0.05):
            for half in halves:
                removal.remove_file(half, owner=blobs)
    except Timeout:
        return
