"""The watermark measured on pictures that trained nothing: what it survives, whom it accuses, what it costs.

python -m scripts.evaluate.marks --quick
python -m scripts.evaluate.marks --full --json figures.json [--sheet sheet.png]

Marked pictures are two fifths studio renders, the others textures and noise, at 128, 256, 512 and 1,024 px; a
mark counts as recovered when its whole payload is read.  `--full` marks 2,000 pictures and looks for marks in
10,000 without (hours on one core); `--quick` takes a part of them.  `--sheet` writes marked pictures beside
their originals and the amplified difference.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import Watermark, embedded, payload_of
from scripts.rows import Row, Table, arguments
from scripts.train.watermark import pictures, spoiling

FIRST_SEED: Final = 2_860_000
"""People who trained nothing."""
SIDES: Final = (128, 256, 512, 1024)
MARKED: Final = {True: 2000, False: 80}
UNMARKED: Final = {True: 10_000, False: 120}
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


@dataclass(slots=True)
class Tally:
    """What happened to the marked pictures of one lot."""

    count: int = 0
    recovered: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    psnr: list[float] = field(default_factory=list)
    embed_ms: list[float] = field(default_factory=list)
    detect_ms: list[float] = field(default_factory=list)

    def add(self, mark: Watermark, rgb: RGBImage, number: int, rng: np.random.Generator) -> None:
        """Mark one picture and read it after every treatment."""
        payload = payload_of(f"evaluation {number}")
        begun = time.process_time()
        marked = mark.embed(rgb, payload)
        self.embed_ms.append(1000 * (time.process_time() - begun))
        self.psnr.append(psnr(rgb, marked))
        self.count += 1
        for name, spoil in spoiling.MEASURED.items():
            spoilt = spoil(marked, rng)
            begun = time.process_time()
            reading = mark.detect(spoilt)
            self.detect_ms.append(1000 * (time.process_time() - begun))
            self.recovered[name] += reading is not None and reading.payload == payload
            self.wrong += reading is not None and reading.payload != payload


def psnr(first: RGBImage, second: RGBImage) -> float:
    """Peak signal to noise in dB over all channels."""
    off = float(np.mean((first.astype(np.float32) - second) ** 2))
    return 10 * float(np.log10(255**2 / max(off, 1e-9)))


def sample(seed: int, count: int) -> Iterator[tuple[int, int, str, RGBImage]]:
    """(number, side, kind, picture): renders, textures and noise at each of the sides."""
    kinds = ["studio"] * round(10 * _RENDERS) + ["texture"] * 3 + ["noise"] * 3
    for i in range(count):
        side, kind = SIDES[i % len(SIDES)], kinds[(i // len(SIDES)) % len(kinds)]
        number = FIRST_SEED + seed * 20_000 + i
        yield number, side, kind, getattr(pictures, kind)(number, side)


def rows_of(name: str, tally: Tally, *, with_targets: bool) -> list[Row]:
    """Recovery, PSNR and times of one lot."""
    n = tally.count
    rows = [
        Row(
            f"{name}: recovered, {kind}",
            tally.recovered[kind] / n,
            "share",
            n,
            target if with_targets else None,
        )
        for kind, target in (TARGETS if with_targets else dict.fromkeys(TARGETS)).items()
    ]
    rows.append(Row(f"{name}: PSNR, least", min(tally.psnr), "dB", n, _PSNR))
    rows.append(Row(f"{name}: PSNR, median", statistics.median(tally.psnr), "dB", n))
    rows.append(
        Row(f"{name}: reading, median", statistics.median(tally.detect_ms), "ms", len(tally.detect_ms))
    )
    return rows


def recovery(mark: Watermark, seed: int, count: int) -> Iterator[list[Row]]:
    """All together, then per size and per kind."""
    lots: dict[str, Tally] = {}
    for number, side, kind, rgb in sample(seed, count):
        rng = np.random.default_rng([seed, number])
        for lot in ("all", f"{side} px", f"{kind}"):
            lots.setdefault(lot, Tally())
        one = Tally()
        one.add(mark, rgb, number, rng)
        for lot in ("all", f"{side} px", kind):
            _join(lots[lot], one)
    everything = lots.pop("all")
    yield rows_of("all", everything, with_targets=True)
    yield [Row("all: another payload read", float(everything.wrong), "pictures", everything.count, 0, True)]
    for lot in (*(f"{side} px" for side in SIDES), *pictures.KINDS):
        if lot in lots:
            yield rows_of(lot, lots[lot], with_targets=False)
    if "512 px" in lots:
        cost = statistics.median(lots["512 px"].embed_ms)
        yield [
            Row(
                "marking 512 px, processor time",
                cost,
                "ms",
                lots["512 px"].count,
                _COST_MS,
                True,
            )
        ]


def _join(lot: Tally, one: Tally) -> None:
    lot.count += one.count
    lot.wrong += one.wrong
    lot.recovered.update(one.recovered)
    lot.psnr += one.psnr
    lot.embed_ms += one.embed_ms
    lot.detect_ms += one.detect_ms


def accusations(mark: Watermark, seed: int, count: int) -> list[Row]:
    """Pictures without a mark in which one is read; their sides are 64 to 512 px."""
    rng = np.random.default_rng([seed, 4])
    read = 0
    for i in range(count):
        number, side = FIRST_SEED + 500_000 + seed * 20_000 + i, int(rng.integers(64, 513))
        kind = "studio" if i % 20 == 0 else ("texture", "noise")[i % 2]
        read += mark.detect(getattr(pictures, kind)(number, side)) is not None
    return [
        Row("unmarked pictures read as marked", float(read), "pictures", count, 0, True),
        Row("false positives by design", mark.false_positive_rate, "share", 1, 1e-6, True),
    ]


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
    args = parser.parse_args()
    table, mark = Table(args.json, width=58), embedded()
    if args.sheet is not None:
        sheet(mark, args.seed, args.sheet)
    for rows in recovery(mark, args.seed, MARKED[args.full]):
        table.add(rows)
    table.add(likeness(mark, args.seed, LIKENESSES[args.full]))
    table.add(accusations(mark, args.seed, UNMARKED[args.full]))
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
