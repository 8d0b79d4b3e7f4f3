"""How long `portrait-lora train` takes from the start of the program to its first step.

python -m scripts.bench.start                  3 starts on the embedded base
python -m scripts.bench.start --full           7: the figures of record
python -m scripts.bench.start --work FOLDER    keep the prepared photos there, and use them again

Photos are prepared beforehand; latents and captions are encoded within.  A bare import of torch, diffusers
and peft, which every training in this field begins with, is timed in turn with it.  Seconds of the clock, and
of the CPU: on a machine that is shared only the latter tell something.  The identity loss, on for this base,
draws its lessons in the last quarter of the steps and has no part in it.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from portrait_lora import manifest, recipe
from scripts.rows import Row, arguments, finish

BARE: Final = "import torch, diffusers, peft"
AT_ONCE: Final = "import os; os._exit(0)"
"""Nothing is tidied up, as nothing is when a training has taken its first step."""
LIMIT_S: Final = 8.0
PERSON: Final = 7


class Spent(NamedTuple):
    """Seconds by the clock and of the CPU."""

    wall: float
    cpu: float


def bare() -> Spent:
    """A process that imports, and ends there."""
    begun, before = time.perf_counter(), _cpu_of_children()
    subprocess.run([sys.executable, "-c", f"{BARE}; {AT_ONCE}"], check=True, stdout=subprocess.DEVNULL)
    return Spent(time.perf_counter() - begun, _cpu_of_children() - before)


def first_step(folder: Path) -> Spent:
    """From the start of `portrait-lora train` to its first line of metrics; the process is ended then."""
    shutil.rmtree(folder / "adapters", ignore_errors=True)
    begun = time.perf_counter()
    command = [sys.executable, "-m", "portrait_lora.cli", "train", str(folder), "--yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not any(file.stat().st_size for file in folder.glob("adapters/*/metrics.jsonl")):
            if process.poll() is not None:
                assert process.stderr is not None
                raise SystemExit(f"train ended before a step: {process.stderr.read().decode()[-2000:]}")
            time.sleep(0.01)
        spent = Spent(time.perf_counter() - begun, _cpu_of(process.pid))
        process.kill()
    shutil.rmtree(folder / "adapters", ignore_errors=True)
    return spent


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    """Of a process that is running, all its threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepared(folder: Path) -> Path:
    """A made-up person whose photos are prepared."""
    if not (folder / "likeness.yaml").is_file():
        manifest.make_folder(folder)
        recipe.open_demo(folder, PERSON)
    recipe.prepare(folder)
    return folder


def measure(folder: Path, starts: int) -> list[Row]:
    """Medians over so many starts, after one of each that warms the disk's cache."""
    bare(), first_step(folder)
    pairs = [(bare(), first_step(folder)) for _ in range(starts)]
    alone, ours = ([pair[i] for pair in pairs] for i in range(2))

    def row(name: str, values: list[float], target: float | None = None) -> Row:
        return Row(name, statistics.median(values), "s", starts, target, at_most=target is not None)

    return [
        row(BARE, [one.wall for one in alone]),
        row(f"{BARE}: CPU", [one.cpu for one in alone]),
        row("train, start to first step", [one.wall for one in ours], LIMIT_S),
        row("train, start to first step: CPU", [one.cpu for one in ours]),
    ]


def main() -> int:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--work", type=Path, default=None, help="the prepared photos")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = prepared((options.work or Path(passing)) / "person")
        return finish(measure(folder, 7 if options.full else 3), options.json)


if __name__ == "__main__":
    sys.exit(main())
