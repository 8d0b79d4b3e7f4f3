"""Upscaling and retouching measured on renders of unseen people, whose truth is known.

python -m scripts.evaluate.finishing_detail --quick
python -m scripts.evaluate.finishing_detail --full --json figures.json --model other_x4.safetensors

`--model` adds the same rows for another 4× network (safetensors), such as a plain ESRGAN.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from portrait_lora import synthetic
from portrait_lora.evaluation import similarity
from portrait_lora.faces import quality, resolve_pack
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.finishing import chain, colour, tiles, upscale
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.esrgan import read_upscaler
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.resample import lanczos
from portrait_lora.finishing.retouch_regions import Regions, regions
from portrait_lora.finishing.steps.retouch import Retouch, RetouchSettings
from portrait_lora.generation.checklist import skin_texture
from portrait_lora.records import RGBImage
from portrait_lora.stages.finish_judge import Models, SimilarityJudge
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 896_100
"""People who trained nothing."""
SMALL_PX, SCALE = 128, 4
PHOTOS: Final = 3
RETOUCHED: Final = RetouchSettings(eyes=0.4, teeth=0.4, blemishes=0.6, under_eyes=0.4, skin=0.4)
_NO_WORSE: Final = 0.002
"""Likeness by B that counts as the same: writing a picture anew moves it by up to 0.005."""
_GB: Final = 1 << 20  # ru_maxrss is in KiB
_PRINT_PX: Final = 1224
"""4 × this squared is 24 megapixels."""
_RED, _BROWN = (-0.03, 0.045, 0.01), (-0.16, 0.006, 0.012)
Enlarge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Person:
    """A portrait of 512 px, what 128 px hold of it, and other pictures of the same person."""

    truth: RGBImage
    small: RGBImage
    photos: tuple[RGBImage, ...]


def person(seed: int) -> Person:
    people = synthetic.sample_people([seed])
    truth = _render(people, seed, 0, SMALL_PX * SCALE)
    small = truth.reshape(SMALL_PX, SCALE, SMALL_PX, SCALE, 3).mean(axis=(1, 3)) / 255
    photos = tuple(_render(people, seed, i + 1, 256) for i in range(PHOTOS))
    return Person(truth, to_bytes(small), photos)


def _render(people: synthetic.People, seed: int, index: int, size_px: int) -> RGBImage:
    scenes = synthetic.sample_scenes([seed * 1009 + index], max_yaw_deg=35.0)
    image = synthetic.render(people, scenes, size_px=size_px, supersample=2).image_BCHW[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """dB, of values in 0..1."""
    return float(-10 * np.log10(max(float(np.mean((first - second) ** 2)), 1e-12)))


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of the luma, by scikit-image."""
    from skimage.metrics import structural_similarity

    pair = (np.asarray(colour.luma(one), np.float64) for one in (first, second))
    return float(structural_similarity(*pair, data_range=1.0, gaussian_weights=True, sigma=1.5))


def likeness(analyzer: Analyzer, picture: RGBImage, photos: Sequence[RGBImage]) -> float | None:
    """Mean cosine to the faces of the photos; None without a face."""
    face = similarity.subject_face(analyzer.find(picture))
    others = [similarity.subject_face(analyzer.find(one)) for one in photos]
    rows = [one.embedding for one in others if one is not None]
    return None if face is None or not rows else float((np.stack(rows) @ face.embedding).mean())


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean, by Student's t."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def _mean(name: str, values: Sequence[float], unit: str, target: float | None = None, **more: bool) -> Row:
    return Row(name, statistics.fmean(values), unit, len(values), target, ci95=_spread(values), **more)


def upscaling(people: Sequence[Person], reporter: Analyzer, ways: dict[str, Enlarge]) -> list[Row]:
    """PSNR, SSIM and likeness by B of every way beside Lanczos."""
    rows: list[Row] = []
    psnrs: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for name, enlarge in ways.items():
        drawn = [np.clip(enlarge(one.small.astype(np.float32) / 255), 0, 1) for one in people]
        truths = [one.truth.astype(np.float32) / 255 for one in people]
        psnrs[name] = [psnr(a, b) for a, b in zip(drawn, truths, strict=True)]
        rows.append(_mean(f"4x {name}: PSNR", psnrs[name], "dB"))
        rows.append(_mean(f"4x {name}: SSIM", [ssim(a, b) for a, b in zip(drawn, truths, strict=True)], ""))
        pairs = [
            (likeness(reporter, one.small, one.photos), likeness(reporter, to_bytes(large), one.photos))
            for one, large in zip(people, drawn, strict=True)
        ]
        losses[name] = [a - (b or 0.0) for a, b in pairs if a is not None]
        rows.append(_mean(f"4x {name}: fall of likeness by B", losses[name], "", 0.01, at_most=True))
        rows.append(Row(f"4x {name}: largest fall", max(losses[name]), "", len(losses[name]), 0.05, True))
    for name in ways:
        if name != "lanczos":
            gain = [a - b for a, b in zip(psnrs[name], psnrs["lanczos"], strict=True)]
            rows.append(_mean(f"4x {name}: PSNR over Lanczos", gain, "dB", 1.0))
            off = [a - b for a, b in zip(losses[name], losses["lanczos"], strict=True)]
            rows.append(_mean(f"4x {name}: likeness lost beyond Lanczos", off, "", _NO_WORSE, at_most=True))
    return rows


def seams(people: Sequence[Person]) -> list[Row]:
    """The largest difference that the size of the tiles makes, and that at the lines between tiles."""
    net = read_upscaler(upscale.STUDIO)
    worst = 0.0
    for one in people:
        small = one.small.astype(np.float32) / 255
        whole = net(small)
        for tile in (32, 48, 64, 100):
            tiled = tiles.enlarged(small, SCALE, net, tile=tile, margin=net.margin_px)
            worst = max(worst, float(np.abs(tiled - whole).max()) * 255)
    return [Row("seams: largest difference by tile size", worst, "of 255", 4 * len(people), 0.5, True)]


def _print_of_24_megapixels() -> float:
    """GB of memory that the step and its eight-bit picture take above a process that has run the network."""
    from portrait_lora.finishing.steps.upscale import Upscale, UpscaleSettings

    class Tools:
        studio, commercial, redraw, folder = True, False, None, Path()

        def embedded(self, path: Path) -> Path:
            return path

    step, settings = Upscale(), UpscaleSettings()
    rng = np.random.default_rng(0)
    step.apply(Canvas.of(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)), settings, Tools())  # pyright: ignore[reportArgumentType]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = Canvas.of(rng.integers(0, 256, (_PRINT_PX, _PRINT_PX, 3)).astype(np.uint8))
    out = step.apply(large, settings, Tools())  # pyright: ignore[reportArgumentType]
    out.flat()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / _GB


def memory() -> list[Row]:
    """In a process of its own, so that nothing else counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        value = pool.apply(_print_of_24_megapixels)
    return [Row("24 MP output: memory above the model", value, "GB", 1, 1.5, True)]


def _planted(rgb: RGBImage, where: Regions, seed: int) -> tuple[RGBImage, list[tuple[int, int, bool]]]:
    """Six red spots and three moles on the skin, apart from one another."""
    rng = np.random.default_rng(seed)
    lab = colour.to_oklab(rgb.astype(np.float32) / 255)
    ys, xs = np.where(where.skin > 0.98)
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    placed: list[tuple[int, int, bool]] = []
    for _ in range(400):
        k = int(rng.integers(len(ys)))
        y, x = int(ys[k]), int(xs[k])
        if len(placed) == 9 or any(np.hypot(y - a, x - b) < 0.3 * where.unit_px for a, b, _ in placed):
            continue
        radius, red = where.unit_px * float(rng.uniform(0.025, 0.05)), len(placed) < 6
        bump = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / radius**2)[..., None]
        lab = lab + bump * np.array(_RED if red else _BROWN, np.float32)
        placed.append((y, x, red))
    return to_bytes(np.clip(colour.from_oklab(lab), 0, 1)), placed


def retouching(people: Sequence[Person], models: Models) -> list[Row]:
    """Planted spots, texture of the skin, likeness, and pixels outside the face."""
    gone: list[float] = []
    kept: list[float] = []
    textures: list[float] = []
    falls: list[float] = []
    for number, one in enumerate(people):
        tools = models.tools(Path(), 0)
        clean = Canvas.of(one.truth)
        face = tools.face(clean)
        where = regions(one.truth.shape[:2], face, tools.parts(clean))
        planted, spots = _planted(one.truth, where, number)
        only = Retouch().apply(Canvas.of(planted), RetouchSettings(blemishes=1.0), tools)
        red = [
            colour.to_oklab(p)[..., 1]
            for p in (one.truth / np.float32(255), planted / np.float32(255), only.rgb_HW3)
        ]
        light = [
            colour.to_oklab(p)[..., 0]
            for p in (one.truth / np.float32(255), planted / np.float32(255), only.rgb_HW3)
        ]
        for y, x, is_red in spots:
            truth, before, after = (v[y, x] for v in (red if is_red else light))
            left = float((after - truth) / (before - truth)) if abs(before - truth) > 0.01 else None
            if left is not None:
                (gone if is_red else kept).append(float(abs(left) < 0.5 if is_red else left > 0.9))
        after = Retouch().apply(clean, RETOUCHED, tools).flat()
        crops = [quality.aligned_crop(p, np.asarray(face.keypoints_px)) for p in (one.truth, after)]
        textures.append(skin_texture(crops[1]) / skin_texture(crops[0]))
        pair = [likeness(models.reporter, p, one.photos) for p in (one.truth, after)]
        if pair[0] is not None:
            falls.append(pair[0] - (pair[1] or 0.0))
    return [
        Row("retouch: planted red spots gone", statistics.fmean(gone), "share", len(gone), 0.8),
        Row("retouch: planted moles kept", statistics.fmean(kept), "share", len(kept), 0.95),
        _mean("retouch: skin texture after over before", textures, "", 0.99),
        Row("retouch: lowest skin texture after over before", min(textures), "", len(textures), 0.95),
        _mean("retouch: fall of likeness by B", falls, "", 0.01, at_most=True),
        Row("retouch: largest fall", max(falls), "", len(falls), 0.05, True),
    ]


def seconds(people: Sequence[Person], models: Models, times: int = 5) -> list[Row]:
    """A whole gated chain, grade and 4×, with the models loaded."""
    steps = planned([{"grade": {"contrast": 0.1, "grain": 0.1}}, {"upscale": {"factor": 4}}], "measured")
    spent: list[float] = []
    for one in [people[0], *(people[i % len(people)] for i in range(times))]:
        begun = time.monotonic()
        judge = SimilarityJudge(models, models.held_out or (one.small,), Path(), 0)
        chain.run(Canvas.of(one.small), steps, models.tools(Path(), 0), judge)
        spent.append(time.monotonic() - begun)
    median = statistics.median(spent[1:])
    return [Row("time of a portrait of 128 px: grade and 4x, gated", median, "s", times, 2.0, True)]


def main() -> int:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, default=None, help="another 4x network, measured beside")
    parser.add_argument(
        "--sheet", type=Path, default=None, help="write a picture: small, Lanczos, network, truth"
    )
    options = parser.parse_args()
    count = 30 if options.full else 8
    people = [person(FIRST_SEED + options.seed * 1000 + i) for i in range(count)]
    pack = resolve_pack("embedded")
    models = Models(pack, open_analyzer(pack, "select"), open_analyzer(pack, "report"))
    size = (SMALL_PX * SCALE, SMALL_PX * SCALE)
    ways: dict[str, Enlarge] = {
        "lanczos": lambda small: lanczos(small, size),
        "studio": read_upscaler(upscale.STUDIO),
    }
    if options.model is not None:
        ways[options.model.stem] = read_upscaler(options.model)
    if options.sheet is not None:
        _sheet(people[:4], ways, options.sheet)
    table = Table(options.json, width=56)
    table.add(upscaling(people, models.reporter, ways))
    table.add(seams(people[:2]))
    table.add(retouching(people, models))
    table.add(seconds(people, models))
    table.add(memory())
    return table.code()


def _sheet(people: Sequence[Person], ways: dict[str, Enlarge], path: Path) -> None:
    rows: list[np.ndarray] = []
    for one in people:
        small = one.small.astype(np.float32) / 255
        drawn = [to_bytes(np.clip(way(small), 0, 1)) for way in ways.values()]
        rows.append(np.concatenate([*drawn, one.truth], axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)


if __name__ == "__main__":
    sys.exit(main())
