"""`fleet jobs|fetch`: files for schedulers that start workers themselves, and what those have done."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora import terminal
from portrait_lora.commands.options import JsonOpt, answer

RosterArg = Annotated[Path, typer.Argument(metavar="ROSTER", help="CSV or YAML file of people")]
HomeOpt = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="folder of the fleet [default: ROSTER-fleet]")
]
StoreOpt = Annotated[
    str,
    typer.Option("--store", metavar="URL", help="for workers that do not see the folder: s3://bucket/fleet"),
]


def jobs(
    roster: RosterArg,
    system: Annotated[
        Literal["slurm", "kubernetes", "skypilot"], typer.Option("--for", help="what starts the workers")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the files")],
    shards: Annotated[int, typer.Option("--shards", min=1, help="workers in all")],
    at_once: Annotated[int, typer.Option("--at-once", min=0, help="workers at a time; 0: all")] = 0,
    home: HomeOpt = None,
    store: StoreOpt = "",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="threads per person [default: --cpus]")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of a worker; 0: none")] = 1,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="cores of a worker")] = 4,
    memory_gb: Annotated[int, typer.Option("--memory-gb", min=1, help="memory of a worker")] = 16,
    hours: Annotated[int, typer.Option("--hours", min=1, help="Slurm: time limit of a worker")] = 24,
    partition: Annotated[str, typer.Option("--partition", help="Slurm: partition")] = "",
    image: Annotated[str, typer.Option("--image", help="Kubernetes, SkyPilot: container image")] = "",
    volume: Annotated[
        str, typer.Option("--volume", metavar="CLAIM", help="Kubernetes: claim whose root is the folder")
    ] = "",
    secret: Annotated[
        str, typer.Option("--secret", help="Kubernetes: secret with the store's credentials")
    ] = "",
    accelerator: Annotated[str, typer.Option("--accelerator", help="SkyPilot: GPU, such as A100")] = "",
    as_json: JsonOpt = False,
) -> None:
    """Write job files that start workers of a fleet on Slurm, Kubernetes or SkyPilot.

    With --store everybody's photos go there first, and `fleet fetch` brings back what was made.
    """
    from portrait_lora.commands.fleet_run import home_of
    from portrait_lora.fleet import job_files, store_moves
    from portrait_lora.fleet.begin import begin
    from portrait_lora.fleet.roster import read

    machines = job_files.Machines(
        shards, at_once, gpus, cpus, memory_gb, hours, accelerator, partition, image, volume, secret
    )
    place = home or home_of(roster)
    address = store or str(place.absolute())
    texts = job_files.files_for(system, roster.stem, address, machines)  # what is wrong is told first
    begun = begin(read(roster), place, threads=threads, usual_threads=0 if gpus else cpus)
    for one in begun.people:
        for note in ([str(one.problem)] if one.problem else []) + list(one.notes):
            terminal.say(terminal.plain(f"{one.entry.person}: {note}"), err=True)
    if store:
        store_moves.send(begun.home.path, store, begun.home.people)
    paths = [str(path) for path in job_files.write(out, texts)]
    value = {"home": address, "files": paths, "people": len(begun.home.people)}
    answer(value, as_json, paths, _start(system, paths))


def _start(system: str, paths: list[str]) -> str:
    """The command that starts the workers."""
    first = {"slurm": "sbatch", "kubernetes": "kubectl create -f", "skypilot": "bash"}[system]
    return f"{first} {shlex.quote(paths[-1])}"


def fetch(
    roster: RosterArg,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="where the workers put it")],
    home: HomeOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Bring what workers have made so far from a store into the folder of the fleet."""
    from portrait_lora.commands.fleet_run import home_of
    from portrait_lora.fleet import store_moves
    from portrait_lora.fleet.home import open_home

    opened = open_home(home or home_of(roster))
    changed = store_moves.bring(opened.path, store, opened.people)
    lines = [f"{person}: there is news" for person in changed] or ["Nothing is new."]
    following = shlex.join(["portrait-lora", "fleet", "status", str(roster)])
    answer({"changed": changed}, as_json, lines, following)


def add(fleet: typer.Typer) -> None:
    """Add these commands."""
    for command in (jobs, fetch):
        fleet.command()(command)
