"""What an adapter costs in obedience: a person's series beside the same prompts on the bare base.

Read by the classifiers of the studio, which are the judges of record, and by the face pack, which is at hand
everywhere but sees fewer attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from portrait_lora import config
from portrait_lora.evaluation.adherence import Request, obeyed
from portrait_lora.evaluation.drift import clustered_interval
from portrait_lora.evaluation.similarity import subject_face
from portrait_lora.faces import FaceAnalyzer
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.vocabulary import LOOK_FIELDS, Look
from scripts.evaluate.studio.attributes import ATTRIBUTES, labels, prompted
from scripts.evaluate.studio.classifiers import Reader, right
from scripts.evaluate.studio.network import SIZE_PX
from scripts.rows import Row

MOST_LOST: Final = 0.03
BASE_SUFFIX: Final = "-base"


def look_of(layers: Mapping[str, str]) -> Look:
    """The layers of a shot as a look; the trigger is left out of the subject."""
    fields = {k: v for k, v in layers.items() if k in LOOK_FIELDS}
    return prompted(Look(**fields | {"subject": layers["subject"].split()[-1]}))


def middle(picture: Image.Image) -> Tensor:
    """(3, 128, 128) uint8 of the largest square in the middle of the width, from the top."""
    side = min(picture.size)
    left = (picture.width - side) // 2
    square = picture.convert("RGB").crop((left, 0, left + side, side))
    if side != SIZE_PX:
        square = square.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def pairs(folder: Path, series: str) -> list[tuple[Look, Tensor, Tensor]]:
    """(look, with the adapter, without it) of every portrait of the series that has both."""
    bare = folder / "portraits" / f"{series}{BASE_SUFFIX}"
    compared: list[tuple[Look, Tensor, Tensor]] = []
    for file in sorted((folder / "portraits" / series).glob("*.png")):
        if not (bare / file.name).is_file():
            continue
        layers = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["recipe"]["layers"]
        with Image.open(file) as ours, Image.open(bare / file.name) as theirs:
            compared.append((look_of(layers), middle(ours), middle(theirs)))
    return compared


def adapter_rows(folders: Sequence[Path], reader: Reader) -> list[Row]:
    """Share of all that the prompts ask for, over the attributes with a target, with adapters and without.

    `folders` are scored likeness folders; nothing where none has a series and its base.
    """
    series = Path(config.load(None).generate.series).stem
    shown = [pair for folder in folders for pair in pairs(folder, series)]
    if not shown:
        return []
    wanted = labels([look for look, _, _ in shown])
    shares: list[float] = []
    n = 0
    for pictures in (torch.stack([p[1] for p in shown]), torch.stack([p[2] for p in shown])):
        answers = reader.read(pictures)
        hits = torch.cat(
            [
                right(chances, wanted[:, i], reader.groups[i])
                for i, (chances, attribute) in enumerate(zip(answers, ATTRIBUTES, strict=True))
                if attribute.judged
            ]
        )
        n = len(hits)
        shares.append(float(hits.mean()))
    return [
        Row("obeyed in series, with the adapter", shares[0], "share", n),
        Row("obeyed in series, bare base", shares[1], "share", n),
        Row("obedience lost to the adapter", shares[1] - shares[0], "share", n, MOST_LOST, at_most=True),
    ]


def shares_read(finder: FaceAnalyzer, folder: Path) -> tuple[float, float]:
    """Share of what a series' prompts ask for that the face pack reads in it: with the adapter, without."""
    series = Path(config.load(None).generate.series).stem
    shares: list[float] = []
    for name in (series, series + BASE_SUFFIX):
        shown = []
        for file in sorted((folder / "portraits" / name).glob("*.png")):
            recipe = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["recipe"]
            request = Request(recipe["prompt"], tuple(recipe["layers"].items()))
            shown.append((request, subject_face(finder.find(read_rgb(file)))))
        _, counts, rates = zip(*map(astuple, obeyed(shown)), strict=True)
        shares.append(float(np.average(rates, weights=counts)))
    return shares[0], shares[1]


def read_rows(folders: Sequence[Path], finder: FaceAnalyzer) -> list[Row]:
    """The same as `adapter_rows` by the face pack's reading, paired by person, its interval over people."""
    if not folders:
        return []
    with_it, without = zip(*(shares_read(finder, folder) for folder in folders), strict=True)
    lost = [b - a for a, b in zip(with_it, without, strict=True)]
    n = len(lost)
    spread = clustered_interval(lost, list(range(n))).ci95 if n > 1 else None
    return [
        Row("read as asked by the face pack, with the adapter", float(np.mean(with_it)), "share", n),
        Row("read as asked by the face pack, bare base", float(np.mean(without)), "share", n),
        Row("lost to the adapter, by the face pack", float(np.mean(lost)), "share", n, ci95=spread),
    ]
