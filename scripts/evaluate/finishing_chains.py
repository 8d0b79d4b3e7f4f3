"""Chains of finishing made again to the byte, pixels that no step may touch, and the time of a portrait.

python -m scripts.evaluate.finishing_chains --quick
python -m scripts.evaluate.finishing_chains --full --json figures.json

Looks are drawn at random from all steps and their settings, and the shipped ones are among them; portraits
are renders of people whom nothing else knows.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import yaml

from portrait_lora import provenance, synthetic
from portrait_lora.errors import InputError
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.finishing import chain
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.foreground import OPAQUE
from portrait_lora.finishing.look import packaged_looks, planned
from portrait_lora.finishing.resample import lanczos
from portrait_lora.finishing.retouch_regions import regions
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.records import RGBImage
from portrait_lora.stages.finish_judge import Models, SimilarityJudge, no_model
from portrait_lora.synthetic.taking import picture_of, plain_photo
from portrait_lora.tasks import finish as finishing
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 961_000
SLOW: Final = ("clip",)
"""Steps that take half a minute: in one random look of ten."""
SECONDS: Final = 2.0
_COLOURS: Final = ("#b9bcc0", "#22262b", "#7d8f86", "#c9b8a4", "#3c4a63")
Entry = Mapping[str, Mapping[str, object]]


def random_look(rng: np.random.Generator, slow: bool) -> list[Entry]:
    """One to five steps that may stand in this order, with settings of every kind."""

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    def one(values: Sequence[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    choices: list[Entry] = [
        {"cutout": {"band": between(0.01, 0.05), "keep_colours": one((True, False))}},
        {
            "backdrop": {
                "kind": one(("plain", "gradient", "paper", "plaster", "cloud", "bokeh")),
                "colour": one(_COLOURS),
                "light": between(0, 1),
                "shadow": between(0, 0.6),
                "grade": between(0, 1),
            }
        },
        {"retouch": {name: between(0, 0.7) for name in ("eyes", "teeth", "blemishes", "under_eyes", "skin")}},
        {
            "grade": {
                "exposure": between(-0.4, 0.4),
                "temperature": between(5000, 8000),
                "contrast": between(-0.2, 0.3),
                "saturation": between(0.6, 1.2),
                "grain": between(0, 0.5),
                "vignette": between(-0.2, 0.4),
                "halation": between(0, 0.3),
                **({"monochrome": [0.4, 0.4, 0.2]} if rng.random() < 0.2 else {}),
            }
        },
        {"upscale": {"factor": one((2, 4)), "model": one(("auto", "studio", "lanczos"))}},
        {"format": {"preset": one(("linkedin", "x", "avatar", "speaker-page", "3:4"))}},
    ]
    kept = [step for step in choices if rng.random() < 0.5] or [choices[3]]
    if rng.random() < 0.25:
        kept.append({"layers": {"files": ["ora"]}})
    return [*kept, {"clip": {"seconds": 2.0, "fps": 8, "size_px": 256}}] if slow else kept


def chains(folder: Path, seed: int, count: int) -> list[Row]:
    """Every look carried out on a portrait, and made again from its record alone and the portrait."""
    rng = np.random.default_rng(seed)
    same = repeated = refused = weakened = 0
    wrong: list[str] = []
    shipped = tuple(packaged_looks())
    for number in range(count):
        person = FIRST_SEED + 1000 * seed + number
        source = folder / f"{number}.png"
        portrait = picture_of(plain_photo(synthetic.sample_people([person]), person, number % 12))
        portrait.save(source, pnginfo=provenance.png_info(None))
        look = shipped[number // 5 % len(shipped)] if number % 5 == 0 else f"{folder}/look-{number}.yaml"
        if number % 5:
            steps = random_look(rng, slow=number % 10 == 1)
            entry = {"name": f"random-{number}", "about": "drawn at random", "steps": steps}
            Path(look).write_text(yaml.safe_dump(entry), encoding="utf-8")
        out = folder / f"out-{number}"
        (one,) = finishing.finish(source, look, None, out, [], seed=number).pictures
        if one.file is None:
            refused += 1
            print(f"{look}: {one.refused}", file=sys.stderr)
            continue
        repeated += 1
        weakened += any(step.strength < 1 for step in one.steps)
        if finishing.reproduce(Path(one.file), None, source, []).whole:
            same += 1
        else:
            wrong.append(Path(look).name)
        print(f"{repeated} chains", file=sys.stderr, flush=True)
    if wrong:
        print("not the same bytes:", ", ".join(wrong), file=sys.stderr)
    return [
        Row("chains made again to the byte", same / repeated, "share", repeated, 1.0),
        Row("chains in which the gate weakened a step", weakened / repeated, "share", repeated),
        Row("chains refused, with the reason", refused / count, "share", count),
    ]


def _touched(before: Canvas, after: Canvas, may: np.ndarray) -> int:
    """Pixels of the person's colours that differ outside (H, W) `may`."""
    return int(((before.rgb_HW3 != after.rgb_HW3).any(axis=-1) & ~may).sum())


def untouched(seed: int, count: int) -> list[Row]:
    """Per step, on portraits that are cut out: pixels changed where the step has no business."""
    pack = resolve_pack("embedded")
    tools = PictureTools(open_analyzer(pack, "select"), Path(), seed, no_model)
    totals: dict[str, int] = {}
    wanted = [
        *[{"backdrop": {"kind": kind}} for kind in ("paper", "bokeh", "gradient")],
        {"retouch": {"eyes": 1.0, "teeth": 1.0, "blemishes": 1.0, "under_eyes": 1.0, "skin": 1.0}},
    ]
    n = 0
    for number in range(count):
        person = FIRST_SEED + 500 + 1000 * seed + number
        picture = np.asarray(picture_of(plain_photo(synthetic.sample_people([person]), person, number % 12)))
        canvas = Canvas.of(picture)
        tools.begin(0, "", canvas)
        (first,) = planned([{"cutout": {}}], "here")
        try:
            cut = first.step.apply(canvas, first.settings, tools)
        except InputError:
            continue
        n += 1
        assert cut.alpha_HW is not None
        opaque = cut.alpha_HW >= OPAQUE
        totals["cutout"] = totals.get("cutout", 0) + _touched(canvas, cut, ~opaque)
        for entry in wanted:
            (one,) = planned([entry], "here")
            tools.begin(1, "cutout", cut)
            with contextlib.suppress(InputError):
                after = one.step.apply(cut, one.settings, tools)
                may = ~opaque if one.step.name == "backdrop" else _face(cut, tools)
                name = one.step.name
                totals[name] = totals.get(name, 0) + _touched(cut, after, may)
    return [
        Row(f"{name}: pixels changed outside what it may touch", float(total), "pixels", n, 0.0, True)
        for name, total in totals.items()
    ]


def _face(canvas: Canvas, tools: PictureTools) -> np.ndarray:
    """(H, W) bool: every region of the retouching, and the hull of the face's points."""
    face = tools.face(canvas)
    height, width = canvas.rgb_HW3.shape[:2]
    where = regions((height, width), face, tools.parts(canvas))
    may = np.zeros((height, width), bool)
    for part in (where.skin, where.eyes, where.teeth, where.under_eyes, where.cheeks):
        may |= part > 0
    if face.landmarks_px is not None:
        hull = cv2.convexHull(np.asarray(face.landmarks_px).round().astype(np.int32))
        filled = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(filled, hull, 1)
        may |= filled > 0
    return may


def seconds(seed: int, times: int = 7) -> list[Row]:
    """Cut-out, backdrop, grade and 4× of a portrait of 128 px, gated, with the models loaded; and Lanczos."""
    pack = resolve_pack("embedded")
    models = Models(pack, open_analyzer(pack, "select"), open_analyzer(pack, "report"))
    steps = planned(
        [
            {"cutout": {}},
            {"backdrop": {"kind": "paper"}},
            {"grade": {"contrast": 0.1, "grain": 0.1}},
            {"upscale": {"factor": 4}},
        ],
        "measured",
    )
    spent: list[float] = []
    plain: list[float] = []
    for number in range(times + 1):
        small = _small(FIRST_SEED + 900 + seed * 1000 + number)
        begun = time.process_time(), time.monotonic()
        judge = SimilarityJudge(models, (small,), Path(), 0)
        chain.run(Canvas.of(small), steps, models.tools(Path(), 0), judge)
        spent.append(time.process_time() - begun[0])
        begun = time.process_time(), time.monotonic()
        lanczos(small.astype(np.float32) / 255, (small.shape[1] * 4, small.shape[0] * 4))
        plain.append(time.process_time() - begun[0])
    median, least = statistics.median(spent[1:]), statistics.median(plain[1:])
    name = "time of a portrait of 128 px: cut-out, backdrop, grade and 4x"
    return [
        Row(f"{name}, gated (processor time)", median, "s", times, SECONDS, True),
        Row("that over Lanczos alone", median / max(least, 1e-6), "times", times),
    ]


def _small(seed: int) -> RGBImage:
    scenes = synthetic.sample_scenes([seed * 1009], max_yaw_deg=35.0, head_fraction=0.6)
    image = synthetic.render(synthetic.sample_people([seed]), scenes, 128, supersample=2).image_BCHW[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def main() -> int:
    """Measure, print, write."""
    options = arguments(__doc__ or "").parse_args()
    table = Table(options.json, width=72)
    table.add(seconds(options.seed))
    table.add(untouched(options.seed, 60 if options.full else 8))
    with tempfile.TemporaryDirectory() as name:
        table.add(chains(Path(name), options.seed, 104 if options.full else 10))
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
