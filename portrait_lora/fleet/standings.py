"""Everybody of a fleet with name, group and figures, the outliers first, and the figures of each group."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora.errors import PortraitError
from portrait_lora.fleet import roster as rosters
from portrait_lora.fleet.home import FleetHome
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

NO_GROUP: Final = "no group"
_ORDER: Final = {state: number for number, state in enumerate(
    (PersonState.SET_ASIDE, PersonState.NEEDS_CONSENT, PersonState.NEEDS_PHOTOS, PersonState.SUCCEEDED,
     PersonState.RUNNING, PersonState.WAITING, PersonState.FORGOTTEN)
)}  # fmt: skip
_FAR: Final = 3.0
"""Median absolute deviations, scaled to a normal distribution's standard deviation (Leys et al. 2013)."""
_MAD_TO_SD: Final = 1.4826


@dataclass(frozen=True, slots=True)
class Row:
    """One person.  `outlier` says in a few words why somebody should look; empty where nobody has to."""

    person: str
    name: str
    groups: tuple[str, ...]
    record: PersonRecord
    outlier: str = ""

    @property
    def share(self) -> float | None:
        """Share of the ceiling, None where it was not measured."""
        figures = self.record.figures
        return (
            None if figures is None or figures.share_of_ceiling is None else float(figures.share_of_ceiling)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """People of one group who were measured: mean share of the ceiling with the 95 % interval over people
    (Student's t; None with fewer than three), mean verified rate, and how many were accepted and how many
    are over."""

    name: str
    people: int
    over: int
    accepted: int
    measured: int
    share: float | None
    share_ci95: tuple[float, float] | None
    verified: float | None


def rows_of(home: FleetHome) -> list[Row]:
    """Everybody, those whom somebody should look at first: set aside, asked, then the lowest likeness.

    Names and groups are the roster's; where it cannot be read any more, the name is that of the folder.
    """
    records = home.records()
    names, groups = _listed(home)
    limit = _low(records.values())
    rows = [
        Row(person, names.get(person, person), groups.get(person, ()), record, _outlier(record, limit))
        for person, record in records.items()
    ]
    return sorted(rows, key=_first)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """The groups by name; everybody without one is in the last."""
    names = sorted({name for row in rows for name in row.groups}, key=str.casefold)
    some = [(name, [row for row in rows if name in row.groups]) for name in names]
    rest = [row for row in rows if not row.groups]
    return [_group(name, members) for name, members in [*some, *([(NO_GROUP, rest)] if rest else [])]]


def _group(name: str, rows: Sequence[Row]) -> Group:
    shares = [row.share for row in rows if row.share is not None]
    verified = [float(row.record.figures.verified_rate) for row in rows if row.record.figures is not None]
    return Group(
        name=name,
        people=len(rows),
        over=sum(row.record.state.is_over for row in rows),
        accepted=sum(row.record.state is PersonState.SUCCEEDED for row in rows),
        measured=len(shares),
        share=statistics.fmean(shares) if shares else None,
        share_ci95=_interval(shares),
        verified=statistics.fmean(verified) if verified else None,
    )


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 3:
        return None
    from scipy.special import stdtrit  # heavy

    mean, n = statistics.fmean(values), len(values)
    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def _listed(home: FleetHome) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    try:
        listed = rosters.read(Path(home.plan.roster))
    except PortraitError:
        return {}, {}
    return {e.person: e.name for e in listed.entries}, {e.person: e.groups for e in listed.entries}


def _low(records: Iterable[PersonRecord]) -> float | None:
    """A share of the ceiling far below everybody else's; None with too few people to tell."""
    shares = [
        float(r.figures.share_of_ceiling)
        for r in records
        if r.figures is not None and r.figures.share_of_ceiling is not None
    ]
    if len(shares) < 5:
        return None
    middle = statistics.median(shares)
    spread = _MAD_TO_SD * statistics.median(abs(share - middle) for share in shares)
    return middle - _FAR * spread if spread > 0 else None


def _outlier(record: PersonRecord, low: float | None) -> str:
    if record.state in (PersonState.SET_ASIDE, PersonState.NEEDS_CONSENT, PersonState.NEEDS_PHOTOS):
        return record.reason or record.state.value.replace("_", " ")
    figures = record.figures
    if record.state is not PersonState.SUCCEEDED or figures is None:
        return ""
    if figures.face_found_rate < 1:
        return f"no face in {1 - float(figures.face_found_rate):.0%} of the portraits"
    if low is not None and figures.share_of_ceiling is not None and figures.share_of_ceiling < low:
        return "far less like the person than the others' portraits are"
    return "needed a second try" if record.tries > 1 else ""


def _first(row: Row) -> tuple[int, bool, float, str]:
    share = row.share
    return (_ORDER[row.record.state], not row.outlier, 2.0 if share is None else share, row.name.casefold())
