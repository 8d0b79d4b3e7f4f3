"""Where a fleet stands, in words for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from portrait_lora.fleet.home import FleetEvent, FleetHome
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

STATES: Final[Mapping[PersonState, str]] = {
    PersonState.SUCCEEDED: "succeeded",
    PersonState.RUNNING: "running",
    PersonState.WAITING: "waiting",
    PersonState.NEEDS_PHOTOS: "needs other photos",
    PersonState.NEEDS_CONSENT: "needs a consent",
    PersonState.SET_ASIDE: "set aside",
    PersonState.FORGOTTEN: "forgotten",
}
_WIDTH: Final = 80
_PERSON: Final = 20
_STATE: Final = 18


def counts(records: Mapping[str, PersonRecord]) -> dict[PersonState, int]:
    """How many people are in each state, without those nobody is in."""
    numbers = {state: sum(r.state is state for r in records.values()) for state in STATES}
    return {state: number for state, number in numbers.items() if number}


def summary(home: FleetHome, records: Mapping[str, PersonRecord]) -> str:
    """`3 of 5 people are done: 2 succeeded, 1 set aside; 1.4 device hours, 2.80.`"""
    over = sum(record.state.is_over for record in records.values())
    each = ", ".join(f"{number} {STATES[state]}" for state, number in counts(records).items())
    hours = device_hours(records)
    price = home.plan.price_per_hour
    cost = "" if price is None else f", {hours * price:.2f}"
    return f"{over} of {len(records)} people are done: {each}; {hours:.2f} device hours{cost}."


def device_hours(records: Mapping[str, PersonRecord]) -> float:
    """What was spent on devices by everybody, lost starts included."""
    return sum(record.device_s for record in records.values()) / 3600


def table(records: Mapping[str, PersonRecord]) -> list[str]:
    """A line per person, those who need somebody first: state, share of the ceiling, and why."""
    order = {state: number for number, state in enumerate(reversed(STATES))}
    rows = sorted(records.values(), key=lambda record: order[record.state])
    return [_line(record) for record in rows]


def _line(record: PersonRecord) -> str:
    figures = record.figures
    share = "" if figures is None or figures.share_of_ceiling is None else f"{figures.share_of_ceiling:.2f}"
    start = record.starts[-1] if record.starts else None
    running = record.state is PersonState.RUNNING and start is not None
    why = f"{start.worker}, step {start.steps}" if running and start else record.reason
    head = f"{_cut(record.person, _PERSON):<{_PERSON}}  {STATES[record.state]:<{_STATE}}  {share:>4}  "
    return (head + _cut(" ".join(why.split()), _WIDTH - len(head))).rstrip()


def line(event: FleetEvent) -> str:
    """One change as a line; empty for progress of which only a table could keep up."""
    if event.kind == "progress" and "stage" in event.progress and "label" not in event.progress:
        return f"{event.person}: {event.progress['stage']}"
    if event.kind == "started":
        return f"{event.person}: started on {event.worker}"
    if event.kind == "lost" and event.state == "waiting":
        return f"{event.person}: worker lost, goes on elsewhere"
    if event.kind in ("state", "lost") and event.state:
        why = f" ({event.reason})" if event.reason and event.state != "succeeded" else ""
        return f"{event.person}: {STATES[PersonState(event.state)]}{why}"
    return ""


def needs(records: Sequence[PersonRecord]) -> list[str]:
    """What is asked of people, and what went wrong: in full."""
    lines: list[str] = []
    for record in records:
        if record.state in (PersonState.NEEDS_PHOTOS, PersonState.NEEDS_CONSENT, PersonState.SET_ASIDE):
            lines.append(f"{record.person} {STATES[record.state]}: {record.reason}")
            lines += [f"  {advice}" for advice in record.advice]
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 2, 0)] + ".."
