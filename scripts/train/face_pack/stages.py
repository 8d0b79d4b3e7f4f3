"""Train the networks on the corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from portrait_lora import vocabulary
from scripts.precision import half
from scripts.train.checkpoint import averaged
from scripts.train.face_pack import attributes, augment, losses, segmenter
from scripts.train.face_pack.data import Pool, invert, joined, landmark_crop, move, split, split_rows, unit
from scripts.train.face_pack.embedders import train_embedder_a, train_embedder_b
from scripts.train.face_pack.nets import (
    LANDMARK_FEATURES,
    LANDMARK_PX,
    Attributes,
    Detector,
    EmbedderA,
    EmbedderB,
    Landmarks,
    Segmenter,
)
from scripts.train.face_pack.scenes import Composer
from scripts.train.face_pack.training import CHUNK, Length, forward, plan_of, train

SEEDS: Final = {"detector": 11, "landmarks": 12}
MINUTES: Final = {
    "detector": 60.0,
    "landmarks": 21.0,
    "embedder-a": 36.0,
    "embedder-b": 36.0,
    "attributes": 52.0,
    segmenter.NAME: segmenter.MINUTES,
}
"""CPU minutes of one thread that the networks of the shipped pack took: nearly four hours in all."""
_PAIRS: Final = (
    *((37, 41), (38, 40), (43, 47), (44, 46), (36, 39), (42, 45)),  # lids
    *((19, 37), (24, 44), (21, 39), (22, 42), (17, 36), (26, 45), (21, 22)),  # brows over eyes
    *((48, 54), (51, 57), (62, 66), (51, 62), (57, 66), (48, 51), (54, 51), (48, 33), (54, 33)),  # lips
)
GAPS: Final = (torch.tensor([a for a, _ in _PAIRS]), torch.tensor([b for _, b in _PAIRS]))
SCENE_PX: Final = (192, 256)


def train_detector(pool: Pool, folder: Path, length: Length, batch: int = 32) -> None:
    """Scenes composed on the fly."""
    fit = split(pool)[0].to(length.device)
    composers = [Composer(fit, size) for size in SCENE_PX]

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            which = int(torch.randint(0, len(composers), (), generator=generator))
            count = batch * SCENE_PX[0] ** 2 // (2 * SCENE_PX[which] ** 2)
            scenes = composers[which].batch(count, generator)
        with half(length.device.type):
            outputs = net(unit(scenes.image, 128.0))
        return losses.detector_loss(outputs, scenes)

    with length.device:
        net = Detector().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        modules = nn.ModuleDict({"net": net})
        plan = plan_of(length.minutes, 2.5e-3, batch, SEEDS["detector"])
        train("detector", modules, step, plan, folder)


def train_landmarks(pool: Pool, folder: Path, length: Length, batch: int = 64) -> None:
    """Crops around jittered boxes; what shows expressions (gaps of lids, lips, brows) counts extra."""
    fit, held = (part.to(length.device) for part in split(pool))
    weight = torch.ones(68, 1, device=length.device)
    weight[36:] = 2.0
    weight[17:27] = 1.4

    def batch_of(part: Pool, rows: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        crop, affine = landmark_crop(part.image[rows], part.box[rows], generator, LANDMARK_PX)
        target = move(part.landmarks[rows], invert(affine)) / (LANDMARK_PX / 2) - 1
        return crop, target

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(0, len(fit), (batch,), generator=generator)
        crop, target = batch_of(fit, rows, generator)
        crop = augment.camera(crop, generator, soft=0.3, strength=0.7)
        with half(length.device.type):
            features = net.features(unit(crop, 128.0))
            points, guess = net.head(features).float().reshape(-1, 68, 2), words(features.flatten(1)).float()
        off = points - target
        place = (losses.wing(off) * weight).mean() * 10
        relation = losses.wing(off[:, GAPS[0]] - off[:, GAPS[1]], curve=0.01).mean() * 15
        word = nn.functional.cross_entropy(guess, fit.expression[rows])
        figures = {
            "error": off.detach().norm(dim=-1).mean().item(),
            "gaps": relation.item(),
            "word": word.item(),
        }
        return place + relation + 0.5 * word, figures

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            parts = [batch_of(held, r, None) for r in torch.arange(len(held)).split(CHUNK)]
            errors = [(forward(net, unit(c, 128.0)) - t).norm(dim=-1) for c, t in parts]
        return {"error_of_half_crop": float(torch.cat(errors).mean()), "n": float(len(held))}

    with length.device:
        net = Landmarks().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        words = nn.Linear(LANDMARK_FEATURES, len(vocabulary.EXPRESSIONS))
        modules = nn.ModuleDict({"net": net, "words": words})
        plan = plan_of(length.minutes, 2e-3, batch, SEEDS["landmarks"])
        train("landmarks", modules, step, plan, folder, evaluate)


def train_attributes(pool: Pool, folder: Path, length: Length, later: Pool | None = None) -> None:
    """On a CPU, where things are painted: expression, glasses, beard, lighting and the key light, from the
    crop of the landmarks.

    `later` are people of the second edition, for the words that the first lacks; all of them are trained on.
    """
    fit, held = split(pool)
    attributes.train_attributes(joined(fit, later) if later else fit, held, folder, length.minutes)


def train_segmenter(pool: Pool, folder: Path, length: Length) -> None:
    """On a CPU as well: what every pixel shows, from the pictures that were labelled."""
    segmenter.train_segmenter(*_labelled(pool, folder), folder, length.minutes)


def segmenter_figures(pool: Pool, folder: Path) -> dict[str, float]:
    """How the trained segmenter does on the people it was not trained on."""
    return segmenter.accuracy(trained(folder, segmenter.NAME), *_labelled(pool, folder)[1])


def _labelled(pool: Pool, folder: Path) -> tuple[tuple[Pool, Tensor], tuple[Pool, Tensor]]:
    """To train on, and held out: pictures and their parts."""
    rows, parts = segmenter.load_labels(folder)
    fit, held = split_rows(labelled := pool.take(rows))
    return (labelled.take(fit), parts[fit]), (labelled.take(held), parts[held])


TRAINERS: Final[dict[str, Callable[[Pool, Path, Length], None]]] = {
    "detector": train_detector,
    "landmarks": train_landmarks,
    "embedder-a": train_embedder_a,
    "embedder-b": train_embedder_b,
    attributes.NAME: train_attributes,
    segmenter.NAME: train_segmenter,
}
NETS: Final[dict[str, Callable[[], nn.Module]]] = {
    "detector": Detector,
    "landmarks": Landmarks,
    "embedder-a": EmbedderA,
    "embedder-b": EmbedderB,
    attributes.NAME: lambda: Attributes(attributes.WIDTH),
    segmenter.NAME: lambda: Segmenter(segmenter.OUTPUTS),
}


def trained(folder: Path, name: str) -> nn.Module:
    """A network with its averaged weights, ready to be used."""
    net = NETS[name]()
    net.load_state_dict(averaged(folder, name))
    return net.eval()
