"""Train the two embedders, each on half of the people, with the renderer's truth as a second teacher."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from scripts.train.checkpoint import averaged
from scripts.train.face_pack import augment, losses
from scripts.train.face_pack.closeness import closeness_loss, truth_of
from scripts.train.face_pack.data import Pool, aligned, five_points, joined, split, unit
from scripts.train.face_pack.nets import EMBEDDING_SIZE, EmbedderA, EmbedderB
from scripts.train.face_pack.training import CHUNK, Length, forward, plan_of, train
from scripts.train.kin import kin_of
from scripts.train.traits import LOOKS, traits

SEEDS: Final = {"embedder-a": 13, "embedder-b": 14}
TRAIT_WEIGHT: Final = 5.0
"""The studio knows what its people are made of; naming it teaches an embedder faster than names alone."""
CLOSENESS_WEIGHT: Final = 10.0
AGAIN: Final = 0.4
"""Of the learning rate, for an embedder that goes on."""


def _ramp(progress: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, straight in between."""
    return min(1.0, max(0.0, (progress - start) / (end - start)))


def embed_pool(net: nn.Module, pool: Pool) -> Tensor:
    """Unit embeddings of a pool, aligned on the true landmarks."""
    net.eval()
    with torch.no_grad():
        rows = torch.arange(len(pool)).split(CHUNK)
        parts = [
            forward(net, unit(aligned(pool.image[r], five_points(pool.landmarks[r]), None, 0.0)))
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


def seeds_of(pool: Pool) -> list[int]:
    """Who the people 0, 1, … are."""
    seeds = torch.zeros(pool.people, dtype=torch.long)
    seeds[pool.person] = pool.seed
    return seeds.tolist()


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures of a pool by person; `relatives` (R, 2) are people who are near to each other.

    The first `named` people are those whom an embedder is to distinguish; behind them come relatives.
    """

    pool: Pool
    relatives: Tensor
    named: int

    def to(self, device: torch.device) -> Album:
        """The same elsewhere."""
        return Album(self.pool.to(device), self.relatives.to(device), self.named)

    def people(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) people of a batch: half of them two relatives each, where there are enough."""
        device = self.relatives.device
        near = min(count // 4, len(self.relatives))
        both = self.relatives[torch.randperm(len(self.relatives), generator=generator, device=device)[:near]]
        others = torch.randperm(self.named, generator=generator, device=device)[: count - 2 * near]
        return torch.cat([both.flatten(), others])


def album_of(pool: Pool, kin: Pool | None) -> Album:
    """`pool`, and behind it those pictures of `kin` that show relatives of its people."""
    if kin is None:
        return Album(pool, torch.zeros(0, 2, dtype=torch.long), pool.people)
    place = {kin_of(seed): i for i, seed in enumerate(seeds_of(pool))}
    rows = torch.isin(kin.seed, torch.tensor(list(place))).nonzero()[:, 0]
    if not len(rows):
        raise ValueError("no picture shows a relative of the people to train on: render them with --kin")
    near = kin.take(rows).renumbered()
    known = torch.tensor([place[seed] for seed in seeds_of(near)])
    relatives = torch.stack([known, pool.people + torch.arange(len(known))], 1)
    return Album(joined(pool, near), relatives, pool.people)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the pictures of everybody are: `order` sorts them by person; each has `count` from `first` on."""

    order: Tensor
    first: Tensor
    count: Tensor


def places_of(pool: Pool) -> Places:
    """Sorted once, for all steps."""
    count = torch.bincount(pool.person, minlength=pool.people)
    return Places(pool.person.argsort(stable=True), count.cumsum(0) - count, count)


def centres(net: nn.Module, album: Album) -> Tensor:
    """(named, D) embeddings of one picture of everybody whom the embedder is to distinguish."""
    places = places_of(album.pool)
    return embed_pool(net, album.pool.take(places.order[places.first[: album.named]]))


def views(places: Places, people: Tensor, generator: torch.Generator) -> Tensor:
    """(2 × people,) rows of two pictures of each (the same one twice where a person has no other)."""
    count, first, device = places.count[people], places.first[people], people.device
    one = (torch.rand(len(people), generator=generator, device=device) * count).long()
    step = (torch.rand(len(people), generator=generator, device=device) * (count - 1)).long() + 1
    return places.order[torch.cat([first + one, first + (one + step) % count])]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one of the two is trained; `odd`: on which half of the people."""

    odd: int
    soft: float
    shake: float
    lr: float
    batch: int = 128


def _train_embedder(
    name: str,
    make: Callable[[], nn.Module],
    margin_of: Callable[[int], losses.Margin],
    data: tuple[Pool, Pool | None],
    folder: Path,
    length: Length,
    recipe: Recipe,
) -> None:
    """Raises `ValueError` where the second of `data` holds no relatives of the first's people."""
    pool, kin = data
    fit, held = split(pool)
    album = album_of(_half(fit, recipe.odd), kin)
    seeds = seeds_of(album.pool)
    everybody = sorted({*pool.seed.tolist(), *(kin.seed.tolist() if kin else ())})
    place = {seed: i for i, seed in enumerate(everybody)}
    known = truth_of(everybody, folder / "truth.safetensors", os.cpu_count() or 1)
    nearness = known.take(torch.tensor([place[seed] for seed in seeds])).to(length.device)
    truth, album = traits(seeds, LOOKS).to(length.device), album.to(length.device)
    fit, person, places = album.pool, album.pool.person, places_of(album.pool)
    batch = recipe.batch * (2 if kin else 1) * (2 if length.device.type == "cuda" else 1)

    def at(first: float, last: float, progress: float) -> float:
        """Who goes on has been through what is easier."""
        return 1.0 if length.start else _ramp(progress, first, last)

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = views(places, album.people(batch // 2, generator), generator)
        with torch.no_grad():
            harder = at(0.05, 0.55, progress)
            shake = recipe.shake * (0.5 + 0.5 * harder)
            crop = aligned(fit.image[rows], five_points(fit.landmarks[rows]), generator, shake)
            soft = recipe.soft * (0.3 + 0.7 * harder)
            crop = augment.camera(crop, generator, soft=soft, strength=0.25 + 0.55 * harder)
            mirrored = torch.rand(len(crop), 1, 1, 1, generator=generator) < 0.5
            crop = torch.where(mirrored, crop.flip(3), crop)
        embedding, who = forward(net, unit(crop)), person[rows]
        named = who < album.named
        loss = margin(embedding[named], who[named], at(0.4, 0.65, progress))
        off = (describe(embedding) - truth[who]).square().mean()
        near = closeness_loss(embedding, who, nearness)
        figures = {"people": loss.item(), "traits": off.item(), "near": near.item()}
        share = 0.02 + 0.98 * at(0.08, 0.35, progress)
        return share * (loss + CLOSENESS_WEIGHT * near) + TRAIT_WEIGHT * off, figures

    def evaluate() -> dict[str, float]:
        area = auc(embed_pool(net, held.to(length.device)), held.person.to(length.device))
        return {"auc": area, "people": float(len(held.person.unique()))}

    with length.device:
        torch.manual_seed(SEEDS[name])
        net = make().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        margin = margin_of(album.named)
        describe = nn.Linear(EMBEDDING_SIZE, truth.shape[1])
        if length.start:
            net.load_state_dict(averaged(length.start, name))
            describe.load_state_dict(averaged(length.start, name, "describe."))
            with torch.no_grad():
                margin.weight.copy_(centres(net, album).repeat_interleave(margin.centres, 0))
        modules = nn.ModuleDict({"net": net, "margin": margin, "describe": describe})
        lr = recipe.lr * (AGAIN if length.start else 1.0)
        plan = plan_of(length.minutes, lr, batch, SEEDS[name], ema=0.999)
        train(name, modules, step, plan, folder, evaluate)


def train_embedder_a(pool: Pool, folder: Path, length: Length, kin: Pool | None = None) -> None:
    """CosFace on the people of even number; `kin` shows relatives of them."""

    def margin(people: int) -> losses.Margin:
        return losses.Margin(people, EMBEDDING_SIZE, scale=24.0, margin=0.2, angular=False, centres=1)

    recipe = Recipe(odd=0, soft=0.45, shake=0.05, lr=2.5e-3)
    _train_embedder("embedder-a", EmbedderA, margin, (pool, kin), folder, length, recipe)


def train_embedder_b(pool: Pool, folder: Path, length: Length, kin: Pool | None = None) -> None:
    """Sub-centre ArcFace on the people of odd number; `kin` shows relatives of them."""

    def margin(people: int) -> losses.Margin:
        return losses.Margin(people, EMBEDDING_SIZE, scale=26.0, margin=0.25, angular=True, centres=2)

    recipe = Recipe(odd=1, soft=0.55, shake=0.06, lr=2e-3)
    _train_embedder("embedder-b", EmbedderB, margin, (pool, kin), folder, length, recipe)
