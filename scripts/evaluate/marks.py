"""The watermark measured on pictures that trained nothing: what it survives, whom it accuses, what it costs.

python -m scripts.evaluate.marks --quick
python -m scripts.evaluate.marks --full --json figures.json [--sheet sheet.png] [--minutes 30]

Marked pictures are two fifths studio renders, the others textures and noise, at 128, 256, 512 and 1,024 px; a
mark counts as recovered when its whole payload is read.  `--full` marks 2,000 pictures and looks for marks in
10,000 without (hours on one core); `--quick` takes a part of them.  With `--json`, every picture is noted in
`figures.cases.jsonl` beside it, failures by name in `figures.failed.txt`, and a run that was stopped goes on
where it was; `--minutes` ends one early, with the figures of the pictures so far.  `--sheet` writes marked
pictures beside their originals and the amplified difference.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import Watermark, embedded, payload_of
from scripts.evaluate.marks_cases import Case, Cases
from scripts.rows import Row, Table, arguments, write_rows
from scripts.train.watermark import pictures, spoiling

FIRST_SEED: Final = 2_860_000
"""People who trained nothing."""
SIDES: Final = (128, 256, 512, 1024)
MARKED: Final = {True: 2000, False: 80}
UNMARKED: Final = {True: 10_000, False: 120}
EVERY: Final = {True: 60, False: 20}
"""Pictures from one table of what is known to the next."""
LIKENESSES: Final = {True: 100, False: 6}
_RENDERS: Final = 0.4
TARGETS: Final = {
    "untouched": 0.999,
    "JPEG 75": 0.99,
    "half size": 0.97,
    "10 % cropped": 0.95,
    "50 % cropped": None,
    "10 % cropped, half size": 0.90,
    "10 % cropped, JPEG 75": 0.90,
    "brightness or contrast ±20 %": 0.97,
    "WebP 60": 0.95,
    "screenshot (0.9, PNG)": 0.95,
}
_PSNR: Final = 40.0
_COST_MS: Final = 15.0
_MOVED: Final = 0.002


def measured(mark: Watermark, rgb: RGBImage, number: int, side: int, kind: str, seed: int) -> Case:
    """Mark one picture and read it after every treatment."""
    payload, rng = payload_of(f"evaluation {number}"), np.random.default_rng([seed, number])
    begun = time.process_time()
    marked = mark.embed(rgb, payload)
    case = Case(kind, side, number, 1000 * (time.process_time() - begun), psnr(rgb, marked))
    for name, spoil in spoiling.MEASURED.items():
        spoilt = spoil(marked, rng)
        begun = time.process_time()
        reading = mark.detect(spoilt)
        case.read_ms.append(1000 * (time.process_time() - begun))
        if reading is None:
            case.missed.append(name)
        elif reading.payload != payload:
            case.wrong.append(name)
        elif not reading.whole:
            case.partial.append(name)
    return case


def psnr(first: RGBImage, second: RGBImage) -> float:
    """Peak signal to noise in dB over all channels."""
    off = float(np.mean((first.astype(np.float32) - second) ** 2))
    return 10 * float(np.log10(255**2 / max(off, 1e-9)))


def sample(seed: int, count: int) -> Iterator[tuple[int, int, str]]:
    """(number, side, kind): renders, textures and noise at each of the sides."""
    kinds = ["studio"] * round(10 * _RENDERS) + ["texture"] * 3 + ["noise"] * 3
    for i in range(count):
        yield FIRST_SEED + seed * 20_000 + i, SIDES[i % len(SIDES)], kinds[(i // len(SIDES)) % 10]


def picture(kind: str, number: int, side: int) -> RGBImage:
    """One of `pictures.KINDS`."""
    return getattr(pictures, kind)(number, side)


def rows_of(name: str, cases: Sequence[Case], *, with_targets: bool) -> list[Row]:
    """Recovery, PSNR and times of one lot."""
    n = len(cases)
    rows = [
        Row(
            f"{name}: recovered, {treatment}",
            sum(case.recovered(treatment) for case in cases) / n,
            "share",
            n,
            target if with_targets else None,
        )
        for treatment, target in TARGETS.items()
    ]
    reads = [value for case in cases for value in case.read_ms]
    rows.append(Row(f"{name}: PSNR, least", min(case.psnr for case in cases), "dB", n, _PSNR))
    rows.append(Row(f"{name}: PSNR, median", statistics.median(case.psnr for case in cases), "dB", n))
    rows.append(Row(f"{name}: marking, median", statistics.median(c.mark_ms for c in cases), "ms", n))
    rows.append(Row(f"{name}: reading, median", statistics.median(reads), "ms", len(reads)))
    return rows


def recovery(cases: Sequence[Case]) -> list[Row]:
    """All together, then per size, per kind, and per both."""
    rows = rows_of("all", cases, with_targets=True)
    n = len(cases)
    rows.append(Row("all: another payload read", sum(len(c.wrong) for c in cases), "readings", n, 0, True))
    for name in ("untouched", "JPEG 75", "WebP 60"):
        read = [case for case in cases if case.recovered(name)]
        partial = sum(name in case.partial for case in read)
        rows.append(Row(f"all: read as marked in part, {name}", partial, "pictures", len(read), 0, True))
    lots = [(f"{side} px", [c for c in cases if c.side == side]) for side in SIDES]
    lots += [(kind, [c for c in cases if c.kind == kind]) for kind in pictures.KINDS]
    lots += [
        (f"{side} px {kind}", [c for c in cases if (c.side, c.kind) == (side, kind)])
        for side in SIDES
        for kind in pictures.KINDS
    ]
    for name, lot in lots:
        rows += rows_of(name, lot, with_targets=False) if lot else []
    if timed := [case.mark_ms for case in cases if case.side == 512]:
        cost = statistics.median(timed)
        rows.append(Row("marking 512 px, processor time", cost, "ms", len(timed), _COST_MS, True))
    return rows


def standing(cases: Sequence[Case]) -> list[str]:
    """A line per size and kind: pictures, and after each treatment in the order of `TARGETS` % recovered."""
    lines = [f"{len(cases)} marked; % after: {', '.join(TARGETS)}"]
    for side in SIDES:
        for kind in pictures.KINDS:
            if lot := [case for case in cases if (case.side, case.kind) == (side, kind)]:
                shares = (100 * sum(case.recovered(name) for case in lot) / len(lot) for name in TARGETS)
                cells = " ".join(f"{share:4.0f}" for share in shares)
                lines.append(f"{side:5d} px {kind:8s}{len(lot):4d}  {cells}")
    return lines


def unmarked(seed: int, count: int) -> Iterator[tuple[int, int, str]]:
    """(number, side, kind) of pictures without a mark; their sides are 64 to 512 px."""
    rng = np.random.default_rng([seed, 4])
    for i in range(count):
        kind = "studio" if i % 20 == 0 else ("texture", "noise")[i % 2]
        yield FIRST_SEED + 500_000 + seed * 20_000 + i, int(rng.integers(64, 513)), kind


def accusations(mark: Watermark, cases: Sequence[Case]) -> list[Row]:
    """Pictures without a mark in which one is read."""
    read, n = sum(bool(case.wrong) for case in cases), len(cases)
    times = [value for case in cases for value in case.read_ms]
    return [
        Row("unmarked pictures read as marked", read, "pictures", n, 0, True),
        Row("unmarked pictures: reading, median", statistics.median(times), "ms", n),
        Row("false positives by design", mark.false_positive_rate, "share", 1, 1e-6, True),
    ]


def searched(mark: Watermark, number: int, side: int, kind: str) -> Case:
    """Look for a mark where there is none; one that is read counts as wrong."""
    rgb = picture(kind, number, side)
    begun = time.process_time()
    reading = mark.detect(rgb)
    case = Case(kind, side, number, 0.0, 0.0, read_ms=[1000 * (time.process_time() - begun)])
    case.wrong += ["without a mark"] if reading is not None else []
    return case


def likeness(mark: Watermark, seed: int, count: int) -> list[Row]:
    """How far the mark moves the similarity by B to another picture of the same person."""
    from portrait_lora import synthetic
    from portrait_lora.evaluation.similarity import subject_face
    from portrait_lora.faces import resolve_pack
    from portrait_lora.faces.backends import open_analyzer

    analyzer = open_analyzer(resolve_pack(), "report")
    moved: list[float] = []
    for i in range(count):
        number = FIRST_SEED + 900_000 + seed * 1000 + i
        people = synthetic.dressed(synthetic.sample_people([number]), [number])
        shown: list[RGBImage] = []
        for scene in (number * 10, number * 10 + 1):
            scenes = synthetic.sample_scenes([scene], edition=2, max_yaw_deg=20.0)
            image = synthetic.render(people, scenes, size_px=256, supersample=2).image_BCHW[0]
            shown.append(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
        shown.append(mark.embed(shown[0], payload_of(f"likeness {number}")))
        faces = [subject_face(analyzer.find(one)) for one in shown]
        if all(faces):
            plain, other, marked = (face.embedding for face in faces if face is not None)
            moved.append(float(marked @ other - plain @ other))
    if not moved:
        return []
    name, n = "similarity by B with the mark less without", len(moved)
    return [
        Row(f"{name}, size of the mean", abs(statistics.fmean(moved)), "cosine", n, _MOVED, True),
        Row(f"{name}, mean size", statistics.fmean(map(abs, moved)), "cosine", n),
    ]


def sheet(mark: Watermark, seed: int, file: Path) -> None:
    """Pictures, marked ones and twelve times the difference, 512 px each."""
    lines = []
    for i in range(4):
        rgb = pictures.studio(FIRST_SEED + 700_000 + seed * 100 + i, 512)
        marked = mark.embed(rgb, payload_of(f"sheet {i}"))
        apart = np.clip(128 + 12 * (marked.astype(np.int16) - rgb), 0, 255).astype(np.uint8)
        lines.append(np.hstack([rgb, marked, apart]))
    Image.fromarray(np.vstack(lines)).save(file)


def main() -> int:
    """Measure, print, and return 1 when a target was missed."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sheet", type=Path, default=None, help="write pictures to look at")
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long, with what is known")
    args = parser.parse_args()
    mark = embedded()
    if args.sheet is not None:
        sheet(mark, args.seed, args.sheet)
    end = float("inf") if args.minutes is None else time.monotonic() + 60 * args.minutes
    cases = Cases(args.json, args.seed)
    # both kinds in turn, so that a run that is stopped has some of each
    wanted = zip_longest(sample(args.seed, MARKED[args.full]), _lots(args.seed, args.full))
    for i, (shown, lot) in enumerate(wanted, 1):
        if shown is not None and not cases.has("marked", shown[0]):
            number, side, kind = shown
            cases.add("marked", measured(mark, picture(kind, number, side), number, side, kind, args.seed))
        for number, side, kind in lot or ():
            if not cases.has("unmarked", number):
                cases.add("unmarked", searched(mark, number, side, kind))
        if i % EVERY[args.full] == 0:
            print("\n".join(standing(cases.of("marked"))), flush=True)
            _write(mark, cases, args.json)
        if time.monotonic() > end:
            print(f"stopped after {args.minutes:g} minutes", flush=True)
            break
    table = Table(args.json, width=58)
    table.add(recovery(cases.of("marked")) + accusations(mark, cases.of("unmarked")))
    table.add(likeness(mark, args.seed, LIKENESSES[args.full]))
    return table.code()


def _lots(seed: int, full: bool) -> Iterator[list[tuple[int, int, str]]]:
    """The unmarked pictures that go with each marked one."""
    size = -(-UNMARKED[full] // MARKED[full])
    pending = unmarked(seed, UNMARKED[full])
    while lot := list(islice(pending, size)):
        yield lot


def _write(mark: Watermark, cases: Cases, file: Path | None) -> None:
    """The rows so far, not printed."""
    if file is not None:
        write_rows(recovery(cases.of("marked")) + accusations(mark, cases.of("unmarked")), file)


if __name__ == "__main__":
    sys.exit(main())
