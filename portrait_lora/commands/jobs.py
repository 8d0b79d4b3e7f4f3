"""The queue of jobs on the command line: `jobs list|show|add|cancel|resume|move|watch|work`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait_lora import errors, terminal
from portrait_lora.commands.options import START, JsonOpt, SetOpt, SyntheticOpt, answer, collect_overrides
from portrait_lora.commands.paths import need_file
from portrait_lora.commands.readiness import ConsentOpt, SubjectOpt
from portrait_lora.errors import InputError

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Event, Job
    from portrait_lora.jobs.queue import Queue

HomeOpt = Annotated[Path, typer.Option("--home", metavar="DIR", help="folder of the studio")]
JobArg = Annotated[str, typer.Argument(metavar="JOB", help="id of a job")]
HOME = Path("studio")
_POLL_S = 0.3
_SECONDS_PER_LINE = 5.0


def list_jobs(
    home: HomeOpt = HOME,
    states: Annotated[
        list[str] | None, typer.Option("--state", help="only this state, such as queued; repeatable")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="most finished jobs")] = 20,
    as_json: JsonOpt = False,
) -> None:
    """List jobs: what runs, what waits in its order, and what has ended last."""
    from portrait_lora.jobs import words
    from portrait_lora.jobs.job import JobState

    queue = _open(home)
    for state in states or []:
        if state not in [*JobState]:
            raise InputError("not a state", where="--state", got=state, needed=", ".join(JobState))
    if states:
        jobs = queue.list(states=states, limit=limit)
    else:
        over = [state for state in JobState if state not in (JobState.QUEUED, JobState.RUNNING)]
        running = queue.list(states=[JobState.RUNNING], limit=1000)
        jobs = [*running, *queue.waiting(), *queue.list(states=over, limit=limit)]
    value = {"counts": queue.counts(), "jobs": [job.json_value() for job in jobs]}
    first = next((job for job in jobs if job.state is JobState.RUNNING), None)
    answer(value, as_json, words.table(jobs), _next("watch", home, first.id) if first else "")


def show(job: JobArg, home: HomeOpt = HOME, as_json: JsonOpt = False) -> None:
    """Show one job: its arguments, state, times, error, and what it logged last."""
    from portrait_lora.jobs import words

    queue = _open(home)
    shown, happened = queue.get(job), queue.events(job, limit=10_000)
    value = shown.json_value() | {"events": [event.json_value() for event in happened]}
    logged = [words.line(event) for event in happened if event.kind in ("log", "metric")][-8:]
    lines = [*words.facts(shown), *(["", *logged] if logged else [])]
    following = "" if shown.state.is_over else _next("watch", home, job)
    answer(value, as_json, lines, following)


def add(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="what to do, such as check, train or generate")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="likeness folder; of demo, the new one")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG=VALUE]...", help="arguments of this kind")
    ] = None,
    priority: Annotated[int, typer.Option("--priority", help="-100 to 100; higher goes first")] = 0,
    device: Annotated[str, typer.Option("--device", help="only on this device, such as cuda:1")] = "",
    key: Annotated[
        str, typer.Option("--key", help="the same key again gives the same job instead of a second one")
    ] = "",
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    home: HomeOpt = HOME,
    as_json: JsonOpt = False,
) -> None:
    """Put a job into the queue; `jobs work` or `web` does it."""
    need_file(consent, "consent")
    from portrait_lora.jobs.queue import Queue

    values = _arguments(arguments or [])
    values |= {"settings": settings} if settings else {}
    values |= {"allow_synthetic_models": True} if allow_synthetic else {}
    if subject or consent:
        _record_consent(folder, collect_overrides(settings, allow_synthetic), subject, consent)
    job = Queue(home).submit(kind, folder, values, priority=priority, device=device, key=key)
    answer(job.json_value(), as_json, [f"{job.id}: {job.kind} {job.folder}"], _next("watch", home, job.id))


def _record_consent(folder: Path, overrides: list[str], subject: bool, file: Path | None) -> None:
    from portrait_lora import likeness
    from portrait_lora.commands.readiness import record_consent

    opened = likeness.open_likeness(folder, overrides)
    record_consent(folder, subject, file, opened.config.subject.name)


def _arguments(pairs: Sequence[str]) -> dict[str, object]:
    """`ARG=VALUE` pairs, values as in YAML; an argument that comes again makes a list."""
    from portrait_lora import strict_yaml

    values: dict[str, object] = {}
    for pair in pairs:
        name, sep, text = pair.partition("=")
        if not sep or not name.strip():
            raise InputError("not an argument", where=pair, needed="ARG=VALUE")
        value, name = strict_yaml.parse(text, name, "value"), name.strip()
        if name in values:
            before = values[name]
            value = [*(before if isinstance(before, list) else [before]), value]
        values[name] = value
    return values


def cancel(job: JobArg, home: HomeOpt = HOME, as_json: JsonOpt = False) -> None:
    """Stop a job: a waiting one at once, a running one within a step, with its state saved."""
    after = _open(home).cancel(job)
    line = (
        f"{job}: stopping" if after.cancel_requested and not after.state.is_over else f"{job}: {after.state}"
    )
    answer(after.json_value(), as_json, [line], _next("resume", home, job))


def resume(job: JobArg, home: HomeOpt = HOME, as_json: JsonOpt = False) -> None:
    """Queue a job again that was cancelled or interrupted or failed: it goes on where it was."""
    after = _open(home).resume(job)
    answer(after.json_value(), as_json, [f"{job}: {after.state}"], _next("watch", home, job))


def move(
    job: JobArg,
    before: Annotated[str, typer.Option("--before", metavar="JOB", help="the job that it goes before")] = "",
    priority: Annotated[int | None, typer.Option("--priority", help="-100 to 100; higher goes first")] = None,
    home: HomeOpt = HOME,
    as_json: JsonOpt = False,
) -> None:
    """Change the order of waiting jobs; without an option the job goes to the end."""
    if before and priority is not None:
        raise typer.BadParameter("use either --before or --priority")
    from portrait_lora.jobs import words

    queue = _open(home)
    after = queue.move(job, before=before) if priority is None else queue.set_priority(job, priority)
    answer(after.json_value(), as_json, words.table(queue.waiting()), "")


def watch(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="default: the one that runs, or the next one")
    ] = "",
    home: HomeOpt = HOME,
    as_json: Annotated[bool, typer.Option("--json", help="print every event as a line of JSON")] = False,
) -> None:
    """Follow a job until it is over; exits as its command would."""
    queue = _open(home)
    if not job:
        running = queue.list(states=["running"], limit=1) or queue.waiting(1)
        if not running:
            raise InputError("no job runs or waits", where=home, remedy="See: portrait-lora jobs list")
        job = running[0].id
    try:
        now = _follow(queue, job, as_json)
    except KeyboardInterrupt:
        stop = _next("cancel", home, job)
        raise typer.Abort(f"Not watched any more; the job goes on. To stop it: {stop}") from None
    if now.error and not as_json:
        terminal.say(f"Error: {now.error['message']}", err=True)
    if now.exit_code or now.state != "succeeded":
        raise typer.Exit(now.exit_code or errors.EXIT_INTERRUPTED)


def _follow(queue: Queue, job: str, as_json: bool) -> Job:
    """Print the events of a job until it is over; the job as it then stands."""
    last, shown_at = 0, float("-inf")
    while True:
        now = queue.get(job)
        while happened := queue.events(job, last):
            last = happened[-1].number
            shown_at = _tell(happened, as_json, shown_at)
        if now.state.is_over:
            return now
        time.sleep(_POLL_S)


def _tell(happened: Sequence[Event], as_json: bool, shown_at: float) -> float:
    """Print events, of a bar a line now and then; when one was printed last (monotonic seconds)."""
    from portrait_lora.jobs import words

    for event in happened:
        if as_json:
            terminal.say(terminal.json_text(event.json_value()))
            continue
        if event.kind == "progress" and "label" in event.data:
            ended = event.data.get("done") == event.data.get("total")
            if not ended and time.monotonic() - shown_at < _SECONDS_PER_LINE:
                continue
            shown_at = time.monotonic()
        if text := words.line(event):
            terminal.say(terminal.plain(text))
    return shown_at


def work(
    home: HomeOpt = HOME,
    devices: Annotated[
        list[str] | None,
        typer.Option("--device", help="auto (the default), cpu, mps, cuda or cuda:N; repeatable"),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="end when nothing is left that could run here")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Do the jobs of the queue, one at a time per device, until Ctrl-C.

    What runs then stops within a step with its state saved, and goes on when this is started again.
    """
    from portrait_lora.jobs.queue import Queue
    from portrait_lora.jobs.runner import AUTO, Runner

    queue = Queue(home)
    runner = Runner(queue, devices or [AUTO])
    terminal.say(f"Working on the jobs of {home} on {', '.join(runner.devices)}; Ctrl-C stops.", err=True)
    runner.run_forever(until_idle=until_idle)
    counts = queue.counts()
    lines = [", ".join(f"{number} {state}" for state, number in counts.items() if number) or "no jobs"]
    answer({"counts": counts}, as_json, lines, _next("list", home))


def _open(home: Path) -> Queue:
    """The queue of a home; `InputError` where there is none yet: nothing is made by looking."""
    from portrait_lora.jobs import store

    if not (home / store.FILE).is_file():
        remedy = "Name its home with --home, or add a job: portrait-lora jobs add KIND DIR"
        raise InputError("no jobs here", where=home, got=f"no {store.FILE}", remedy=remedy)
    from portrait_lora.jobs.queue import Queue

    return Queue(home)


def _next(command: str, home: Path, job: str = "") -> str:
    import shlex

    words = ["portrait-lora", "jobs", command, *([job] if job else [])]
    return shlex.join([*words, *([] if home == HOME else ["--home", str(home)])])


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Queue of jobs: add, watch, stop, resume.", no_args_is_help=True)
    group.command("list")(list_jobs)
    for command in (show, add, cancel, resume, move, watch, work):
        group.command()(command)
    app.add_typer(group, name="jobs", rich_help_panel=START)
