"""Whether a judge trained on renders tells a composite from a render, and from a naive paste.

python -m scripts.evaluate.finishing_composites --quick
python -m scripts.evaluate.finishing_composites --full --json figures.json [--sheet sheet.png]

A person is rendered before one backdrop, cut out, and put before a second one; the studio renders the same
person before that backdrop as well.  The two pictures differ in nothing but the compositing.  A small network
learns to tell them apart on people whom nothing else knows, and is tested on others.  A judge that cannot see
a naive paste (a hard edge with its old colours) would prove nothing, so one is trained and tested beside it.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from portrait_lora import synthetic
from portrait_lora.errors import InputError
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.records import RGBImage
from portrait_lora.stages.finish_judge import no_model
from portrait_lora.synthetic.backdrop import linear_to_srgb, paint_backdrop
from portrait_lora.synthetic.scene import FIELDS, Scenes
from scripts.rows import Row, Table, arguments

FIRST_TESTED: Final = 951_000
FIRST_TAUGHT: Final = 955_000
"""People who trained nothing, and on whom nothing was tuned; taught and tested are different people."""
SIZE_PX: Final = (216, 272)
PATCH_PX, POINTS = 40, 24
"""Side of the squares on the outline that one of the judges sees at full resolution, and how many of them."""
WAYS: Final = ("finished", "without shadow", "naive paste")
MOST, LEAST_NAIVE = 0.65, 0.90
Couple = tuple[RGBImage, RGBImage, np.ndarray]
"""Render, composite, and their outline."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The render before the second backdrop, points (row, column) of the person's outline in it, and per way
    the composite before the same backdrop; None: refused."""

    render: RGBImage
    outline_N2: np.ndarray
    composites: dict[str, RGBImage | None]


def pairs(seed: int, count: int, tools: PictureTools, folder: Path) -> list[Pair]:
    """Portraits of one person, in all rigs, with hats and places."""
    person = synthetic.dressed(synthetic.sample_people([seed]), [seed])
    done: list[Pair] = []
    for number in range(count):
        first = synthetic.sample_scenes(
            [seed * 1009 + number], edition=2, max_yaw_deg=50.0, head_fraction=0.5
        )
        other = synthetic.sample_scenes([seed * 1009 + number + 500], edition=2)
        second = Scenes(
            first.seeds,
            **{
                name: getattr(other if name in ("backdrop", "backdrop_colour") else first, name)
                for name in FIELDS
            },
        )
        before = _pixels(synthetic.render(person, first, SIZE_PX, supersample=2))
        truth = _pixels(synthetic.render(person, second, SIZE_PX, supersample=2))
        empty = paint_backdrop(second.rows()[0], *SIZE_PX, torch.device("cpu"))
        behind = (linear_to_srgb(empty).clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(behind)).save(folder / "behind.png")
        alone = synthetic.render(person, first, SIZE_PX, supersample=2, transparent=True)
        outline = _outline(alone.mask_BHW[0].numpy(), seed + number)
        done.append(Pair(truth, outline, _composites(before, behind, tools)))
    return done


def _pixels(rendered: synthetic.Render) -> RGBImage:
    return np.ascontiguousarray(rendered.image_BCHW[0].permute(1, 2, 0).numpy())


def _outline(alpha_HW: np.ndarray, seed: int) -> np.ndarray:
    """(POINTS, 2) rows and columns on the person's true outline."""
    inside = alpha_HW > 127
    edge = inside & ~(
        np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    )
    edge[[0, -1]] = edge[:, [0, -1]] = False
    places = np.argwhere(edge)
    return places[np.random.default_rng(seed).integers(0, len(places), POINTS)]


def _composites(before: RGBImage, behind: RGBImage, tools: PictureTools) -> dict[str, RGBImage | None]:
    canvas = Canvas.of(before)
    tools.begin(0, "", canvas)
    try:
        cut = Cutout().apply(canvas, CutoutSettings(), tools)
    except InputError:
        return dict.fromkeys(WAYS)
    assert cut.alpha_HW is not None
    hard = (cut.alpha_HW > 0.5)[..., None]
    results: dict[str, RGBImage | None] = {"naive paste": np.where(hard, before, behind)}
    for way, shadow in (("finished", {}), ("without shadow", {"shadow": 0.0})):
        (step,) = planned([{"backdrop": {"picture": "behind.png"} | shadow}], "here")
        try:
            results[way] = step.step.apply(cut, step.settings, tools).flat()
        except InputError:  # its light contradicts the face's
            results[way] = None
    return results


class Judge(nn.Module):
    """(B, 6, H, W) pictures with their fine detail -> (B,) how much they look like a composite."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((6, 16, 32, 48, 64)):
            layers += [nn.Conv2d(before, after, 3, stride=1 if before == 6 else 2, padding=1)]
            layers += [nn.GroupNorm(4, after), nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Linear(2 * 64, 1)

    def forward(self, pictures_B6HW: Tensor) -> Tensor:
        seen = self.features(pictures_B6HW)
        return self.verdict(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1))[:, 0]


def _seen(rgb_BHW3: np.ndarray) -> Tensor:
    """(B, 6, H, W): colours in -1..1, and what a blur takes from them, eight times."""
    rgb = torch.from_numpy(rgb_BHW3).permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.cat([rgb, 8 * (rgb - nn.functional.avg_pool2d(rgb, 3, 1, 1, count_include_pad=False))], 1)


def patches(picture: RGBImage, outline_N2: np.ndarray) -> np.ndarray:
    """(N, P, P, 3) at full resolution, each round a point (row, column) of the outline."""
    half = PATCH_PX // 2
    wide = np.pad(picture, ((half, half), (half, half), (0, 0)), mode="reflect")
    return np.stack([wide[y : y + PATCH_PX, x : x + PATCH_PX] for y, x in outline_N2])


def small(picture: RGBImage) -> np.ndarray:
    """(1, H/2, W/2, 3): the whole picture."""
    height, width = picture.shape[:2]
    halves = picture[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, 3)
    return (halves.mean(axis=(1, 3)) + 0.5).astype(np.uint8)[None]


def taught(renders: np.ndarray, composites: np.ndarray, seed: int, steps: int, batch: int) -> Judge:
    """A judge that has seen renders and composites, both of a pair in one batch, mirrored at random.

    Both (N, H, W, 3).
    """
    torch.manual_seed(seed)
    judge, rng = Judge(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    truth = torch.tensor([0.0] * batch + [1.0] * batch)
    for _ in range(steps):
        chosen = rng.integers(0, len(renders), batch)
        pictures = np.concatenate([renders[chosen], composites[chosen]])
        if rng.random() < 0.5:
            pictures = np.ascontiguousarray(pictures[:, :, ::-1])
        loss = nn.functional.binary_cross_entropy_with_logits(judge(_seen(pictures)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    return judge.eval()


@dataclass(frozen=True, slots=True)
class Jury:
    """One judge for the outline at full resolution, one for the picture as a whole; their logits add up."""

    outline: Judge
    whole: Judge

    @classmethod
    def taught(cls, lesson: Sequence[Couple], seed: int, steps: int) -> Jury:
        edges = [np.concatenate([patches(one[side], one[2]) for one in lesson]) for side in (0, 1)]
        wholes = [np.concatenate([small(one[side]) for one in lesson]) for side in (0, 1)]
        return cls(
            taught(edges[0], edges[1], seed, steps, 32), taught(wholes[0], wholes[1], seed + 1, steps, 8)
        )

    @torch.inference_mode()
    def verdict(self, picture: RGBImage, outline_N2: np.ndarray) -> float:
        """Above 0: a composite."""
        edges = self.outline(_seen(patches(picture, outline_N2))).mean()
        return float(edges + self.whole(_seen(small(picture)))[0])


def rows_of(way: str, taught_on: Sequence[Pair], tested: Sequence[Pair], seed: int, steps: int) -> list[Row]:
    """Shares right over renders and composites, and of which of the two in a pair is the composite."""
    lesson = [(p.render, c, p.outline_N2) for p in taught_on if (c := p.composites[way]) is not None]
    exam = [(p.render, c, p.outline_N2) for p in tested if (c := p.composites[way]) is not None]
    jury = Jury.taught(lesson, seed, steps)
    seen, known = (
        [np.array([jury.verdict(one[side], one[2]) for one in couples]) for side in (0, 1)]
        for couples in (exam, lesson[: len(exam)])
    )
    right = int((seen[0] < 0).sum() + (seen[1] >= 0).sum())
    n = 2 * len(exam)
    naive = way == "naive paste"
    share = right / n
    target = LEAST_NAIVE if naive else MOST if way == "finished" else None
    return [
        Row(
            f"{way}: renders and composites told apart",
            share,
            "share",
            n,
            target,
            not naive,
            ci95=_interval(right, n),
        ),
        Row(
            f"{way}: the composite of a pair picked out",
            float(np.mean(seen[1] > seen[0])),
            "share",
            len(exam),
        ),
        Row(
            f"{way}: told apart on the people it was taught with",
            float(np.mean([*(known[0] < 0), *(known[1] >= 0)])),
            "share",
            2 * len(known[0]),
        ),
        Row(f"{way}: mean difference within a pair", _difference(exam), "dE2000", len(exam)),
    ]


def _interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    ends = binomtest(right, n).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def _difference(exam: Sequence[Couple]) -> float:
    from skimage.color import deltaE_ciede2000, rgb2lab

    return float(np.mean([deltaE_ciede2000(rgb2lab(a), rgb2lab(b)).mean() for a, b, _ in exam[:40]]))


def main() -> int:
    """Render, composite, teach, test, print, and write the rows and the sheet."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sheet", type=Path, default=None, help="write some pairs to this file")
    options = parser.parse_args()
    taught_people, tested_people, steps = (60, 30, 1500) if options.full else (12, 4, 400)
    pack = resolve_pack("embedded")
    table = Table(options.json, width=64)
    lots: list[list[Pair]] = []
    with tempfile.TemporaryDirectory() as name:
        tools = PictureTools(open_analyzer(pack, "select"), Path(name), options.seed, no_model)
        for first, people in ((FIRST_TAUGHT, taught_people), (FIRST_TESTED, tested_people)):
            seeds = range(first + 1000 * options.seed, first + 1000 * options.seed + people)
            lots.append([pair for seed in seeds for pair in pairs(seed, 8, tools, Path(name))])
            print(f"{len(lots[-1])} pairs of {people} people", file=sys.stderr, flush=True)
    lesson, exam = lots
    for way in WAYS:
        table.add(rows_of(way, lesson, exam, options.seed, steps))
    refused = sum(pair.composites["finished"] is None for pair in exam)
    table.add(
        [
            Row(
                "finished: refused, as the backdrop's light contradicts",
                refused / len(exam),
                "share",
                len(exam),
            )
        ]
    )
    if options.sheet is not None:
        shown = [p for p in exam if all(c is not None for c in p.composites.values())][:12]
        rows = [np.hstack([p.render, *(c for c in p.composites.values() if c is not None)]) for p in shown]
        Image.fromarray(np.vstack(rows)).save(options.sheet)
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
