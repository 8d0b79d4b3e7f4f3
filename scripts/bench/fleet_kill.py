"""A fleet under random kills of its workers and of its head: everybody finished, the adapters those of `run`.

python -m scripts.bench.fleet_kill --quick                 3 people, 4 kills of a worker and 1 of the head
python -m scripts.bench.fleet_kill --full                  100 people, 30 and 3, the figures of record
python -m scripts.bench.fleet_kill --full --backend ray    the same over Ray
python -m scripts.bench.fleet_kill --full --shorter        the same with the short trainings of --quick
python -m scripts.bench.fleet_kill --full --shortest --people 40    nine photos, three steps and one shot each

People of the studio with shortened training by two workers of one thread each.  The process that trains
somebody is killed with -9 at a random moment, or the head is; the next head is started at once.  What is lost
are steps since the last checkpoint: they are counted from the records, which say how far each start came and
where the next went on.  On a busy machine `--pause` has to be longer, or nobody lives until their first
checkpoint.  What is done is kept under --work, and a run that was stopped goes on there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from portrait_lora import manifest
from portrait_lora.fleet.begin import begin
from portrait_lora.fleet.home import FleetHome, open_home
from portrait_lora.fleet.roster import read
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonRecord
from scripts.bench.fleet_people import CLI, QUICK, SETTINGS, SHORTEST, alone, environment, roster
from scripts.rows import Row, arguments, finish

_PAUSE_S = 0.5


@dataclass
class Kills:
    """How many were done so far; kept in a file, so that a run that was stopped goes on."""

    workers: int = 0
    heads: int = 0


class Campaign:
    """One fleet, its head as a process, and somebody who kills."""

    def __init__(self, listed: Path, home: Path, backend: str, wanted: Kills, seed: int, pause_s: float):
        self.home, self.wanted, self.pause_s = home, wanted, pause_s
        words = ["fleet", "run", str(listed), "--home", str(home), "--backend", backend, "--workers", "2"]
        self.command = [*CLI, *words, "--threads", "1", *(["--device", "cpu"] if backend == "local" else [])]
        self.file = home.with_suffix(".kills.json")
        self.done = Kills(**json.loads(self.file.read_text())) if self.file.is_file() else Kills()
        self.random = random.Random(f"{seed} {self.done}")

    def go(self) -> None:
        """Until a head ends by itself, which it may once all kills are done or nobody is left.

        One that somebody else has killed is started again, as whoever owns the machine would.
        """
        head, due = self._start(), time.monotonic() + self._pause()
        while (ended := head.poll()) is None or ended < 0:
            if ended is not None:
                head = self._start()
            time.sleep(_PAUSE_S)
            if time.monotonic() < due or not (victims := self._victims()):
                continue
            due = time.monotonic() + self._pause()
            if self.done.heads < self.wanted.heads and self.random.random() < self._share_of_heads():
                head.kill()
                head.wait()
                self._count(heads=1)
                head = self._start()
            elif self.done.workers < self.wanted.workers:
                os.kill(self.random.choice(victims), signal.SIGKILL)
                self._count(workers=1)

    def _share_of_heads(self) -> float:
        heads = self.wanted.heads - self.done.heads
        return heads / max(heads + self.wanted.workers - self.done.workers, 1)

    def _pause(self) -> float:
        return self.pause_s * self.random.uniform(0.4, 1.6)

    def _start(self) -> subprocess.Popen[bytes]:
        with self.home.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(self.command, env=environment(1), stdout=log, stderr=log)

    def _count(self, workers: int = 0, heads: int = 0) -> None:
        self.done = Kills(self.done.workers + workers, self.done.heads + heads)
        manifest.write_json_atomic(self.file, asdict(self.done))

    def _victims(self) -> list[int]:
        """The processes that train somebody of this fleet: they hold the lock of a person."""
        locks = self.home / files.LOCKS
        known: list[int] = []
        for entry in Path("/proc").iterdir():
            try:
                targets = [os.readlink(fd) for fd in (entry / "fd").iterdir()] if entry.name.isdigit() else []
            except OSError:  # it has ended, or is somebody else's
                continue
            if any(Path(one).parent == locks and one.endswith(".person") for one in targets):
                known.append(int(entry.name))
        return known


def lost_steps(record: PersonRecord) -> int:
    """Steps that were done twice: how far each start came, less where the next went on."""
    pairs = zip(record.starts, record.starts[1:], strict=False)
    return sum(
        max(a.steps - (b.resumed_from or 0), 0) for a, b in pairs if a.ended and a.ended.value == "lost"
    )


def rows_of(home: FleetHome, done: Kills, wanted: Kills, shas: dict[str, str], wall_s: float) -> list[Row]:
    """The figures."""
    records = home.records()
    people = len(records)
    ended = sum(record.state.value in ("succeeded", "needs_photos") for record in records.values())
    same = sum(records[person].adapter_sha256 == sha for person, sha in shas.items())
    ends = [s.ended.value for r in records.values() for s in r.starts if s.ended]
    return [
        Row("trained, drawn and measured", ended, "people", people, people),
        Row("adapters with the sha256 of `run` alone", same, "people", len(shas), len(shas)),
        Row("workers killed", done.workers, "kills", people, wanted.workers),
        Row("heads killed", done.heads, "kills", people, wanted.heads),
        Row("starts that were lost", ends.count("lost"), "starts", len(ends)),
        Row("starts that saved and stopped", ends.count("interrupted"), "starts", len(ends)),
        Row("failures", sum(r.failures for r in records.values()), "starts", len(ends), 0, at_most=True),
        Row("steps done twice, in all", sum(map(lost_steps, records.values())), "steps", ends.count("lost")),
        Row("device time per person", sum(r.device_s for r in records.values()) / people, "s", people),
        Row("by the clock, this run", wall_s, "s", people),
    ]


def main() -> int:
    """Kill, go on, and compare."""
    parser = arguments("a fleet under kills")
    parser.add_argument("--work", type=Path, default=Path("work/bench_fleet"), help="what is done so far")
    parser.add_argument("--backend", choices=("local", "ray"), default="local")
    parser.add_argument("--people", type=int, default=0, help="instead of 3 or 100")
    parser.add_argument("--shorter", action="store_true", help="with --full: train as shortly as --quick")
    parser.add_argument("--pause", type=float, default=0.0, help="mean seconds between kills")
    parser.add_argument("--shortest", action="store_true", help="journeys of half a minute")
    options = parser.parse_args()
    people = options.people or (100 if options.full else 3)
    # the kills of record are spread over whatever number of people
    wanted, pause_s = (Kills(30, 3), 0.75 * people) if options.full else (Kills(4, 1), 14.0)
    pause_s = options.pause or pause_s
    name, settings = ("quick", QUICK) if options.shorter or not options.full else ("full", SETTINGS)
    name, settings = ("shortest", SHORTEST) if options.shortest else (name, settings)
    work = manifest.make_folder((options.work / name).absolute())
    listed = roster(work, people, settings)
    began = time.monotonic()
    home = work / f"kills-{options.backend}-{people}"
    campaign = Campaign(listed, home, options.backend, wanted, options.seed, pause_s)
    campaign.go()
    wall_s = time.monotonic() - began
    folders = begin(read(listed), work / f"enrolled-{people}", threads=1).home
    shas: dict[str, str] = {}
    for person, record in open_home(home).records().items():  # a second try has another seed
        place = work / f"alone-{people}" / "-".join([person, *record.settings])
        shas[person] = alone(folders.folder(person), place, settings=record.settings)[0]
    return finish(rows_of(open_home(home), campaign.done, wanted, shas, wall_s), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
