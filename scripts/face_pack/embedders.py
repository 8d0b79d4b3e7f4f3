"""Train the two embedders, each on half of the people, with the renderer's truth as a second teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from portrait_lora.synthetic import sample_people
from portrait_lora.synthetic.identity import FACE_SHAPE
from scripts.face_pack import augment, losses
from scripts.face_pack.closeness import closeness_loss, truth_of
from scripts.face_pack.data import Pool, aligned, five_points, split, unit
from scripts.face_pack.loop import CHUNK, Plan, forward, train
from scripts.face_pack.nets import EMBEDDING_SIZE, EmbedderA, EmbedderB

SEEDS: Final = {"embedder-a": 13, "embedder-b": 14}
TRAITS: Final = (
    *FACE_SHAPE,
    *("melanin", "skin_red", "skin_yellow", "lip_red", "age", "female"),
    *("freckles", "eye_mel", "eye_green", "iris_r"),
)
"""The studio knows what its people are made of; naming it teaches an embedder faster than names alone."""
TRAIT_WEIGHT: Final = 5.0
CLOSENESS_WEIGHT: Final = 10.0


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


def _seeds(pool: Pool) -> list[int]:
    """Who the people 0, 1, … are."""
    seeds = torch.zeros(pool.people, dtype=torch.long)
    seeds[pool.person] = pool.seed
    return seeds.tolist()


def pairs(pool: Pool, count: int, generator: torch.Generator) -> Tensor:
    """(2 × count,) rows of a batch: `count` people, two pictures of each (the same one twice where a person
    has no other)."""
    order = pool.person.argsort(stable=True)
    views = torch.bincount(pool.person, minlength=pool.people)
    first = views.cumsum(0) - views
    chosen = torch.randperm(pool.people, generator=generator)[:count]
    one = (torch.rand(len(chosen), generator=generator) * views[chosen]).long()
    step = (torch.rand(len(chosen), generator=generator) * (views[chosen] - 1)).long() + 1
    other = (one + step) % views[chosen]
    return order[torch.cat([first[chosen] + one, first[chosen] + other])]


def traits(pool: Pool) -> Tensor:
    """(people, T) what makes each of them: shape of the face, skin, eyes, each scaled to spread 1."""
    values = sample_people(_seeds(pool)).values
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
    nearness = truth_of(_seeds(fit))
    describe = nn.Linear(EMBEDDING_SIZE, truth.shape[1])
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = pairs(fit, batch // 2, generator)
        with torch.no_grad():
            harder = _ramp(progress, 0.05, 0.55)
            crop = aligned(
                fit.image[rows], five_points(fit.landmarks[rows]), generator, shake * (0.5 + 0.5 * harder)
            )
            crop = augment.camera(
                crop, generator, soft=soft * (0.3 + 0.7 * harder), strength=0.25 + 0.55 * harder
            )
            mirrored = torch.rand(len(crop), 1, 1, 1, generator=generator) < 0.5
            crop = torch.where(mirrored, crop.flip(3), crop)
        embedding = forward(net, unit(crop))
        loss = margin(embedding, fit.person[rows], _ramp(progress, 0.4, 0.65))
        off = (describe(embedding) - truth[fit.person[rows]]).square().mean()
        near = closeness_loss(embedding, fit.person[rows], nearness)
        named = 0.02 + 0.98 * _ramp(progress, 0.08, 0.35)
        figures = {"people": loss.item(), "traits": off.item(), "near": near.item()}
        return named * (loss + CLOSENESS_WEIGHT * near) + TRAIT_WEIGHT * off, figures

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
