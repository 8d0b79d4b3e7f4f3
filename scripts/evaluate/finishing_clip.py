"""Clips measured on renders of unseen people: likeness frame by frame, the first frame, the backdrop, time.

python -m scripts.evaluate.finishing_clip --quick
python -m scripts.evaluate.finishing_clip --full --json figures.json --sheet frames.png
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from portrait_lora import synthetic
from portrait_lora.errors import InputError
from portrait_lora.evaluation import similarity
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.finishing import motion
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.steps.clip import Clip, ClipSettings, scene_of, size_of
from portrait_lora.records import RGBImage
from portrait_lora.stages.finish_judge import Models
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 897_300
"""People who trained nothing, and on whom nothing of the clip was chosen."""
SIZE_PX: Final = (288, 360)
EVERY: Final = 5
PATHS: Final[tuple[motion.Path, ...]] = get_args(motion.Path)
SEEDS_PER_RUN: Final = 1000


def portrait(seed: int) -> RGBImage:
    """Head and shoulders before any setting of the studio."""
    people = synthetic.sample_people([seed])
    scenes = synthetic.sample_scenes([seed * 7 + 1], edition=2, head_fraction=0.45, max_yaw_deg=25.0)
    image = synthetic.render(people, scenes, SIZE_PX, supersample=2).image_BCHW[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def falls(still: RGBImage, shown: Sequence[RGBImage], models: Models) -> tuple[list[float], list[float]]:
    """One minus the cosine of every frame's face to that of the still picture, by A and by B."""
    out: list[list[float]] = []
    for analyzer in (models.finder, models.reporter):
        first = similarity.subject_face(analyzer.find(still))
        faces = [similarity.subject_face(analyzer.find(one)) for one in shown]
        out.append(
            []
            if first is None
            else [1.0 - (float(one.embedding @ first.embedding) if one is not None else 0.0) for one in faces]
        )
    return out[0], out[1]


def measured(pictures: Sequence[RGBImage], models: Models, strength: float, sheet: Path | None) -> list[Row]:
    """Likeness of every fifth frame of all paths at one strength, and the first frame against the picture."""
    by_a: dict[motion.Path, list[float]] = {path: [] for path in PATHS}
    by_b: dict[motion.Path, list[float]] = {path: [] for path in PATHS}
    off: list[float] = []
    strips: list[np.ndarray] = []
    refused = 0
    for picture in pictures:
        canvas, one = Canvas.of(picture), ClipSettings()
        size = size_of(canvas, one)
        try:
            layers = scene_of(canvas, one, size, models.tools(Path(), 0))
        except InputError:
            refused += 1
            continue
        count = round(one.seconds * one.fps)
        strip = [picture]
        for path in by_a:
            moves = motion.Motion(path, strength, one.breathing)
            shown = [motion.frame(layers, size, moves, i / count) for i in range(0, count, EVERY)]
            first, second = falls(picture, shown, models)
            by_a[path] += first
            by_b[path] += second
            strip += [shown[0], shown[len(shown) // 2]]
            if path == "push-in":
                off.append(float(np.abs(shown[0].astype(float) - picture).mean()))
        strips.append(np.concatenate(strip, axis=1))
    if sheet is not None and strips:
        Image.fromarray(np.concatenate(strips[:6])).save(sheet)
    rows = [Row(f"clip {strength:g}: refused by the cut-out", refused, "of", len(pictures))]
    for name, values in (("A", by_a), ("B", by_b)):
        for path, each in values.items():
            title = f"clip {strength:g}, {path}: likeness lost by {name}"
            rows.append(Row(title, statistics.fmean(each), "mean", len(each), 0.02, True))
            rows.append(Row(title, max(each), "most", len(each), 0.05, True))
    rows.append(
        Row(
            "first frame of a push-in against the picture", statistics.fmean(off), "of 255", len(off), 1, True
        )
    )
    return rows


def seconds(picture: RGBImage, models: Models) -> list[Row]:
    """The whole step for 60 frames of 512 x 640 px."""
    large = np.asarray(Image.fromarray(picture).resize((512, 640), Image.Resampling.LANCZOS))
    begun = time.monotonic()
    done = Clip().apply(Canvas.of(large), ClipSettings(), models.tools(Path(), 0))
    spent = time.monotonic() - begun
    return [
        Row("time of 60 frames of 512 x 640 px as WebP", spent, "s", 1),
        Row("size of that file", len(done.products[0].data) / 1e6, "MB", 1),
    ]


def main() -> int:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sheet", type=Path, default=None, help="write a picture of frames")
    options = parser.parse_args()
    first = FIRST_SEED + options.seed * SEEDS_PER_RUN
    pictures = [portrait(first + i) for i in range(30 if options.full else 6)]
    pack = resolve_pack("embedded")
    models = Models(pack, open_analyzer(pack, "select"), open_analyzer(pack, "report"))
    table = Table(options.json)
    for strength in (ClipSettings().strength, 1.0):
        table.add(measured(pictures, models, strength, options.sheet))
    table.add(seconds(pictures[0], models))
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
