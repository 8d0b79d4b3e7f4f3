"""The step `relight` measured on unseen studio people, whose pictures under every rig the studio can render.

python -m scripts.evaluate.finishing_relight --quick
python -m scripts.evaluate.finishing_relight --full --json figures.json --sheet relit.png

Every person is lit by one rig, relit by others, and compared with the studio's own render of those.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from portrait_lora import synthetic, vocabulary
from portrait_lora.evaluation import similarity
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.finishing import relight
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.chain import LIMIT
from portrait_lora.finishing.foreground import foreground
from portrait_lora.finishing.steps.relight import Relight, RelightSettings
from portrait_lora.records import FloatArray, RGBImage
from portrait_lora.stages.finish_judge import Models
from portrait_lora.synthetic.backdrop import linear_to_srgb, paint_backdrop, srgb_to_linear
from portrait_lora.synthetic.sitting import CHANNELS, Sitting
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 897_300
"""People who trained nothing."""
SIZE_PX: Final = 128
PHOTOS: Final = 3
RIGS: Final = vocabulary.ALL_LIGHTINGS


@dataclass(frozen=True, slots=True)
class Sitter:
    """A person in one scene: under every rig (with the side that the scene has), coverage, albedo, photos."""

    pictures: dict[str, RGBImage]
    cover: FloatArray
    albedo: FloatArray
    flip: bool
    place: bool
    first: str
    photos: tuple[RGBImage, ...]


def sitter(seed: int, size_px: int = SIZE_PX) -> Sitter:
    """One person, rendered."""
    people = synthetic.sample_people([seed])
    scenes = synthetic.sample_scenes([seed * 1009], edition=2, max_yaw_deg=40.0)
    scene = scenes.rows()[0]
    one = Sitting(people.rows()[0], scene, (size_px, size_px))
    pictures: dict[str, RGBImage] = {}
    for number, rig in enumerate(RIGS):
        lit = synthetic.sample_scenes([seed * 1009], edition=2, max_yaw_deg=40.0, rig=number).rows()[0]
        person = srgb_to_linear(one.under(rig, flip=scene.rig_flip)[0].float() / 255)
        behind = paint_backdrop(lit, size_px, size_px, torch.device("cpu"))
        mixed = linear_to_srgb(person * one.cover_HW + behind * (1 - one.cover_HW))
        pictures[rig] = (mixed.permute(1, 2, 0).numpy().clip(0, 1) * 255 + 0.5).astype(np.uint8)
    albedo = one.surface()[..., : CHANNELS["albedo"]].numpy()
    photos = tuple(_photo(people, seed, i + 1) for i in range(PHOTOS))
    place = vocabulary.ALL_BACKDROPS[scene.backdrop] in vocabulary.PLACES
    cover = one.cover_HW.numpy()
    return Sitter(pictures, cover, albedo, scene.rig_flip, place, RIGS[scene.rig], photos)


def _photo(people: synthetic.People, seed: int, index: int) -> RGBImage:
    scenes = synthetic.sample_scenes([seed * 1009 + index], max_yaw_deg=35.0)
    image = synthetic.render(people, scenes, size_px=256, supersample=2).image_BCHW[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def psnr(first: np.ndarray, second: np.ndarray, weight_HW: np.ndarray | None = None) -> float:
    """dB of values in 0..1, over the picture or by weight."""
    square = ((first - second) ** 2).mean(-1)
    mean = float(square.mean() if weight_HW is None else (square * weight_HW).sum() / weight_HW.sum())
    return -10 * float(np.log10(max(mean, 1e-12)))


@dataclass(slots=True)
class Outcome:
    """One person relit by one rig; None where no face is found."""

    rig: str
    person_db: float
    whole_db: float
    before_db: float
    read: str | None
    read_true: str | None
    nearest: str
    """Which of the studio's twelve renders of the person is nearest."""
    falls: tuple[float | None, float | None]
    """Of the likeness by B: relit, and the studio's own render."""
    falls_a: tuple[float | None, float | None]
    """By A, which the gate goes by."""


def likeness(analyzer: Analyzer, picture: RGBImage, references: np.ndarray) -> float | None:
    """Mean cosine to the references (N, D); None without a face."""
    face = similarity.subject_face(analyzer.find(picture))
    return None if face is None else float((references @ face.embedding).mean())


def references_of(analyzer: Analyzer, photos: Sequence[RGBImage]) -> np.ndarray:
    """(N, D) of the photos in which a face is found."""
    faces = [similarity.subject_face(analyzer.find(photo)) for photo in photos]
    return np.stack([face.embedding for face in faces if face is not None])


def _fall(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def outcomes(one: Sitter, wanted: Sequence[str], models: Models) -> list[Outcome]:
    """That person, from the light of the scene to every one of `wanted`."""
    tools = models.tools(Path(), 0)
    before = one.pictures[one.first]
    both = [(a, references_of(a, one.photos)) for a in (models.reporter, models.finder)]
    starts = [likeness(a, before, known) for a, known in both]
    results: list[Outcome] = []
    for rig in wanted:
        truth = one.pictures[rig]
        natural = relight.Rig(rig, one.flip).lamps.direction_33[0, 0]
        side = "keep" if abs(float(natural)) < 1e-6 else ("left" if natural < 0 else "right")
        settings = RelightSettings(rig=rig, side=side, backdrop="place" if one.place else "paper")
        after = Relight().apply(Canvas.of(before), settings, tools)
        relit, real = after.flat(), truth.astype(np.float32) / 255
        read = [similarity.subject_face(models.finder.find(p)) for p in (relit, truth)]
        falls = [
            (_fall(start, likeness(analyzer, relit, known)), _fall(start, likeness(analyzer, truth, known)))
            for (analyzer, known), start in zip(both, starts, strict=True)
        ]
        near = {
            r: psnr(after.rgb_HW3, p.astype(np.float32) / 255, one.cover) for r, p in one.pictures.items()
        }
        results.append(
            Outcome(
                rig,
                psnr(after.rgb_HW3, real, one.cover),
                psnr(after.rgb_HW3, real),
                psnr(before.astype(np.float32) / 255, real, one.cover),
                read[0].lighting if read[0] else None,
                read[1].lighting if read[1] else None,
                max(near, key=lambda r: near[r]),
                *falls,
            )
        )
    return results


def albedo_error(one: Sitter, models: Models) -> float:
    """Mean ΔE2000 over the person between the network's colours without light and the studio's."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    picture = one.pictures[one.first].astype(np.float32) / np.float32(255)
    front = foreground(picture, one.cover)
    face = models.tools(Path(), 0).face(Canvas.of(one.pictures[one.first]))
    net = relight.Relighter()
    results = net.albedo(front, one.cover, face.size_px, net.light_of(front, one.cover, face.size_px))
    pair = [rgb2lab(linear_to_srgb(torch.from_numpy(a)).numpy().clip(0, 1)) for a in (results, one.albedo)]
    off = deltaE_ciede2000(*pair)
    return float((off * one.cover).sum() / one.cover.sum())


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean, by Student's t."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def _mean(
    name: str, values: Sequence[float], unit: str, target: float | None = None, *, at_most: bool = False
) -> Row:
    ci95 = _spread(values) if len(values) > 1 else None
    return Row(name, statistics.fmean(values), unit, len(values), target, at_most, ci95=ci95)


def rows_of(results: Sequence[Outcome], errors: Sequence[float]) -> list[Row]:
    """Every figure beside its target."""
    right = [float(o.read == o.rig) for o in results]
    legible = [float(o.read == o.rig) for o in results if o.read_true == o.rig]
    nearest = [float(o.nearest == o.rig) for o in results]
    rows = [
        Row("relight: asked rig read by the pack", statistics.fmean(right), "share", len(right), 0.95),
        Row(
            "relight: read, of those read on the true render",
            statistics.fmean(legible),
            "share",
            len(legible),
        ),
        Row(
            "relight: asked rig nearest of the twelve true",
            statistics.fmean(nearest),
            "share",
            len(nearest),
            0.95,
        ),
        _mean(
            "relight: rig read on the studio's own", [float(o.read_true == o.rig) for o in results], "share"
        ),
        _mean("relight: PSNR over the person", [o.person_db for o in results], "dB", 26.0),
        _mean("relight: PSNR over the picture", [o.whole_db for o in results], "dB", 26.0),
        _mean("relight: PSNR of the picture before, person", [o.before_db for o in results], "dB"),
        _mean("relight: albedo off the true one", errors, "ΔE2000", 3.0, at_most=True),
    ]
    for place, name in enumerate(("relit", "the studio's own")):
        falls = [f for o in results if (f := o.falls[place]) is not None]
        target = 0.01 if place == 0 else None
        rows.append(_mean(f"relight: fall of likeness by B, {name}", falls, "", target, at_most=True))
        rows.append(Row(f"relight: largest fall, {name}", max(falls), "", len(falls), None))
    pairs = [(o.falls[0], o.falls[1]) for o in results]
    beyond = [a - b for a, b in pairs if a is not None and b is not None]
    rows.append(_mean("relight: likeness lost beyond the studio's own", beyond, "", 0.01, at_most=True))
    for place, name in enumerate(("relit", "the studio's own")):
        over = [float(f > LIMIT) for o in results if (f := o.falls_a[place]) is not None]
        rows.append(
            Row(f"relight: what the gate would weaken, {name}", statistics.fmean(over), "share", len(over))
        )
    for rig in RIGS:
        mine = [o for o in results if o.rig == rig]
        if mine:
            rows.append(_mean(f"  {rig}: PSNR over the person", [o.person_db for o in mine], "dB"))
            rows.append(_mean(f"  {rig}: read", [float(o.read == rig) for o in mine], "share"))
    return rows


def main() -> int:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--people", type=int, default=None)
    parser.add_argument("--sheet", type=Path, default=None, help="write a picture: relit above, studio below")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = options.people or (30 if options.full else 6)
    pack = resolve_pack("embedded")
    models = Models(pack, open_analyzer(pack, "select"), open_analyzer(pack, "report"))
    results: list[Outcome] = []
    errors: list[float] = []
    strips: list[np.ndarray] = []
    for i in range(count):
        one = sitter(FIRST_SEED + options.seed * 1000 + i)
        others = [rig for rig in RIGS if rig != one.first]
        wanted = others if options.full else [others[(i * 5 + k * 3) % len(others)] for k in range(4)]
        results += outcomes(one, wanted, models)
        errors.append(albedo_error(one, models))
        if options.sheet is not None and i < 4:
            strips.append(_strip(one, wanted[:6], models))
    table = Table(options.json, width=56)
    table.add(rows_of(results, errors))
    if strips and options.sheet is not None:
        Image.fromarray(np.concatenate(strips)).save(options.sheet)
    return table.code()


def _strip(one: Sitter, wanted: Sequence[str], models: Models) -> np.ndarray:
    """The picture, then relit by each rig; below them the studio's own."""
    before = one.pictures[one.first]
    step, tools = Relight(), models.tools(Path(), 0)
    relit = [
        step.apply(
            Canvas.of(before), RelightSettings(rig=rig, backdrop="place" if one.place else "paper"), tools
        ).flat()
        for rig in wanted
    ]
    above = np.concatenate([before, *relit], axis=1)
    below = np.concatenate([before, *(one.pictures[rig] for rig in wanted)], axis=1)
    return np.concatenate([above, below])


if __name__ == "__main__":
    sys.exit(main())
