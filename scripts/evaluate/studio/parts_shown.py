"""Rows of the sheet on parts: what the renderer knows of every pixel, and what the segmenter sees."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portrait_lora import synthetic
from portrait_lora.evaluation.overview import Row
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from portrait_lora.records import NOT_SEEN
from portrait_lora.synthetic.parts import PARTS, part_labels
from scripts.evaluate import covering
from scripts.evaluate.studio.pages import Tiles, rows_of, tiles

SIDE_PX: Final = 160
PEOPLE: Final = 8
FIRST_SEED: Final = 891_000
SHARES: Final = (0.0, 0.05, 0.15, 0.2, 0.28, 0.34, 0.4, 0.46)
_COLOURS: Final = {
    "backdrop": (214, 212, 206),
    "clothes": (74, 96, 150),
    "skin": (230, 178, 142),
    "hair": (110, 70, 44),
    "eyes": (44, 150, 120),
    "glasses": (176, 58, 120),
    "thing": (206, 44, 40),
}
_UNSEEN: Final = (250, 248, 244)


def part_rows() -> list[Row]:
    """Eight people: pictures, truth, what is seen; the same with things held before them."""
    seeds = [FIRST_SEED + i for i in range(PEOPLE)]
    people, scenes = synthetic.sample_people(seeds), synthetic.sample_scenes(seeds)
    render = synthetic.render(people, scenes, SIDE_PX, supersample=2)
    truth = part_labels(people, scenes, SIDE_PX).numpy()
    plain = render.image_BCHW.permute(0, 2, 3, 1).contiguous().numpy()
    hidden = [
        covering.covered(image, points.numpy(), share, seed)
        for image, points, share, seed in zip(plain, render.landmarks_px, SHARES, seeds, strict=True)
    ]
    nothing = [""] * PEOPLE
    rows = rows_of("Renders", "", tiles(render.image_BCHW, nothing), PEOPLE)
    rows += rows_of("What the renderer knows", "", tiles(_painted(list(truth), PARTS), nothing), PEOPLE)
    analyzer = FaceAnalyzer(resolve_pack())
    rows += rows_of("What the segmenter sees", "", _seen(analyzer, list(plain)), PEOPLE)
    words = [f"{share:.0%} hidden" for share in SHARES]
    rows += rows_of("Things before the face", "", tiles(_stack(hidden), words), PEOPLE)
    return rows + rows_of("What the segmenter sees", "", _seen(analyzer, hidden, show_share=True), PEOPLE)


def _seen(analyzer: FaceAnalyzer, images: list[npt.NDArray[np.uint8]], *, show_share: bool = False) -> Tiles:
    labels, words, names = [], [], PARTS
    for image in images:
        face = next(iter(analyzer.find(image)), None) or analyzer.covered_face(image)
        parts = analyzer.parts(image, face) if face else None
        if face is None or parts is None:
            labels.append(np.full(image.shape[:2], NOT_SEEN, np.uint8))
            words.append("no face")
            continue
        names = parts.names
        labels.append(parts.labels_HW)
        words.append(f"{face.covered_share:.0%} seen" if show_share else "")
    return tiles(_painted(labels, names), words)


def _painted(labels: list[npt.NDArray[np.uint8]], names: tuple[str, ...]) -> Tensor:
    table = np.full((256, 3), _UNSEEN, np.uint8)
    table[: len(names)] = [_COLOURS[name] for name in names]
    return _stack([table[one] for one in labels])


def _stack(images: list[npt.NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
