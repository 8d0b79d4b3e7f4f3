"""People of a fleet: `fleet check` before the work, `fleet publish` after it, and `fleet forget`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portrait_lora import errors, terminal
from portrait_lora.commands.options import JsonOpt, answer, confirm

if TYPE_CHECKING:
    from portrait_lora.fleet.roster import Roster
    from portrait_lora.fleet.standing import PersonCheck, RosterCheck

RosterArg = Annotated[
    Path, typer.Argument(metavar="ROSTER", help="CSV or YAML file of people: name, photos, consent and more")
]
FleetHomeOpt = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="folder of the fleet [default: ROSTER-fleet]")
]
_MOST_LINES = 40


def check(
    roster: RosterArg,
    home: FleetHomeOpt = None,
    days: Annotated[
        int, typer.Option("--consent-days", min=0, help="name consents that end within so many days")
    ] = 30,
    hours: Annotated[
        float | None,
        typer.Option("--hours", min=0, help="expected length of the run [default: the planned trainings]"),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="devices that share the trainings")] = 1,
    same: Annotated[
        list[str] | None, typer.Option("--same", metavar="A+B", help="answer: these two are one person")
    ] = None,
    different: Annotated[
        list[str] | None, typer.Option("--different", metavar="A+B", help="answer: these are two people")
    ] = None,
    renew: Annotated[
        bool,
        typer.Option("--consents-cover-new-photos", help="the consents hold for photos added since, too"),
    ] = False,
    again: Annotated[
        list[str] | None,
        typer.Option("--enrol-again", metavar="PERSON", help="enrol somebody who had been forgotten"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Check everybody's photos and consent, and write a page and a mail to whoever has to send something."""
    import datetime as dt

    from portrait_lora.fleet import check as checking
    from portrait_lora.fleet import forgotten, same_person

    listed, place = open_roster(roster, home)
    for person in again or []:
        forgotten.welcome(place, listed.entry(person))
    known = {entry.person for entry in listed.entries}
    same_person.answer(place, known, same=same or (), different=different or ())
    forecast_s = None if hours is None else 3600 * hours
    wishes = checking.Wishes(dt.datetime.now(), days, forecast_s, devices)
    result = checking.check(
        listed, place, wishes=wishes, renew_consents=renew, on_person=None if as_json else _say
    )
    ready = result.of(checking.Standing.READY)
    following = f"portrait-lora fleet run {roster}" if ready else f"portrait-lora fleet check {roster}"
    answer(result, as_json, _lines(result), following)
    if not result.is_ready:
        raise typer.Exit(errors.EXIT_PHOTOS)


def publish(
    roster: RosterArg,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="output folder; one inside per person")],
    home: FleetHomeOpt = None,
    kind: Annotated[
        Literal["jpeg", "webp", "png"], typer.Option("--as", help="format of the copies")
    ] = "jpeg",
    quality: Annotated[int, typer.Option("--quality", min=1, max=100)] = 92,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="keep file names, which reveal the shot")
    ] = False,
    archives: Annotated[bool, typer.Option("--zip", help="one archive per person, to be sent")] = False,
    audience: Annotated[
        Literal["eu", "anywhere"], typer.Option("--for", help="eu: with the visible label, unless --no-label")
    ] = "anywhere",
    label: Annotated[
        bool | None,
        typer.Option("--label/--no-label", help="the visible label AI in a corner, never over a face"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="PERSON", help="only this person; repeatable")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Deliver the portraits of everybody who was accepted and whose consent holds, with a table of them."""
    from portrait_lora.fleet import deliver

    listed, place = open_roster(roster, home)
    people = {listed.entry(person).person for person in only or []}
    result = deliver.publish(
        listed, place, out, kind, quality=quality, keep_names=keep_names, archives=archives, only=people,
        audience=audience, label=label,
    )  # fmt: skip
    lines = [f"{result.count} of {len(result.people)} people: {out}"]
    lines += [f"  {one.name}: {one.reason}" for one in result.people if one.reason][:_MOST_LINES]
    answer(result, as_json, [*lines, f"The table: {result.table}"], "")
    if not result.count:
        raise typer.Exit(errors.EXIT_FAILED)


def forget(
    roster: RosterArg,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="name or folder name")],
    home: FleetHomeOpt = None,
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help="a store of the fleet [default: all that it has used]"),
    ] = "",
    address: Annotated[
        str, typer.Option("--address", help="Ray cluster of the store [default: all that it has used]")
    ] = "",
    gone: Annotated[
        bool, typer.Option("--clusters-gone", help="the clusters of before exist no more: do not ask them")
    ] = False,
    nodes_gone: Annotated[
        bool, typer.Option("--nodes-gone", help="the nodes that have left a cluster exist no more")
    ] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="also remove copies outside the fleet, and resized ones")
    ] = False,
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="DIR", help="also search this folder; repeatable")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="remove without asking")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Remove everything of one person from the fleet: photos, adapter, portraits, records, deliveries."""
    from portrait_lora.fleet import forget as forgetting
    from portrait_lora.fleet import forget_elsewhere

    listed, place = open_roster(roster, home)
    slug, name, _ = forgetting.resolve(listed, place, person)
    if not yes:
        if not sys.stdin.isatty():
            remedy = "Add --yes to remove without asking."
            raise errors.InputError("cannot prompt: stdin is not a terminal", where=slug, remedy=remedy)
        confirm(f"Forget {name} ({slug})? This cannot be undone.", "Nothing was removed.")
    receipt = forgetting.forget(
        listed, place, person, copies=copies, also=also or (),
        elsewhere=forget_elsewhere.of(
            place, store=store, address=address, clusters_gone=gone, nodes_gone=nodes_gone
        ),
    )  # fmt: skip
    lines = [f"Forgotten: {sum(receipt.files.values())} files, {sum(receipt.bytes.values())} bytes"]
    lines += [f"  jobs: {receipt.jobs}, delivered files: {receipt.delivered}, in stores: {receipt.objects}"]
    if receipt.nodes:
        lines.append(f"  nodes without a copy now: {receipt.nodes}")
    if receipt.copies_left:
        lines.append(f"  copies outside the fleet that stay: {receipt.copies_left}; --copies removes them")
    if receipt.roster_line is not None:
        lines.append(f"  still on the roster: take line {receipt.roster_line} off {roster}")
    answer(receipt, as_json, lines, "")


def open_roster(path: Path, home: Path | None) -> tuple[Roster, Path]:
    """The roster and the folder of its fleet."""
    from portrait_lora.fleet import roster as rosters

    read = rosters.read(path)
    return read, read.home if home is None else home


def _say(row: PersonCheck) -> None:
    """A line as soon as a person is checked: hundreds take a while."""
    terminal.say(terminal.plain(_line(row)), err=True)


def _line(row: PersonCheck) -> str:
    words = row.standing.value.replace("_", " ")
    count = f", {row.accepted} of {row.sent} photos" if row.sent else ""
    return f"{row.name}: {words}{count}"


def _lines(result: RosterCheck) -> list[str]:
    """Who is not ready, and why; the page has all of it."""
    counts = {row.standing: len(result.of(row.standing)) for row in result.people}
    shown = ", ".join(f"{count} {state.value.replace('_', ' ')}" for state, count in counts.items())
    lines = [f"{len(result.people)} people: {shown}"]
    open_rows = [row for row in result.people if row.standing.value not in ("ready", "forgotten")]
    for row in open_rows[:_MOST_LINES]:
        why = row.error.what if row.error else row.consent.problem if row.standing == "needs_consent" else ""
        lines.append(f"  {_line(row)}{f': {why}' if why else ''}")
    if len(open_rows) > _MOST_LINES:
        lines.append(f"  and {len(open_rows) - _MOST_LINES} more")
    for question in result.questions:
        if not question.answer:
            pair = "+".join(question.people)
            lines.append(f"  One person? {' and '.join(question.names)}: --same {pair} or --different {pair}")
    lines += [f"  {remark}" for remark in result.remarks]
    if result.unlisted:
        lines.append(f"  not on the roster any more, and kept: {', '.join(result.unlisted)}")
    lines.append(f"The page: {result.page}")
    return lines


def add(fleet: typer.Typer) -> None:
    """Add these commands to the group."""
    fleet.command()(check)
    fleet.command()(publish)
    fleet.command()(forget)
