"""Train the networks on the corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from portrait_lora import vocabulary
from portrait_lora.synthetic import sample_people
from portrait_lora.synthetic.identity import FACE_SHAPE
from scripts.face_pack import attributes, augment, losses, segmenter
from scripts.face_pack.data import Pool, aligned, five_points, invert, joined, landmark_crop, move
from scripts.face_pack.loop import Plan, averaged, train
from scripts.face_pack.nets import (
    EMBEDDING_SIZE,
    LANDMARK_FEATURES,
    LANDMARK_PX,
    Attributes,
    Detector,
    EmbedderA,
    EmbedderB,
    Landmarks,
    Segmenter,
)
from scripts.face_pack.scenes import Composer

SEEDS: Final = {"detector": 11, "landmarks": 12, "embedder-a": 13, "embedder-b": 14}
MINUTES: Final = {
    "detector": 20.0,
    "landmarks": 10.0,
    "embedder-a": 8.5,
    "embedder-b": 8.5,
    "attributes": 8.0,
    segmenter.NAME: segmenter.MINUTES,
}
"""CPU minutes of one thread: about half an hour for everything on two idle cores."""
TRAITS: Final = (
    *FACE_SHAPE,
    *("melanin", "skin_red", "skin_yellow", "lip_red", "age", "female"),
    *("freckles", "eye_mel", "eye_green", "iris_r"),
)
"""The studio knows what its people are made of; naming it teaches an embedder faster than names alone."""
TRAIT_WEIGHT: Final = 5.0
_PAIRS: Final = (
    *((37, 41), (38, 40), (43, 47), (44, 46), (36, 39), (42, 45)),  # lids
    *((19, 37), (24, 44), (21, 39), (22, 42), (17, 36), (26, 45), (21, 22)),  # brows over eyes
    *((48, 54), (51, 57), (62, 66), (51, 62), (57, 66), (48, 51), (54, 51), (48, 33), (54, 33)),  # lips
)
GAPS: Final = (torch.tensor([a for a, _ in _PAIRS]), torch.tensor([b for _, b in _PAIRS]))
SCENE_PX: Final = (192, 256)
HELD_OUT_SHARE: Final = 0.04
_CHUNK: Final = 200


def split(pool: Pool) -> tuple[Pool, Pool]:
    """Pictures to train on, and those of the last people, kept to look at progress with."""
    fit, held = split_rows(pool)
    return pool.take(fit), pool.take(held)


def split_rows(pool: Pool) -> tuple[Tensor, Tensor]:
    """The rows of both."""
    first = int(pool.people * (1 - HELD_OUT_SHARE))
    rows = torch.arange(len(pool))
    return rows[pool.person < first], rows[pool.person >= first]


def _unit(image: Tensor, std: float = 127.5) -> Tensor:
    """0..255 -> about -1..1 in the layout that convolutions like."""
    return ((image - 127.5) / std).contiguous(memory_format=torch.channels_last)


def _ramp(progress: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, straight in between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))


def _forward(net: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net(x).float()


def train_detector(pool: Pool, folder: Path, minutes: float, batch: int = 32) -> None:
    """Scenes composed on the fly."""
    fit, _ = split(pool)
    net = Detector().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    composers = [Composer(fit, size) for size in SCENE_PX]

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            which = int(torch.randint(0, len(composers), (), generator=generator))
            count = batch * SCENE_PX[0] ** 2 // (2 * SCENE_PX[which] ** 2)
            scenes = composers[which].batch(count, generator)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(_unit(scenes.image, 128.0))
        return losses.detector_loss(found, scenes)

    modules = nn.ModuleDict({"net": net})
    train("detector", modules, step, Plan(minutes, 2.5e-3), folder, SEEDS["detector"])


def train_landmarks(pool: Pool, folder: Path, minutes: float, batch: int = 64) -> None:
    """Crops around jittered boxes; what tells expressions apart (gaps of lids, lips, brows) counts extra."""
    fit, held = split(pool)
    net = Landmarks().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    words = nn.Linear(LANDMARK_FEATURES, len(vocabulary.EXPRESSIONS))
    weight = torch.ones(68, 1)
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
        with torch.autocast("cpu", torch.bfloat16):
            features = net.features(_unit(crop, 128.0))
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
            parts = [batch_of(held, r, None) for r in torch.arange(len(held)).split(_CHUNK)]
            errors = [(_forward(net, _unit(c, 128.0)) - t).norm(dim=-1) for c, t in parts]
        return {"error_of_half_crop": float(torch.cat(errors).mean()), "n": float(len(held))}

    modules = nn.ModuleDict({"net": net, "words": words})
    train("landmarks", modules, step, Plan(minutes, 2e-3), folder, SEEDS["landmarks"], evaluate)


def embed_pool(net: nn.Module, pool: Pool) -> Tensor:
    """Unit embeddings of a pool, aligned on the true landmarks."""
    net.eval()
    with torch.no_grad():
        rows = torch.arange(len(pool)).split(_CHUNK)
        parts = [
            _forward(net, _unit(aligned(pool.image[r], five_points(pool.landmarks[r]), None, 0.0)))
            for r in rows
        ]
    return nn.functional.normalize(torch.cat(parts), dim=1)


def auc(embedding: Tensor, person: Tensor) -> float:
    """How often a pair of one person is more alike than a pair of two."""
    likeness = embedding @ embedding.T
    same = person[:, None] == person[None]
    upper = torch.ones_like(same).triu(1).bool()
    own, other = likeness[same & upper], likeness[~same & upper].sort().values
    below = torch.searchsorted(other, own.contiguous()).double()
    return float(below.mean() / len(other))


def _half(pool: Pool, odd: int) -> Pool:
    """Every other person, counted anew."""
    rows = torch.arange(len(pool))[pool.person % 2 == odd]
    return pool.take(rows).renumbered()


def traits(pool: Pool) -> Tensor:
    """(people, T) what makes each of them: shape of the face, skin, eyes, each scaled to spread 1."""
    seeds = torch.zeros(pool.people, dtype=torch.long)
    seeds[pool.person] = pool.seed
    values = sample_people(seeds.tolist()).values
    table = torch.stack([values[name].float() for name in TRAITS], 1)
    return (table - table.mean(0)) / table.std(0).clamp(min=1e-3)


def _train_embedder(
    name: str,
    net: nn.Module,
    pool: Pool,
    folder: Path,
    minutes: float,
    make_margin: Callable[[int], losses.Margin],
    *,
    odd: int,
    soft: float,
    shake: float,
    lr: float,
    batch: int = 128,
) -> None:
    fit, held = split(pool)
    fit = _half(fit, odd)
    margin = make_margin(fit.people)
    truth = traits(fit)
    describe = nn.Linear(EMBEDDING_SIZE, truth.shape[1])
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(0, len(fit), (batch,), generator=generator)
        with torch.no_grad():
            harder = _ramp(progress, 0.05, 0.55)
            crop = aligned(
                fit.image[rows], five_points(fit.landmarks[rows]), generator, shake * (0.5 + 0.5 * harder)
            )
            crop = augment.camera(
                crop, generator, soft=soft * (0.3 + 0.7 * harder), strength=0.25 + 0.55 * harder
            )
        embedding = _forward(net, _unit(crop))
        loss = margin(embedding, fit.person[rows], _ramp(progress, 0.4, 0.65))
        off = (describe(embedding) - truth[fit.person[rows]]).square().mean()
        return (0.02 + 0.98 * _ramp(progress, 0.08, 0.35)) * loss + TRAIT_WEIGHT * off, {
            "people": loss.item(),
            "traits": off.item(),
        }

    def evaluate() -> dict[str, float]:
        return {"auc": auc(embed_pool(net, held), held.person), "people": float(len(held.person.unique()))}

    modules = nn.ModuleDict({"net": net, "margin": margin, "describe": describe})
    plan = Plan(minutes, lr, average=0.999)
    train(name, modules, step, plan, folder, SEEDS[name], evaluate)


def train_embedder_a(pool: Pool, folder: Path, minutes: float) -> None:
    """CosFace on the people of even number."""

    def margin(people: int) -> losses.Margin:
        return losses.Margin(people, EMBEDDING_SIZE, scale=24.0, margin=0.2, angular=False, centres=1)

    torch.manual_seed(SEEDS["embedder-a"])
    _train_embedder(
        "embedder-a", EmbedderA(), pool, folder, minutes, margin, odd=0, soft=0.45, shake=0.05, lr=2.5e-3
    )


def train_embedder_b(pool: Pool, folder: Path, minutes: float) -> None:
    """Sub-centre ArcFace on the people of odd number."""

    def margin(people: int) -> losses.Margin:
        return losses.Margin(people, EMBEDDING_SIZE, scale=26.0, margin=0.25, angular=True, centres=2)

    torch.manual_seed(SEEDS["embedder-b"])
    _train_embedder(
        "embedder-b", EmbedderB(), pool, folder, minutes, margin, odd=1, soft=0.55, shake=0.06, lr=2e-3
    )


def train_attributes(pool: Pool, folder: Path, minutes: float, later: Pool | None = None) -> None:
    """Expression, glasses, beard, lighting and the key light, from the crop of the landmarks.

    `later` are people of the second edition, for the words that the first lacks; all of them are trained on.
    """
    fit, held = split(pool)
    attributes.train_attributes(joined(fit, later) if later else fit, held, folder, minutes)


def train_segmenter(pool: Pool, folder: Path, minutes: float) -> None:
    """What every pixel shows, from the pictures that were labelled."""
    segmenter.train_segmenter(*_labelled(pool, folder), folder, minutes)


def segmenter_figures(pool: Pool, folder: Path) -> dict[str, float]:
    """How the trained segmenter does on the people it was not trained on."""
    return segmenter.accuracy(trained(folder, segmenter.NAME), *_labelled(pool, folder)[1])


def _labelled(pool: Pool, folder: Path) -> tuple[tuple[Pool, Tensor], tuple[Pool, Tensor]]:
    """To train on, and held out: pictures and their parts."""
    rows, parts = segmenter.load_labels(folder)
    fit, held = split_rows(labelled := pool.take(rows))
    return (labelled.take(fit), parts[fit]), (labelled.take(held), parts[held])


TRAINERS: Final[dict[str, Callable[[Pool, Path, float], None]]] = {
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
