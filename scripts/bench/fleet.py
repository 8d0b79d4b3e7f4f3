"""What a fleet costs beside `portrait-lora run`: overhead per person, the same adapters, and linear growth.

python -m scripts.bench.fleet --quick     3 people alone and by one worker
python -m scripts.bench.fleet --full      6 people so; then 10, 25 and 50 by two workers
python -m scripts.bench.fleet --full --shortest   the 10, 25 and 50 with nine photos, three steps, one shot

People of the studio with shortened training, on the processor, one thread each.  Overhead is everything from
the roster on: enrolling, the head, the queue, and a process per person, against `portrait-lora run` for each
of the same people.  What is measured is kept under --work, and a run that was stopped goes on there.  Beyond
50 people the schedule is simulated: `python -m scripts.bench.fleet_simulation --seconds MEAN`.
"""

from __future__ import annotations

import json
from pathlib import Path

from portrait_lora import manifest
from portrait_lora.fleet.begin import begin
from portrait_lora.fleet.home import FleetHome, open_home
from portrait_lora.fleet.roster import read
from scripts.bench import fleet_simulation
from scripts.bench.fleet_people import CLI, QUICK, SETTINGS, SHORTEST, Spent, alone, roster, timed
from scripts.rows import Row, Table, arguments

MOST_OVERHEAD = 3.0
MOST_GROWTH = 10.0


def by_fleet(listed: Path, home: Path, workers: int) -> Spent:
    """The whole of `fleet run`; what was measured already is not done again."""
    record = home / "spent.json"
    if record.is_file():
        return Spent(**json.loads(record.read_text()))
    words = ["fleet", "run", str(listed), "--home", str(home), "--workers", str(workers)]
    spent = timed([*CLI, *words, "--device", "cpu", "--threads", "1", "--json"])
    manifest.write_json_atomic(record, {"wall_s": spent.wall_s, "cpu_s": spent.cpu_s})
    return spent


def overhead(work: Path, people: int, settings: tuple[str, ...]) -> list[Row]:
    """The same people alone and by a fleet of one worker, one after the other."""
    listed = roster(work, people, settings)
    folders = begin(read(listed), work / f"enrolled-{people}", threads=1).home
    each = [alone(folders.folder(p), work / f"alone-{people}" / p) for p in folders.people]
    spent = by_fleet(listed, work / f"one-worker-{people}", 1)
    home = open_home(work / f"one-worker-{people}")
    wall, cpu = sum(one.wall_s for _, one in each), sum(one.cpu_s for _, one in each)
    shas = [record.adapter_sha256 for record in home.records().values()]
    same = sum(sha == one for sha, (one, _) in zip(shas, each, strict=True))
    return [
        Row("seconds per person, alone", wall / people, "s", people),
        Row(
            "overhead by the clock", 100 * (spent.wall_s / wall - 1), "%", people, MOST_OVERHEAD, at_most=True
        ),
        Row(
            "overhead in processor time",
            100 * (spent.cpu_s / cpu - 1),
            "%",
            people,
            MOST_OVERHEAD,
            at_most=True,
        ),
        Row("adapters as of `run` alone", same, "people", people, people),
    ]


def growth(work: Path, sizes: tuple[int, ...], settings: tuple[str, ...]) -> list[Row]:
    """Device time and processor time per person with more and more people, by two workers."""
    rows: list[Row] = []
    each: list[float] = []
    for size in sizes:
        spent = by_fleet(roster(work, size, settings), work / f"two-workers-{size}", 2)
        home = open_home(work / f"two-workers-{size}")
        each.append(spent.cpu_s / size)
        rows.append(Row(f"{size} people by two workers: processor time each", each[-1], "s", size))
        rows.append(Row("  by the clock, each", spent.wall_s / size, "s", size))
        rows.append(Row("  not succeeded", size - _succeeded(home), "people", size, 0, at_most=True))
    spread = 100 * (max(each) / min(each) - 1)
    name = f"processor time per person, {sizes[0]} to {sizes[-1]}: spread"
    return [*rows, Row(name, spread, "%", len(each), MOST_GROWTH, at_most=True)]


def _succeeded(home: FleetHome) -> int:
    return sum(record.state.value == "succeeded" for record in home.records().values())


def main() -> int:
    """Measure and print."""
    parser = arguments("overhead and growth of a fleet")
    parser.add_argument("--work", type=Path, default=Path("work/bench_fleet"), help="what was measured")
    parser.add_argument("--shortest", action="store_true", help="the growth with journeys of half a minute")
    parser.add_argument("--people", type=int, default=0, help="for the overhead, instead of 3 or 6")
    options = parser.parse_args()
    people = options.people or (6 if options.full else 3)
    work = manifest.make_folder((options.work / ("full" if options.full else "quick")).absolute())
    table = Table(options.json, width=62)
    table.add(overhead(work, people, SETTINGS if options.full else QUICK))
    if options.full:
        settings, place = (SHORTEST, options.work / "shortest") if options.shortest else (SETTINGS, work)
        table.add(growth(manifest.make_folder(place.absolute()), (10, 25, 50), settings))
    table.add(fleet_simulation.rows_of(options.seed, table.rows[0].value))
    return table.code()


if __name__ == "__main__":
    raise SystemExit(main())
