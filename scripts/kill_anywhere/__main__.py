"""Every command that writes, killed anywhere: continued, it must end byte for byte as one nobody had killed.

python -m scripts.kill_anywhere --quick                      32 kills, two per command
python -m scripts.kill_anywhere --full                       200 kills over all commands, the figure of record
python -m scripts.kill_anywhere --commands train,forget --kills 40

The commands are run one after the other on a made-up person, in children forked from a process that has the
libraries loaded.  A child is killed at its n-th change of a file (before an open for writing, a rename, a
removal, a new folder; or some milliseconds after it, in the middle of a write), or after a random time.  The
same command is then given again, up to three times killed again, until it ends.  The whole folder, originals,
exports and the user's own records included, is compared with that of a run nobody disturbed: names, modes and
bytes.  Seconds and dates are left out, and the random name of the folder in its record of exports.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from scripts.kill_anywhere.compare import different
from scripts.kill_anywhere.journey import commands, hub, load_libraries, make_start
from scripts.kill_anywhere.trials import Tally, Undisturbed, kill_command, undisturbed
from scripts.rows import Row, Table, arguments


def measure(work: Path, names: Sequence[str], kills: int, seed: int, table: Table) -> None:
    """Go through the commands, and kill those of these names (all, when none is named)."""
    world, before, after = work / "world", work / "before", work / "after"
    before.mkdir(parents=True)
    load_libraries()
    make_start(before, seed)
    tallies: list[Tally] = []
    with hub(work) as address:
        every = commands(world, address)
        if unknown := set(names) - set(every):
            sys.exit(f"no such command: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        wanted = [name for name in every if name in names] if names else list(every)
        for name, job in every.items():
            expected = undisturbed(job, before, world)
            again = undisturbed(job, before, world) if name in wanted else expected
            os.rename(world, after)
            if name in wanted:
                share = _share(kills, len(wanted), wanted.index(name))
                tally = kill_command(job, before, world, expected, share, random.Random(f"{seed} {name}"))
                table.add(_rows(name, expected, again, tally))
                tallies.append(tally)
            shutil.rmtree(before)
            os.rename(after, before)
            if name == wanted[-1]:
                break
    total = sum(tally.kills for tally in tallies)
    ends = sum(tally.ends for tally in tallies)
    table.add(
        [
            Row("all commands: kills at a change of a file", sum(t.at_a_change for t in tallies), "", total),
            Row("all commands: ends alike", sum(t.same for t in tallies) / max(ends, 1), "share", ends, 1.0),
            Row("all commands: kills", total, "", total, kills),
        ]
    )


def _rows(name: str, expected: Undisturbed, again: Undisturbed, tally: Tally) -> list[Row]:
    """The figures of one command; what differed is printed."""
    print(f"# {name}: exit {expected.code}, {expected.events} changes, {expected.seconds:.1f} s")
    odd = different(again.files, expected.files)
    for line in [*([f"undisturbed: {', '.join(odd[:8])}"] if odd else []), *tally.differences]:
        print(f"#   {line}")
    alike = float(not odd and again.code == expected.code)
    return [
        Row(f"{name}: twice alike undisturbed", alike, "", 2, 1.0),
        Row(f"{name}: exit 0", float(expected.code == 0), "", 1, 1.0),
        Row(f"{name}: ends alike", tally.same / max(tally.ends, 1), "share", tally.ends, 1.0),
        Row(f"{name}: kills", tally.kills, "", tally.kills),
    ]


def _share(kills: int, parts: int, number: int) -> int:
    return kills // parts + (number < kills % parts)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help="32, or 200 with --full")
    parser.add_argument("--commands", default="", help="only these, separated by commas")
    parser.add_argument("--work", type=Path, default=None, help="an empty folder that stays, to look at")
    options = parser.parse_args()
    kills = options.kills if options.kills is not None else 200 if options.full else 32
    names = [name.strip() for name in options.commands.split(",") if name.strip()]
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # threads do not survive a fork
    table = Table(options.json)
    with tempfile.TemporaryDirectory() as temporary:
        measure(options.work or Path(temporary), names, kills, options.seed, table)
    sys.exit(table.code())


if __name__ == "__main__":
    main()
