"""Shards on a Ray cluster, or on this machine by Ray: a worker per device, each an actor.

Ray finds room, starts workers and notices lost ones; it retries nothing, since what is to be done next is the
scheduler's.  Only orders, progress and records go through it, never a file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.fleet import elsewhere, ray_cluster
from portrait_lora.fleet.backend import Change, ChangeKind
from portrait_lora.fleet.elsewhere import Elsewhere
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.ray_worker import CHILD, Worker
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord, Shard

GRACE_S: Final = 600.0
"""How long workers may take for their step and for saving when the fleet stops."""
SILENT_S: Final = 60.0
"""How long a worker may not answer before it counts as lost, whatever Ray thinks of it."""
PATIENCE_S: Final = 20.0
"""How long a new worker may take to start while another one is idle."""
_POLL_S: Final = 0.5
_MOST_BROKEN: Final = 3
_log = log.get(__name__)


@dataclass(slots=True)
class _Slot:
    """An actor, the shard it does, and the answer it owes; `after` numbers the last event that came."""

    actor: Any
    shard: Shard | None = None
    answer: Any = None
    polled: float = 0.0
    after: int = 0
    has_answered: bool = False
    is_refused: bool = False
    is_stopping: bool = False
    name: str = ""
    hired: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Moving:
    """Files of a shard on their way to the store, or back from it before its end is reported."""

    shard: Shard
    files: Future[None]
    end: Change | None = None
    is_cancelled: bool = False


@dataclass
class RayBackend:
    """A `Backend` over Ray Core.  `command` starts the child process of a worker (for tests)."""

    home: Path
    where: RayPlace = field(default_factory=RayPlace)
    command: Sequence[str] = CHILD
    name: str = "ray"
    silent_s: float = SILENT_S
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        """Connect.  Raises `InputError` without the extra, or where no cluster is."""
        self._threads = plan.read(self.home).threads
        self._cluster = ray_cluster.connect(self.where, self._threads)
        url = self.where.store or str(self.home.absolute())
        self._here = Workplace(url, self.home, is_head=True)
        self._slots: list[_Slot] = []
        self._moving: list[_Moving] = []
        self._changes: list[Change] = []
        self._broken: list[str] = []
        self._couriers = ThreadPoolExecutor(4, thread_name_prefix="couriers")
        if self.where.store:
            elsewhere.remember(
                self.home,
                Elsewhere(store=self.where.store, address=self.where.address, scratch=self.where.scratch),
            )
        self._here.deliver_plan()

    def free(self) -> int:
        """How many more shards may be placed now.

        Raises `PortraitError` when no worker is left that could do any of this fleet's work.
        """
        busy = sum(slot.shard is not None for slot in self._slots) + sum(m.end is None for m in self._moving)
        refused = sum(slot.is_refused for slot in self._slots)
        room = self._cluster.room() - refused
        if self._broken and not busy and (room <= 0 or len(self._broken) >= _MOST_BROKEN):
            raise PortraitError(
                "no worker can do the work of this fleet",
                where=self.where.address or "ray",
                got=self._broken[-1],
                remedy="Install the same version and the same models on every node.",
            )
        return max(room - busy, 0)

    def place(self, shard: Shard) -> None:
        """Give a shard to a worker; with a store its people's files go there first."""
        if shard.name in self._placed():
            return
        if self._here.is_shared:
            self._assign(shard)
        else:
            self._moving.append(_Moving(shard, self._couriers.submit(self._send, shard)))

    def changes(self) -> Sequence[Change]:
        """What happened since the last call, in order."""
        self._move()
        self._listen()
        self._hand_over()
        happened, self._changes = self._changes, []
        return happened

    def cancel(self, shard: str) -> None:
        """Ask the worker to stop within a step; one that has not begun never does."""
        for moving in self._moving:
            if moving.shard.name == shard:
                moving.is_cancelled = True
        for slot in self._slots:
            if slot.shard is None or slot.shard.name != shard:
                continue
            slot.is_stopping = True
            if slot.has_answered:
                slot.actor.stop.remote()
            else:
                self._end(slot, Change(ChangeKind.ENDED, shard, reason="cancelled before it began"))
                self._dismiss(slot)
            return

    def close(self) -> None:
        """Stop everybody within a step, get their files, and let go of the cluster."""
        try:
            deadline = time.monotonic() + GRACE_S
            for name in self._placed():
                self.cancel(name)
            while self._placed() and time.monotonic() < deadline:
                self._move()
                self._listen()
                time.sleep(0.05)
            for slot in list(self._slots):
                self._dismiss(slot)
            self._couriers.shutdown(wait=True)
        finally:
            self._cluster.close()

    def _placed(self) -> set[str]:
        return {slot.shard.name for slot in self._slots if slot.shard} | {m.shard.name for m in self._moving}

    def _assign(self, shard: Shard) -> None:
        idle = (slot for slot in self._slots if slot.shard is None and not slot.is_refused)
        slot = next(idle, None)
        if slot is None:
            slot = _Slot(self._cluster.hire(Worker, self._threads or 1, tuple(self.command)))
            self._slots.append(slot)
        slot.shard, slot.is_stopping = shard, False
        slot.actor.begin.remote({
            "home": self._here.url, "scratch": self.where.scratch, "people": list(shard.people),
            "lease_s": self.where.lease_s,
        })  # fmt: skip

    def _hand_over(self) -> None:
        """Who waits for a worker that has no room to start goes to one that has become idle.

        Idle workers hold their devices, so the new one might wait for ever: on a cluster that lost a node.
        """
        now = time.monotonic()
        for late in [one for one in self._slots if one.shard and not one.has_answered]:
            idle = any(one.shard is None and one.has_answered and not one.is_refused for one in self._slots)
            if not idle or now - late.hired < self.patience_s:
                continue
            shard = late.shard
            assert shard is not None
            self._dismiss(late)
            self._assign(shard)

    def _send(self, shard: Shard) -> None:
        for person in shard.people:
            self._here.deliver(person)

    def _bring(self, shard: Shard) -> None:
        for person in shard.people:
            self._here.fetch(person)

    def _move(self) -> None:
        """Go on with shards whose files have arrived."""
        for moving in [one for one in self._moving if one.files.done()]:
            self._moving.remove(moving)
            name, error = moving.shard.name, moving.files.exception()
            if moving.end is not None:
                self._changes.append(moving.end if error is None else _lost(name, "", str(error)))
            elif error is not None:
                self._changes.append(_lost(name, "", str(error)))
            elif moving.is_cancelled:
                self._changes.append(Change(ChangeKind.ENDED, name, reason="cancelled before it began"))
            else:
                self._assign(moving.shard)

    def _listen(self) -> None:
        """Take what workers answer; ask again those that have."""
        import ray
        from ray import exceptions as gone

        now = time.monotonic()
        for slot in self._slots:
            if slot.answer is None:
                slot.answer, slot.polled = slot.actor.poll.remote(slot.after, _POLL_S), now
        pending = [slot.answer for slot in self._slots]
        ready = set(ray.wait(pending, num_returns=len(pending), timeout=0)[0]) if pending else set()
        for slot in list(self._slots):
            if slot.answer not in ready:
                if slot.has_answered and now - slot.polled > self.silent_s:
                    self._lose(slot, f"it has not answered for {self.silent_s:.0f} s")
                continue
            answer, slot.answer = slot.answer, None
            try:
                events = ray.get(answer)
            except gone.ActorUnavailableError:
                slot.answer = answer if now - slot.polled <= self.silent_s else None
                if slot.answer is None:
                    self._lose(slot, "it cannot be reached")
                else:
                    slot.answer = slot.actor.poll.remote(slot.after, _POLL_S)
            except gone.RayError as error:
                self._lose(slot, _first_line(error))
            else:
                slot.has_answered = True
                for number, value in events:
                    slot.after = number
                    self._take(slot, value)

    def _take(self, slot: _Slot, value: dict[str, Any]) -> None:
        """One event of a worker."""
        shard, kind = slot.shard, value.get("kind")
        if shard is None:
            return
        if kind == "started":
            slot.name, self._broken = str(value["worker"]), []
            self._changes.append(Change(ChangeKind.STARTED, shard.name, slot.name))
            if slot.is_stopping:  # cancelled while it was starting
                slot.actor.stop.remote()
        elif kind == "progress":
            self._changes.append(Change(ChangeKind.PROGRESS, shard.name, slot.name, value["progress"]))
        elif kind == "record" and not self._here.is_shared:
            files.write(self.home, PersonRecord.read(value["record"], "record of a worker"))
        elif kind == "ended":
            reason = str(value.get("reason", ""))
            self._end(slot, Change(ChangeKind.ENDED, shard.name, slot.name, reason=reason))
        elif kind == "refused":
            slot.is_refused = True  # it keeps its device, so that no other worker is started there
            self._broken.append(str(value["reason"]))
            _log.warning("%s does not take part: %s", slot.name, value["reason"])
            self._end(slot, _lost(shard.name, slot.name, str(value["reason"])))
        elif kind == "lost":
            self._end(slot, _lost(shard.name, slot.name, str(value["reason"])))

    def _end(self, slot: _Slot, end: Change) -> None:
        """The shard of a worker is over; with a store its files are brought here before that is reported."""
        assert slot.shard is not None
        if self._here.is_shared or end.kind is ChangeKind.LOST:
            self._changes.append(end)
        else:
            self._moving.append(_Moving(slot.shard, self._couriers.submit(self._bring, slot.shard), end))
        slot.shard = None

    def _lose(self, slot: _Slot, reason: str) -> None:
        """A worker is gone, and with it nothing but the steps since the last checkpoint."""
        if slot.shard is not None:
            self._changes.append(_lost(slot.shard.name, slot.name, reason))
            slot.shard = None
        if not slot.has_answered:
            self._broken.append(reason)
        self._dismiss(slot)

    def _dismiss(self, slot: _Slot) -> None:
        self._cluster.dismiss(slot.actor)
        self._slots.remove(slot)


def _lost(shard: str, worker: str, reason: str) -> Change:
    return Change(ChangeKind.LOST, shard, worker, reason=reason)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
