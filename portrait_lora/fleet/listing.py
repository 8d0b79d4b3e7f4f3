"""What a person's folder holds, as names and digests, and how two of its states become one; no I/O here.

Two places change a person: the head, where users lay photos and edit captions, and a worker, which makes
everything else.  Both remember the state that they agreed on last, so each sees what the other changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from portrait_lora.results import Value
from portrait_lora.tasks.shard import files

Side = Literal["here", "there"]
_MADE: Final = ("adapters", "dataset", "portraits", "reports")


class Entry(Value):
    """One file: its bytes by digest, their number, and when it was changed (nanoseconds since 1970).

    `mode` and times are not kept in step: files of a likeness are for their owner alone.
    """

    sha256: str
    size: int
    mtime_ns: int = 0

    @property
    def same(self) -> tuple[str, int]:
        """What has to be equal for two files to be the same."""
        return self.sha256, self.size


Files = Mapping[str, Entry]
"""Path relative to the home of the fleet -> file."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose word counts where both changed something: of the user's files, and of what is made of them."""

    user: Side
    outputs: Side


def is_made(person: str, name: str) -> bool:
    """Whether this program makes the file, from what the user gave."""
    inner = name.removeprefix(f"{files.PEOPLE}/{person}/")
    return inner == name or inner.split("/")[0] in _MADE


def merged(person: str, base: Files, here: Files, there: Files, rule: Rule) -> dict[str, Entry]:
    """The state that both sides should have, from the one that they had in common and what each did since.

    What is made belongs together (a journal and the files that it names): of it one side's is taken whole.
    The user's files are looked at one by one.
    """
    result = dict(_part(person, _chosen_made(person, base, here, there, rule.outputs), True))
    for name in sorted({*here, *there, *base}):
        if is_made(person, name):
            continue
        before, mine, other = (_same(files, name) for files in (base, here, there))
        changed_here, changed_there = mine != before, other != before
        both = changed_here and changed_there
        source = (here if rule.user == "here" else there) if both else here if changed_here else there
        if name in source:
            result[name] = source[name]
    return result


def _chosen_made(person: str, base: Files, here: Files, there: Files, rule: Side) -> Files:
    before, mine, other = (
        {name: entry.same for name, entry in _part(person, side, True).items()}
        for side in (base, here, there)
    )
    if mine in (before, other):
        return there
    if other == before:
        return here
    return here if rule == "here" else there


def _part(person: str, side: Files, is_output: bool) -> dict[str, Entry]:
    return {name: entry for name, entry in side.items() if is_made(person, name) is is_output}


def _same(side: Files, name: str) -> tuple[str, int] | None:
    return side[name].same if name in side else None


def agreed(base: Files, here: Files, whole: Files) -> dict[str, Entry]:
    """The state to remember once the other side has `whole` and this one still has `here`.

    Where they differ the old one is remembered, so that what the other changed is not taken for a removal.
    """
    names = {*base, *here, *whole}
    same = {name for name in names if _same(here, name) == _same(whole, name)}
    state = {name: whole[name] for name in same if name in whole}
    return state | {name: base[name] for name in names - same if name in base}
