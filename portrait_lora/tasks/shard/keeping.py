"""One person while somebody works on them: the record is written after every stage and checkpoint."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.endings import with_start
from portrait_lora.tasks.shard.records import PersonRecord, PersonState, Start

OnChange = Callable[[PersonRecord], None]
EVERY_S: Final = 15.0
"""Seconds after which a record is written though no stage has ended: a lost worker's time is paid for."""
_STEP: Final = re.compile(r"step-(\d+)")
_log = log.get(__name__)


class Keeper:
    """Holds and writes the record of one person.  `share` is the part of the device that is theirs."""

    def __init__(self, home: Path, record: PersonRecord, on_change: OnChange | None, share: float = 1.0):
        self.home, self.record, self.share = home, record, share
        self.folder = files.folder(home, record.person)
        self._on_change = on_change
        self._began = self._written = time.monotonic()

    def put(self, record: PersonRecord) -> None:
        """Write the record.  Raises `PortraitError` when the disk refuses."""
        self.record = record
        files.write(self.home, record)
        self._written = time.monotonic()
        if self._on_change is not None:
            self._on_change(record)

    def begin(self, worker: str, device: str, together: tuple[str, ...]) -> None:
        """Write down that the work starts."""
        self._began = time.monotonic()
        start = Start(
            number=len(self.record.starts) + 1,
            worker=worker,
            device=device,
            began=round(time.time(), 3),
            resumed_from=saved_steps(self.folder) or None,
            digest=self.record.digest,
        )
        update = {"state": PersonState.RUNNING, "starts": (*self.record.starts, start), "reason": ""}
        self.put(self.record.model_copy(update=update | {"together": together}))

    def finish_stage(self, stage: str) -> None:
        """Write down that a stage has ended well."""
        stages = (*self.record.starts[-1].stages, stage)
        self._put_quietly(with_start(self.timed(), stages=stages))

    def note_steps(self, data: Mapping[str, object]) -> None:
        """From a bar of the training: how far it is; written now and then."""
        done = data.get("done")
        if data.get("label") == "train" and isinstance(done, int | float):
            self.record = with_start(self.record, steps=int(done))
        if time.monotonic() - self._written > EVERY_S:
            self._put_quietly(self.timed())

    def timed(self) -> PersonRecord:
        """The record with the time spent until now."""
        spent = (time.monotonic() - self._began) * self.share
        return with_start(self.record, device_s=round(spent, 2))

    def ended(self) -> PersonRecord:
        """The same at the end of the start, which is when it began and the time that passed since."""
        passed = time.monotonic() - self._began
        return with_start(self.timed(), ended_at=round(self.record.starts[-1].began + passed, 3))

    def _put_quietly(self, record: PersonRecord) -> None:
        """The work does not end because its record cannot be written just now."""
        try:
            self.put(record)
        except PortraitError as error:
            self.record = record
            _log.warning("%s", error)


def saved_steps(folder: Path) -> int:
    """Training steps of the latest checkpoint in the run that was worked on last; 0 without any."""
    runs = [path for path in folder.glob("adapters/*/checkpoints") if path.is_dir()]
    if not runs:
        return 0
    latest = max(runs, key=lambda path: path.stat().st_mtime_ns)
    steps = [
        m[1] for p in latest.iterdir() if (m := _STEP.fullmatch(p.name)) and (p / "manifest.json").exists()
    ]
    return max(map(int, steps), default=0)
