"""Several processes of one run (`torchrun`, `accelerate launch`): the first leads, the others train along.

Only the first process reads the command, writes files and decides what is to be done.  The others wait for
its jobs (what to train, and with which means), so they can neither decide otherwise nor write the same files.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from portrait_lora import log
from portrait_lora.errors import InputError, PortraitError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

Job = Mapping[str, object]
_FAMILIES: Final = ("ACCELERATE_", "FSDP_", "FP8_", "MEGATRON_LM_", "PARALLELISM_CONFIG_")
_HARMLESS: Final = {"ACCELERATE_DEBUG_MODE", "ACCELERATE_LOG_LEVEL", "ACCELERATE_ENABLE_RICH"}
_NEUTRAL: Final = {"", "0", "1", "no", "false", "none", "default"}
_PATIENCE: Final = timedelta(days=7)
"""A process may wait as long as the first one draws and looks at portraits."""
_POLL_S: Final = 0.1
_GOODBYE_S: Final = 10.0
_log = log.get(__name__)


def count() -> int:
    """How many processes train together."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """The place of this process among them; 0 leads."""
    return _number("RANK", 0)


def follows() -> bool:
    """Whether this process only trains along."""
    return count() > 1 and rank() > 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default


def ignore_environment() -> list[str]:
    """Drop the variables with which the environment would change weights or placement; returns those set.

    `accelerate launch` sets some of them from a file of its own, unseen: only `likeness.yaml` decides.
    """
    names = sorted(n for n in os.environ if n.startswith(_FAMILIES) and n not in _HARMLESS)
    values = {name: os.environ.pop(name) for name in names}
    set_here = [n for n in names if values[n].lower() not in _NEUTRAL]
    if set_here and rank() == 0:
        ignored = ", ".join(f"{name}={values[name]}" for name in set_here)
        _log.warning("ignored, since likeness.yaml alone decides how to train: %s", ignored)
    return set_here


def open_accelerator(*, cpu: bool) -> Accelerator:
    """The processes of this run as accelerate sees them; it neither casts, accumulates nor moves anything."""
    ignore_environment()
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    return Accelerator(
        cpu=cpu,
        mixed_precision="no",
        gradient_accumulation_steps=1,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


class _Leader:
    """Numbers its jobs, so that several trainings in one process reach the others in order."""

    def __init__(self) -> None:
        self.jobs = 0
        self.store = _store()
        atexit.register(self.end)

    def send(self, job: Job | None) -> None:
        self.store.set(f"job-{self.jobs}", json.dumps(job))
        self.jobs += 1

    def end(self) -> None:
        """The others may go; the store lives in this process, so wait until they know."""
        with suppress(RuntimeError):
            self.send(None)
            keys = [f"end-{i}" for i in range(1, count())]
            until = time.monotonic() + _GOODBYE_S
            while not self.store.check(keys) and time.monotonic() < until:
                time.sleep(_POLL_S)


@cache
def _leader() -> _Leader:
    return _Leader()


def lead() -> None:
    """Be there for the others from now on, so that they hear of the end whatever happens."""
    if count() > 1:
        _leader()


def share(job: Job) -> None:
    """Let the other processes train along; nothing when there are none."""
    if count() > 1:
        _leader().send(job)


def jobs() -> Iterator[Job]:
    """The jobs of the first process, until it ends.  Raises `PortraitError` when it is gone."""
    try:
        store, number = _store(), 0
        while True:
            key = f"job-{number}"
            while not store.check([key]):
                time.sleep(_POLL_S)
            job = cast(Job | None, json.loads(store.get(key)))
            if job is None:
                store.set(f"end-{rank()}", "")
                return
            yield job
            number += 1
    except RuntimeError as error:
        raise PortraitError(
            "the first process is gone", where=f"process {rank()}", got=str(error).splitlines()[0]
        ) from error


def _store() -> Store:
    """The store of the launcher, or one in the first process; after a restart the old jobs do not count."""
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    except ValueError as error:
        raise InputError(
            f"WORLD_SIZE speaks of {count()} processes, but not how they meet",
            got=error,
            remedy="Start them with torchrun or accelerate launch, or unset WORLD_SIZE.",
        ) from error
    return PrefixStore(f"portrait-lora-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
