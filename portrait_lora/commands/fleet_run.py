"""`fleet run|status|report|retry|work`: the work of a fleet, where it stands, one worker without a head."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portrait_lora import errors, terminal
from portrait_lora.commands.fleet_people import FleetHomeOpt, RosterArg, open_roster
from portrait_lora.commands.options import JsonOpt, answer
from portrait_lora.errors import InputError

if TYPE_CHECKING:
    from portrait_lora.fleet.backend import Backend
    from portrait_lora.fleet.home import FleetHome
    from portrait_lora.fleet.run import Outcome

FleetArg = Annotated[Path, typer.Argument(metavar="ROSTER", help="the roster, or the folder of its fleet")]


def run(
    roster: RosterArg,
    home: FleetHomeOpt = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="people at a time; 0: one per GPU, or per four cores")
    ] = 0,
    device: Annotated[
        str, typer.Option("--device", help="of local workers: auto, cpu, mps or cuda")
    ] = "auto",
    backend: Annotated[
        Literal["local", "ray"], typer.Option("--backend", help="local: devices of this machine; ray: Ray")
    ] = "local",
    address: Annotated[
        str, typer.Option("--address", help="ray: of the cluster [default: one on this machine]")
    ] = "",
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help="ray: for nodes that do not see the folder of the fleet"),
    ] = "",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="threads per person [default: the cores shared by the workers]"
        ),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Train everybody of a roster and draw their portraits, several at a time.

    Killed or stopped, the same command goes on: what is done stays, and at most the steps since the last
    checkpoint are done again.
    """
    from portrait_lora.fleet import local
    from portrait_lora.fleet import run as heads
    from portrait_lora.fleet.begin import begin
    from portrait_lora.fleet.watch import watching

    listed, place = open_roster(roster, home)
    if backend == "local" and (address or store):
        raise InputError("--address and --store go with --backend ray", where="--backend", got=backend)
    devices = [] if address else local.devices_of(workers, device)
    shared = max(local.cores() // max(len(devices), 1), 1)
    usual = 0 if address or any(name.startswith("cuda") for name in devices) else shared
    begun = begin(listed, place, threads=threads, usual_threads=usual)
    for one in begun.people:
        for note in ([str(one.problem)] if one.problem else []) + list(one.notes):
            terminal.say(terminal.plain(f"{one.entry.person}: {note}"), err=True)

    def open_backend() -> Backend:
        if backend == "local":
            return local.LocalBackend(begun.home, devices)
        from portrait_lora.fleet.ray import RayBackend
        from portrait_lora.fleet.ray_cluster import RayPlace

        wanted = workers if address else len(devices)
        gpus = 0.0 if device == "cpu" else None
        return RayBackend(begun.home.path, RayPlace(address, wanted, gpus=gpus, store=store))

    with watching(begun.home, workers=len(devices)) as watcher:
        outcome = heads.run(begun.home, open_backend, on_event=watcher)
    _answer(begun.home, outcome, as_json, shlex.join(["portrait-lora", "fleet", "status", str(roster)]))


def _answer(home: FleetHome, outcome: Outcome, as_json: bool, following: str) -> None:
    from portrait_lora.fleet import report, words

    page = report.write(home)
    records = home.records()
    left = [f"{person} was left waiting: {why}" for person, why in outcome.left.items()]
    lines = [*words.needs([*records.values()]), *left, words.summary(home, records)]
    lines.append(f"The page: {page}")
    value = outcome.json_value() | {"people": {p: r.model_dump(mode="json") for p, r in records.items()}}
    answer(value, as_json, lines, following)
    if code := _exit_code(outcome):
        raise typer.Exit(code)


def _exit_code(outcome: Outcome) -> int:
    """1 where the fleet failed somebody, 3 where people have to send something."""
    if outcome.left or outcome.states.get("set_aside"):
        return errors.EXIT_FAILED
    lacking = outcome.states.get("needs_photos", 0) + outcome.states.get("needs_consent", 0)
    return errors.EXIT_PHOTOS if lacking else errors.EXIT_DONE


def status(fleet: FleetArg, home: FleetHomeOpt = None, as_json: JsonOpt = False) -> None:
    """Show where everybody of a fleet stands."""
    from portrait_lora.fleet import words
    from portrait_lora.fleet.forecast import forecast
    from portrait_lora.fleet.home import open_home
    from portrait_lora.fleet.report import forecast_line

    opened = open_home(home or home_of(fleet))
    records = opened.records()
    expected = forecast(records)
    value = {
        "home": str(opened.path),
        "counts": {state.value: number for state, number in words.counts(records).items()},
        "device_hours": round(words.device_hours(records), 4),
        "forecast": expected.json_value(),
        "people": {person: record.model_dump(mode="json") for person, record in records.items()},
    }
    lines = [*words.table(records), words.summary(opened, records)]
    lines += filter(None, [forecast_line(expected, opened.plan.price_per_hour)])
    answer(value, as_json, lines, "")


def report(fleet: FleetArg, home: FleetHomeOpt = None, as_json: JsonOpt = False) -> None:
    """Write the page and the tables of a fleet: everybody's portraits, groups, and all figures."""
    from portrait_lora.fleet import report as reports
    from portrait_lora.fleet import tables
    from portrait_lora.fleet.home import open_home

    opened = open_home(home or home_of(fleet))
    page = reports.write(opened)
    written = tables.names(opened.reports)
    value = {"page": str(page), "tables": [str(path) for path in written]}
    answer(value, as_json, [f"The page: {page}", *(f"Table: {path}" for path in written)], "")


def retry(
    fleet: FleetArg,
    people: Annotated[
        list[str] | None, typer.Argument(metavar="[PERSON]...", help="whom [default: all who were set aside]")
    ] = None,
    home: FleetHomeOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Let people who were set aside, or who need other photos, be tried again from the start."""
    from portrait_lora.fleet.home import open_home
    from portrait_lora.tasks.shard import retrying
    from portrait_lora.tasks.shard.records import PersonState

    place = home or home_of(fleet)
    opened = open_home(place)
    aside = [p for p, r in opened.records().items() if r.state is PersonState.SET_ASIDE]
    again = [retrying.retry(opened.path, opened.plan, person).person for person in (people or aside)]
    lines = [f"{person}: waiting" for person in again] or ["Nobody was set aside."]
    following = shlex.join(["portrait-lora", "fleet", "run", opened.plan.roster, *_named(opened, home)])
    answer({"people": again}, as_json, lines, following if again else "")


def work(
    home: Annotated[str, typer.Argument(metavar="HOME", help="folder of a fleet, or its address in a store")],
    people: Annotated[
        list[str] | None, typer.Argument(metavar="[PERSON]...", help="whom [default: everybody]")
    ] = None,
    part: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="begin with every N-th person, from the I-th on")
    ] = "",
    worker: Annotated[
        str, typer.Option("--worker", help="name in the records [default: of this machine]")
    ] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, mps, cuda or cuda:N")] = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Be one worker of a fleet: for job files of Slurm, Kubernetes and the like.

    Any number of workers may do this at a time; whom another one works on is left alone.
    """
    from portrait_lora.fleet import worker as workers

    ended = workers.work(home, people or [], part=part, worker=worker, device=device)
    lines = [f"{person}: {record.state}" for person, record in ended.items()] or ["Nobody is left to do."]
    answer({p: r.model_dump(mode="json") for p, r in ended.items()}, as_json, lines, "")
    if any(record.state.value in ("set_aside", "waiting") for record in ended.values()):
        raise typer.Exit(errors.EXIT_FAILED)


def home_of(roster: Path) -> Path:
    """The folder of the fleet of a roster; the folder itself when it is named."""
    from portrait_lora.tasks.shard import plan

    if (roster / plan.FILE).is_file():
        return roster
    return roster.absolute().parent / f"{roster.stem}-fleet"


def _named(opened: FleetHome, home: Path | None) -> list[str]:
    return [] if home is None else ["--home", str(opened.path)]


def add(fleet: typer.Typer) -> None:
    """Add these commands."""
    for command in (run, status, report, retry, work):
        fleet.command()(command)
