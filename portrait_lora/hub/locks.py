"""Several processes at one cache of models: one fetches a file, the others wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import log, removal

_PATIENCE_S: Final = 1.0
"""How long another process is waited for without a word."""
_log = log.get(__name__)


@contextmanager
def alone(lock: Path, label: str) -> Iterator[None]:
    """Wait until no other process of this program holds the lock; what it has fetched is there then."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(WeakFileLock(lock, timeout=_PATIENCE_S))
        except Timeout:
            _log.info("%s: another process fetches it; waiting", label)
            held.enter_context(WeakFileLock(lock))
        yield


def sweep(blobs: Path, etag: str, lock: Path) -> None:
    """Remove the halves of a blob that a killed download left, unless somebody is at it now.

    huggingface_hub holds `lock` while it writes the blob, and takes its own half away when it fails.
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
