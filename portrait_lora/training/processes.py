"""Distributed training (`torchrun`, `accelerate launch`): the first process leads, the others follow.

Only the first process parses the command, writes files and makes decisions.  The others wait for its jobs
(what to train, and with which means), so they can neither decide differently nor write the same files.
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
"""Time limit for waiting while the first process generates and scores portraits."""
_POLL_S: Final = 0.1
_GOODBYE_S: Final = 10.0
_log = log.get(__name__)


def count() -> int:
    """The number of processes."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """The rank of this process; 0 leads."""
    return _number("RANK", 0)


def follows() -> bool:
    """Whether this process is a follower."""
    return count() > 1 and rank() > 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default


def ignore_environment() -> list[str]:
    """Unset environment variables that would change weights or placement; returns those that were set.

    `accelerate launch` sets some of them from its own configuration file: only `likeness.yaml` counts.
    """
    names = sorted(n for n in os.environ if n.startswith(_FAMILIES) and n not in _HARMLESS)
    values = {name: os.environ.pop(name) for name in names}
    set_here = [n for n in names if values[n].lower() not in _NEUTRAL]
    if set_here and rank() == 0:
        ignored = ", ".join(f"{name}={values[name]}" for name in set_here)
        _log.warning("ignored, because training is configured by likeness.yaml alone: %s", ignored)
    return set_here


def open_accelerator(*, cpu: bool) -> Accelerator:
    """An `Accelerator` for the processes of this run that neither casts, accumulates nor moves anything."""
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
    """Publishes numbered jobs, so that several trainings in one process reach the others in order."""

    def __init__(self) -> None:
        self.jobs = 0
        self.store = _store()
        atexit.register(self.end)

    def send(self, job: Job | None) -> None:
        self.store.set(f"job-{self.jobs}", json.dumps(job))
        self.jobs += 1

    def end(self) -> None:
        """Release the followers, and wait for them, because the store lives in this process."""
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
    """Context that releases the followers at its end, whatever happens."""
    if count() > 1:
        _leader()


def share(job: Job) -> None:
    """Send a job to the followers, if any."""
    if count() > 1:
        _leader().send(job)


def jobs() -> Iterator[Job]:
    """The jobs of the first process, until it ends.  Raises `PortraitError` when it has died."""
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
            "the first process has died", where=f"process {rank()}", got=str(error).splitlines()[0]
        ) from error


def _store() -> Store:
    """The launcher's store, or one in the first process; after a restart old jobs are ignored."""
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    except ValueError as error:
        raise InputError(
            f"WORLD_SIZE is {count()}, but no rendezvous is configured",
            got=error,
            remedy="Start them with torchrun or accelerate launch, or unset WORLD_SIZE.",
        ) from error
    return PrefixStore(f"portrait-lora-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
