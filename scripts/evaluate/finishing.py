"""Cut-out, backdrop and its light measured on renders of unseen people, whose truth is known.

python -m scripts.evaluate.finishing --quick
python -m scripts.evaluate.finishing --full --json figures.json [--sheet sheet.png]

Upscaling and retouching are in `finishing_detail`.  `--sheet` writes pictures to look at: the render, the
cut-out on white and on black, and the shipped looks with a backdrop.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from PIL import Image

from portrait_lora import synthetic, vocabulary
from portrait_lora.errors import InputError
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.finishing import chain, colour, light
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.look import Planned, load_look, planned
from portrait_lora.finishing.step import Tools
from portrait_lora.finishing.steps.backdrop import FULL_STOPS
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.records import FloatArray, RGBImage
from portrait_lora.stages.finish_judge import Models, SimilarityJudge, no_model
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 947_000
"""People who trained nothing, and on whom nothing was tuned."""
SIZE_PX: Final = (288, 360)
REFERENCES: Final = 3
BAND: Final = 0.012
"""Half the width of the band round head and hair, in picture heights; the truth is soft over 1 or 2 px."""
GROUNDS: Final = {"white": (0.95, 0.95, 0.95), "charcoal": (0.06, 0.06, 0.07)}
ALPHA, BAND_ALPHA, BAND_COLOUR = 0.01, 0.06, 4.0
LIGHT_DEG, LIGHT_SHARE = 15.0, 0.95
FALL_MEAN, FALL_MAX = 0.01, 0.05
LOOKS: Final = ("studio-white", "charcoal", "warm-office")
STEPS: Final = (
    {"cutout": {}},
    {"backdrop": {"kind": "paper"}},
    {"backdrop": {"kind": "bokeh", "colour": "#57473a", "second": "#ffd2a0"}},
)


@dataclass(frozen=True, slots=True)
class Sitter:
    """A portrait, the person alone with the true alpha (0..1), and the true direction of the key light."""

    picture: RGBImage
    alone: RGBImage
    alpha: FloatArray
    towards: FloatArray
    in_a_place: bool


@dataclass(frozen=True, slots=True)
class CutOut:
    """Errors of one cut-out: alpha over the picture and in the band, ΔE2000 in the band after a swap, that
    with the old colours, and where alpha is the true one with estimated and with old colours."""

    alpha: float
    band: float
    swap: float
    swap_old: float
    true_alpha: float
    true_alpha_old: float


def sitters(seed: int, count: int) -> list[Sitter]:
    """Portraits of one person, with hats and places, in all rigs."""
    scenes = [seed * 1009 + i for i in range(count)]
    person = synthetic.dressed(synthetic.sample_people([seed]), [seed])
    results = []
    for one in scenes:
        scene = synthetic.sample_scenes([one], edition=2, max_yaw_deg=50.0, head_fraction=0.52)
        whole = synthetic.render(person, scene, SIZE_PX, supersample=2)
        alone = synthetic.render(person, scene, SIZE_PX, supersample=2, transparent=True)
        place = vocabulary.ALL_BACKDROPS[int(scene.backdrop[0])] in vocabulary.PLACES
        alpha = (alone.mask_BHW[0].numpy() / 255).astype(np.float32)
        results.append(Sitter(_pixels(whole), _pixels(alone), alpha, whole.light_direction[0].numpy(), place))
    return results


def _pixels(rendered: synthetic.Render) -> RGBImage:
    return np.ascontiguousarray(rendered.image_BCHW[0].permute(1, 2, 0).numpy())


def band_of(alpha_HW: FloatArray, chin_row: int) -> np.ndarray:
    """(H, W) bool: near the true outline of the head, down to the chin."""
    radius = max(2, round(BAND * alpha_HW.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    edge = cv2.morphologyEx((alpha_HW > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0
    edge[chin_row:] = False
    return edge


def on_ground(rgb_HW3: FloatArray, alpha_HW: FloatArray, ground: Sequence[float]) -> FloatArray:
    """(H, W, 3) coded, mixed in linear light."""
    share = alpha_HW[..., None]
    behind = colour.to_linear(np.array(ground, np.float32))
    return colour.to_coded(colour.to_linear(rgb_HW3) * share + behind * (1 - share))


def cut_out(one: Sitter, tools: Tools) -> tuple[CutOut, Canvas]:
    """Raises `InputError` for a portrait that cannot be cut out."""
    from portrait_lora.finishing.foreground import foreground

    canvas = Canvas.of(one.picture)
    cut = Cutout().apply(canvas, CutoutSettings(), tools)
    assert cut.alpha_HW is not None
    face = tools.face(canvas)
    chin = face.box_xyxy_px[3] if face.landmarks_px is None else face.landmarks_px[:17, 1].max()
    band = band_of(one.alpha, round(float(chin)))
    off = np.abs(cut.alpha_HW - one.alpha)
    alone = Canvas.of(one.alone).rgb_HW3

    def swap(rgb: FloatArray, alpha: FloatArray) -> float:
        pairs = [(on_ground(rgb, alpha, g), on_ground(alone, one.alpha, g)) for g in GROUNDS.values()]
        return float(np.mean([colour_error(got, want)[band].mean() for got, want in pairs]))

    errors = CutOut(
        float(off.mean()),
        float(off[band].mean()),
        swap(cut.rgb_HW3, cut.alpha_HW),
        swap(canvas.rgb_HW3, cut.alpha_HW),
        swap(foreground(canvas.rgb_HW3, one.alpha), one.alpha),
        swap(canvas.rgb_HW3, one.alpha),
    )
    return errors, cut


def colour_error(first: FloatArray, second: FloatArray) -> np.ndarray:
    """(H, W) CIE ΔE2000."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    return deltaE_ciede2000(rgb2lab(np.clip(first, 0, 1)), rgb2lab(np.clip(second, 0, 1)))


def light_error(one: Sitter, cut: Canvas, tools: Tools) -> tuple[float, float]:
    """Degrees between the light that a new backdrop shows and the face's: the true one, and as measured.

    The backdrop's fall-off gives two components, its strength the length that is left for the third.
    """
    (step,) = planned(
        [{"backdrop": {"colour": "#707478", "light": 1.0, "shadow": 0.0, "grade": 0.0}}], "here"
    )
    result = step.step.apply(cut, step.settings, tools)
    assert cut.alpha_HW is not None
    right, up = light.slope(result.rgb_HW3, cut.alpha_HW <= 0)
    x, y = right / FULL_STOPS, up / FULL_STOPS
    measured = light.measure(cut.rgb_HW3, tools.face(cut), tools.parts(cut)).direction

    def degrees(towards: Sequence[float]) -> float:
        shown = np.array([x, y, np.copysign(np.sqrt(max(0.0, 1 - x * x - y * y)), towards[2])])
        cosine = float(shown @ np.asarray(towards) / np.linalg.norm(shown) / np.linalg.norm(towards))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    return degrees(one.towards.tolist()), degrees(measured)


@dataclass(frozen=True, slots=True)
class Fall:
    """How far likeness falls in one step: by B to references that went through it as well, and to plain ones;
    by A, which the gate uses, to the first; by B beyond the same step from the true person and coverage."""

    alike: float
    plain: float
    gate: float
    beyond: float


def falls(
    sitter: Sitter, judge: SimilarityJudge, tools: PictureTools, steps: Sequence[Planned]
) -> list[Fall]:
    """Of every step alone, after a cut-out where it needs one; beside it from a faultless cut-out."""
    canvas, faultless = Canvas.of(sitter.picture), Canvas.of(sitter.alone, to_bytes(sitter.alpha))
    before, gate = judge.reported(canvas.flat(), ()), judge.likeness(canvas.flat(), ())
    results: list[Fall] = []
    for one in steps:
        tools.begin(0, "", canvas)
        after = one.step.apply(canvas, one.settings, tools).flat()
        alike, plain = judge.reported(after, [one]), judge.reported(after, ())
        passed = judge.likeness(after, [one])
        tools.begin(0, "", faultless)
        best = judge.reported(one.step.apply(faultless, one.settings, tools).flat(), [one])
        if before is None or gate is None or alike is None or plain is None or passed is None or best is None:
            raise InputError("a face is no longer found")
        results.append(Fall(before - alike, before - plain, gate - passed, best - alike))
    return results


def cut_rows(all_errors: Sequence[CutOut], in_place: Sequence[bool]) -> list[Row]:
    """Alpha and colour."""
    n = len(all_errors)

    def mean(name: str, keep: Sequence[bool]) -> float:
        return float(np.mean([getattr(e, name) for e, k in zip(all_errors, keep, strict=True) if k]))

    every = [True] * n
    rows = [
        Row("cut-out: mean alpha error, whole picture", mean("alpha", every), "alpha", n, ALPHA, True),
        Row(
            "cut-out: mean alpha error, band of head and hair",
            mean("band", every),
            "alpha",
            n,
            BAND_ALPHA,
            True,
        ),
        Row("swap: colour error in that band", mean("swap", every), "dE2000", n, BAND_COLOUR, True),
        Row("swap: the same without foreground colours", mean("swap_old", every), "dE2000", n),
        Row("swap by the true alpha: colour error", mean("true_alpha", every), "dE2000", n),
        Row("swap by the true alpha, without foreground colours", mean("true_alpha_old", every), "dE2000", n),
        Row(
            "cut-out: share of portraits within 0.01",
            float(np.mean([e.alpha <= ALPHA for e in all_errors])),
            "share",
            n,
        ),
    ]
    for what, keep in (("studio backdrops", [not p for p in in_place]), ("places", list(in_place))):
        if any(keep):
            rows.append(Row(f"cut-out: mean alpha error, {what}", mean("alpha", keep), "alpha", sum(keep)))
            rows.append(Row(f"cut-out: in the band, {what}", mean("band", keep), "alpha", sum(keep)))
    return rows


def fall_rows(name: str, results: Sequence[Fall]) -> list[Row]:
    """Of one step."""
    n = len(results)
    alike = [f.alike for f in results]
    return [
        Row(f"{name}: fall of likeness by B, mean", float(np.mean(alike)), "cosine", n, FALL_MEAN, True),
        Row(
            f"{name}: share that falls by more than the gate's limit by A",
            float(np.mean([f.gate > chain.LIMIT for f in results])),
            "share",
            n,
        ),
        Row(f"{name}: the largest fall", float(np.max(alike)), "cosine", n, FALL_MAX, True),
        Row(
            f"{name}: share that falls by more than {FALL_MAX:g}",
            float(np.mean(np.array(alike) > FALL_MAX)),
            "share",
            n,
        ),
        Row(
            f"{name}: beyond the fall from a faultless cut-out, mean",
            float(np.mean([f.beyond for f in results])),
            "cosine",
            n,
        ),
        Row(
            f"{name}: the largest beyond it",
            float(np.max([f.beyond for f in results])),
            "cosine",
            n,
            FALL_MAX,
            True,
        ),
        Row(
            f"{name}: to references with their own backdrops, mean",
            float(np.mean([f.plain for f in results])),
            "cosine",
            n,
        ),
    ]


def strip(one: Sitter, cut: Canvas, tools: PictureTools) -> np.ndarray:
    """A row of the sheet."""
    assert cut.alpha_HW is not None
    row = [one.picture] + [to_bytes(on_ground(cut.rgb_HW3, cut.alpha_HW, g)) for g in GROUNDS.values()]
    for name in LOOKS:
        canvas = Canvas.of(one.picture)
        for place, step in enumerate(load_look(name).steps):
            tools.begin(place, "", canvas)
            canvas = step.step.apply(canvas, step.settings, tools)
        row.append(canvas.flat())
    return np.hstack(row)


def main() -> int:
    """Measure, print, and write the rows and the sheet."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sheet", type=Path, default=None, help="write pictures to this file")
    options = parser.parse_args()
    people, portraits = (30, 8) if options.full else (6, 3)
    pack = resolve_pack("embedded")
    finder, reporter = open_analyzer(pack, "select"), open_analyzer(pack, "report")
    table = Table(options.json, width=60)
    tools = PictureTools(finder, Path(), options.seed, no_model)
    steps = [one for entry in STEPS for one in planned([entry], "here")]
    errors: list[CutOut] = []
    places: list[bool] = []
    degrees: list[tuple[float, float]] = []
    fallen: list[list[Fall]] = [[] for _ in steps]
    refused = 0
    sheet: list[np.ndarray] = []
    for number in range(people):
        seed = FIRST_SEED + 1000 * options.seed + number
        mine = sitters(seed, portraits + REFERENCES)
        held_out = tuple(one.picture for one in mine[portraits:])
        judge = SimilarityJudge(Models(pack, finder, reporter, held_out), held_out, Path(), options.seed)
        for one in mine[:portraits]:
            tools.begin(0, "", Canvas.of(one.picture))
            try:
                error, cut = cut_out(one, tools)
                degrees.append(light_error(one, cut, tools))
                results = falls(one, judge, tools, steps)
            except InputError:
                refused += 1
                continue
            errors.append(error)
            places.append(one.in_a_place)
            for into, fall in zip(fallen, results, strict=False):
                into.append(fall)
            if options.sheet and one is mine[0]:
                sheet.append(strip(one, cut, tools))
    table.add(cut_rows(errors, places))
    shown = np.array(degrees)
    table.add(
        [
            Row(
                "backdrop: light within 15 degrees of the face's true light",
                float(np.mean(shown[:, 0] <= LIGHT_DEG)),
                "share",
                len(shown),
                LIGHT_SHARE,
            ),
            Row("backdrop: median angle to it", float(np.median(shown[:, 0])), "degrees", len(shown)),
            Row(
                "backdrop: within 15 degrees of the light as measured",
                float(np.mean(shown[:, 1] <= LIGHT_DEG)),
                "share",
                len(shown),
                LIGHT_SHARE,
            ),
            Row("refused portraits", refused / (people * portraits), "share", people * portraits),
        ]
    )
    for one, results in zip(steps, fallen, strict=True):
        name = one.step.name + ("" if one.step.name == "cutout" else f" {one.settings.model_dump()['kind']}")
        table.add(fall_rows(name, results))
    if options.sheet:
        Image.fromarray(np.vstack(sheet)).save(options.sheet)
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
