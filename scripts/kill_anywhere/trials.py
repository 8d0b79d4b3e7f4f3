"""One command, killed many times: who kills when, and whether it ends like a run that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.kill_anywhere.children import Kill, Work, in_child
from scripts.kill_anywhere.compare import contents, different

MOST_IN_A_ROW: Final = 3
DELAY_S: Final = 0.01
"""A write that was begun takes about so long."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A command that nobody killed: what it left, how often it changed a file, how long it took."""

    code: int
    files: Mapping[str, str]
    events: int
    seconds: float


@dataclass
class Tally:
    """Of one command; a difference says after which kills, and where."""

    kills: int = 0
    at_a_change: int = 0
    ends: int = 0
    same: int = 0
    differences: list[str] = field(default_factory=list)


def restore(before: Path, world: Path) -> None:
    """Make `world` a copy of the state before a command."""
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(before, world, symlinks=True)


def undisturbed(work: Work, before: Path, world: Path) -> Undisturbed:
    """Run a command on a copy of the state before it.  Raises `RuntimeError` when something kills it."""
    restore(before, world)
    started = time.monotonic()
    code, events = in_child(work, world)
    seconds = time.monotonic() - started
    if code is None:
        raise RuntimeError("an undisturbed run was killed")
    return Undisturbed(code, contents(world), events, seconds)


def plans(expected: Undisturbed, kills: int, rng: random.Random) -> Iterator[Kill]:
    """Moments spread over the whole of the command; the first before anything, the second after everything.

    Then two of three at a change of a file, every other one of these a little after it; the third after a
    random time.  One of every part of the command, in random order, then again.
    """
    yield Kill(event=1)
    yield Kill(event=expected.events + 1)
    parts = max(1, kills - 2)
    while True:
        order = list(range(parts))
        rng.shuffle(order)
        for number, part in enumerate(order):
            share = (part + rng.random()) / parts
            if number % 3 == 2 or not expected.events:
                yield Kill(after_s=share * expected.seconds)
            else:
                delay_s = rng.uniform(0.0, DELAY_S) if number % 3 == 1 else 0.0
                yield Kill(event=1 + int(share * expected.events), delay_s=delay_s)


def kill_command(
    work: Work, before: Path, world: Path, expected: Undisturbed, kills: int, rng: random.Random
) -> Tally:
    """Kill a command `kills` times, up to `MOST_IN_A_ROW` times before it may end, and compare each end."""
    tally, planned = Tally(), plans(expected, kills, rng)
    while tally.kills < kills:
        restore(before, world)
        killed: list[Kill] = []
        code: int | None = None
        for _ in range(min(rng.randint(1, MOST_IN_A_ROW), kills - tally.kills)):
            kill = next(planned)
            code, _ = in_child(work, world, kill)
            if code is not None:
                break
            killed.append(kill)
        if code is None:
            code, _ = in_child(work, world)
        tally.kills += len(killed)
        tally.at_a_change += sum(kill.event is not None for kill in killed)
        if not killed:
            continue
        tally.ends += 1
        odd = different(contents(world), expected.files)
        if code == expected.code and not odd:
            tally.same += 1
        else:
            tally.differences.append(f"{killed}: exit {code}, {', '.join(odd[:8])}")
    return tally
