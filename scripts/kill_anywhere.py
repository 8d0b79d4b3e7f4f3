"""Every command that writes, killed anywhere: continued, it must end byte for byte as one nobody had killed.

python -m scripts.kill_anywhere --quick                      30 kills, two per command
python -m scripts.kill_anywhere --full                       200 kills over all commands, the figure of record
python -m scripts.kill_anywhere --commands train,forget --kills 40

The commands are run one after the other on a made-up person, in children forked from a process that has the
libraries loaded.  A child is killed at its n-th change of a file (before an open for writing, a rename, a
removal, a new folder; or some milliseconds after it, in the middle of a write), or after a random time.  The
same command is then given again, up to three times killed again, until it ends.  The whole folder, originals
and exports included, is compared with that of a run nobody disturbed; seconds and dates are left out.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from portrait_lora import cli, manifest
from scripts.rows import Row, Table, arguments

FEW: Final = (
    "base=embedded", "face_pack=embedded", "training.rank=2", "training.targets=attention",
    "training.exposures_per_photo=1", "training.checkpoints=2", "select.probes=1", "generate.per_shot=1",
    "generate.num_inference_steps=1", "generate.batch_size=4",
)  # fmt: skip
MUTATIONS: Final = frozenset(
    ["os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"]
)
MOST_IN_A_ROW: Final = 3
GOOD_PHOTOS: Final = 8
DELAY_S: Final = 0.01
"""A write that was begun takes about so long."""
LIMIT_S: Final = 900.0
TIMED: Final = frozenset(
    ["seconds", "resumed_from", "skipped", "peak_memory_mb", "seconds_per_portrait", "on", "date", "fetched"]
)
"""Keys of JSON files whose values tell of time, or of how often a run was interrupted."""

Work = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Kill:
    """At the `event`-th change of a file and `delay_s` later, or `after_s` from the start."""

    event: int | None = None
    delay_s: float = 0.0
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A command that nobody killed: what it left, how often it changed a file, how long it took."""

    code: int
    files: Mapping[str, str]
    events: int
    seconds: float


@dataclass
class Tally:
    """Of one command."""

    kills: int = 0
    at_a_change: int = 0
    ends: int = 0
    same: int = 0
    differences: list[str] = field(default_factory=list)


class _Plan:
    """What the audit hook of a child does; in the parent it does nothing."""

    def __init__(self) -> None:
        self.kill: Kill | None = None
        self.root, self.events, self.counted = "", 0, None

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self.root and _changes(event, given, self.root):
            self.events += 1
            kill = self.kill
            if kill is not None and self.events == kill.event:
                if kill.delay_s:  # SIGALRM's own action ends the process as abruptly
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.setitimer(signal.ITIMER_REAL, kill.delay_s)
                else:
                    os.kill(os.getpid(), signal.SIGKILL)


def _changes(event: str, given: tuple[Any, ...], root: str) -> bool:
    if event == "open":
        flags = given[2] if isinstance(given[2], int) else 0
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return False
    elif event not in MUTATIONS:
        return False
    path = given[0]
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(root)


_plan = _Plan()


def in_child(work: Work, root: Path, kill: Kill | None = None) -> tuple[int | None, int]:
    """Exit code of the work in a forked child (None when it was killed), and its changes of files.

    Raises `RuntimeError` for a child that hangs.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _quiet()
            _plan.root, _plan.kill, _plan.events = str(root), kill, 0
            code = work()
        finally:
            _plan.root = ""
            os.write(write, str(_plan.events).encode())
            os._exit(code)
    os.close(write)
    started, status = time.monotonic(), 0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        spent = time.monotonic() - started
        if kill is not None and kill.after_s is not None and spent >= kill.after_s:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        if spent > LIMIT_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RuntimeError(f"a child hangs after {kill}")
        time.sleep(0.002)
    with os.fdopen(read, "rb") as pipe:
        events = int(pipe.read() or 0)
    return (None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), events


def _quiet() -> None:
    """The child's words go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if "KILL_ANYWHERE_VERBOSE" not in os.environ:
        os.dup2(nowhere, 2)
    torch.set_num_threads(1)


def contents(root: Path) -> dict[str, str]:
    """Relative path → digest of every file, without what tells of time."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(root).as_posix(): _digest(p) for p in files}


def _digest(path: Path) -> str:
    if path.suffix == ".json":
        try:
            value: object = json.loads(path.read_bytes())
        except ValueError:
            return manifest.sha256_file(path)
        if re.fullmatch(r"series-.*\.json", path.name) and isinstance(value, dict):
            value = sorted(value)  # seconds by picture
        return manifest.digest(_timeless(value))
    if path.suffix == ".html":
        return manifest.digest(re.sub(r"\d+(\.\d+)? s\b", "", path.read_text(encoding="utf-8")))
    return manifest.sha256_file(path)


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMED}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def undisturbed(work: Work, before: Path, world: Path) -> Undisturbed:
    """Run a command on a copy of the state before it."""
    _restore(before, world)
    started = time.monotonic()
    code, events = in_child(work, world)
    seconds = time.monotonic() - started
    if code is None:
        raise RuntimeError("an undisturbed run was killed")
    return Undisturbed(code, contents(world), events, seconds)


def _restore(before: Path, world: Path) -> None:
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(before, world, symlinks=True)


def plans(expected: Undisturbed, rng: random.Random) -> Iterator[Kill]:
    """Two of three kills at a change of a file, every other one of these a little after it."""
    number = 0
    while True:
        number += 1
        if number % 3 == 0 or not expected.events:
            yield Kill(after_s=rng.uniform(0.0, expected.seconds))
        else:
            delay_s = rng.uniform(0.0, DELAY_S) if number % 3 == 2 else 0.0
            yield Kill(event=rng.randint(1, expected.events), delay_s=delay_s)


def kill_command(
    work: Work, before: Path, world: Path, expected: Undisturbed, kills: int, rng: random.Random
) -> Tally:
    """Kill a command `kills` times, and compare whenever it has ended."""
    tally, planned = Tally(), plans(expected, rng)
    while tally.kills < kills:
        _restore(before, world)
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
        found = contents(world)
        if code == expected.code and found == expected.files:
            tally.same += 1
        else:
            odd = sorted(n for n in {*found, *expected.files} if found.get(n) != expected.files.get(n))
            tally.differences.append(f"{killed}: exit {code}, {', '.join(odd[:8])}")
    return tally


def command(*argv: str) -> Work:
    """A command line of the program."""

    def work() -> int:
        sys.argv = ["portrait-lora", *argv]
        return cli._run(cli.app)

    return work


def commands(world: Path, address: str) -> dict[str, Work]:
    """The commands by name, each beginning where the one before has ended."""
    me, portrait = str(world / "me"), str(world / "me/portraits/headshots/01-classic.png")
    few = [word for setting in FEW for word in ("-s", setting)]
    return {
        "init": command("init", me, "--photos", str(world / "originals"), *few),
        "check": command("check", me),
        "prepare": command("prepare", me),
        "train": command("train", me),
        "retrain": command("train", me, "-s", "training.learning_rate=0.001"),
        "select": command("train", me, "-s", "training.learning_rate=0.001", "-s", "select.probes=2"),
        "generate": command("generate", me, *_ADAPTER),
        "score": command("score", me, *_ADAPTER),
        "fix": command("fix", portrait, "--region", "eyes", "--tries", "1", *_ADAPTER),
        "publish": command("publish", portrait, "--out", str(world / "published")),
        "export": command("export", me, "--for", "comfy", "--out", str(world / "exports")),
        "dataset export": command("dataset", "export", me, "--out", str(world / "kohya")),
        "dataset import": command("dataset", "import", str(world / "kohya"), str(world / "imported")),
        "pull": _pull(world, address),
        "forget": command("forget", me, "--yes"),
    }


_ADAPTER: Final = ("-s", "training.learning_rate=0.001", "-s", "select.probes=2")


def _pull(world: Path, address: str) -> Work:
    """Fetch a small base from a hub on this machine."""

    def work() -> int:
        from dataclasses import replace

        from portrait_lora.care import pull
        from portrait_lora.families import bases, catalog
        from portrait_lora.hub import Hub

        sd15 = next(b for b in bases.BASES if b.name == "sd15")
        row = replace(sd15, name="tiny", repo="maker/tiny", generate_repo="maker/tiny", download_gb=0.001)
        catalog.BASES = (*bases.BASES, row)  # pyright: ignore[reportConstantRedefinition]
        pull.pull("tiny", world / "me", Hub(address, world / "cache", wait_s=0.0))
        return 0

    return work


@contextmanager
def hub(work: Path) -> Iterator[str]:
    """A hub with a tiny base, in a process of its own; its address."""
    from tests.local_hub import LocalHub, serving
    from tests.tiny_models import make_tiny_sd

    folder = make_tiny_sd(work / "tiny")
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with serving(LocalHub({"maker/tiny": files})) as running:
            os.write(write, running.address.encode())
            os.close(write)
            while os.getppid() != 1:
                time.sleep(0.5)
        os._exit(0)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            address = pipe.read().decode()
        yield address
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def make_originals(folder: Path, seed: int) -> None:
    """A few photos of a made-up person, one of which is refused."""
    from portrait_lora.synthetic.photos import make_reference_set

    planted = make_reference_set(seed, folder).planted
    good = sorted(p.name for p in folder.iterdir() if p.name not in planted)
    wanted = {*good[:GOOD_PHOTOS], *sorted(planted)[-1:]}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def measure(work: Path, names: Sequence[str], kills: int, seed: int, table: Table) -> None:
    """Go through the commands; rows are told as they are known."""
    world, before = work / "world", work / "before"
    before.mkdir(parents=True)
    _warm()
    make_originals(before / "originals", seed)
    total = 0
    with hub(work) as address:
        every = commands(world, address)
        wanted = [name for name in every if name in names] if names else list(every)
        shares = _shares(kills, len(wanted))
        for name, job in every.items():
            expected = undisturbed(job, before, world)
            if name in wanted:
                rng = random.Random(f"{seed} {name}")
                again = undisturbed(job, before, world)
                alike = again.files == expected.files and again.code == expected.code
                tally = kill_command(job, before, world, expected, shares[wanted.index(name)], rng)
                total += tally.kills
                print(f"# {name}: exit {expected.code}, {expected.events} changes, {expected.seconds:.1f} s")
                for line in tally.differences:
                    print(f"#   {line}")
                table.add(
                    [
                        Row(f"{name}: twice alike undisturbed", float(alike), "", 2, 1.0),
                        Row(f"{name}: ends alike", tally.same / max(tally.ends, 1), "share", tally.ends, 1.0),
                        Row(f"{name}: kills at a change of a file", tally.at_a_change, "", tally.kills),
                    ]
                )
                _restore(before, world)
                in_child(job, world)
            shutil.rmtree(before)
            os.rename(world, before)
            if name == wanted[-1]:
                break
    table.add([Row("kills", total, "", total, kills)])


def _shares(kills: int, parts: int) -> list[int]:
    return [kills // parts + (i < kills % parts) for i in range(parts)]


def _warm() -> None:
    """Load before forking what every child would load."""
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from portrait_lora import recipe, summaries  # noqa: F401
    from portrait_lora.care import export, forget, pull  # noqa: F401
    from portrait_lora.stages import editing, exchange  # noqa: F401
    from portrait_lora.training import loop  # noqa: F401


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help="30, or 200 with --full")
    parser.add_argument("--commands", default="", help="only these, separated by commas")
    parser.add_argument("--work", type=Path, default=None, help="an empty folder that stays, to look at")
    given = parser.parse_args()
    kills = given.kills if given.kills is not None else 200 if given.full else 30
    names = [name.strip() for name in given.commands.split(",") if name.strip()]
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # threads do not survive a fork
    sys.addaudithook(_plan)
    table = Table(given.json)
    with tempfile.TemporaryDirectory() as temporary:
        measure(given.work or Path(temporary), names, kills, given.seed, table)
    sys.exit(table.code())


if __name__ == "__main__":
    main()
