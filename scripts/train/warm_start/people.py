"""The people that a warm start is learned from: latents, captions and embeddings of their pictures."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.pack import FacePack
from portrait_lora.families.family import Family
from portrait_lora.vocabulary import TRIGGER, Look, clauses
from scripts.train.corpus import finished
from scripts.train.face_pack.data import five_points

_CLAUSE_DROPOUT: Final = 0.1
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class People:
    """N pictures: (N, C, h, w) mean and spread of latents, (N, D) unit embeddings by A, (N,) numbers of the
    people from 0 in order, and what they show; `middle` (D,) and `along` (K, D) as of `directions`."""

    mean: Tensor
    std: Tensor
    embeddings: Tensor
    person: Tensor
    looks: list[Look]
    middle: Tensor
    along: Tensor

    @property
    def count(self) -> int:
        """How many people they are."""
        return int(self.person.max()) + 1

    def coordinates(self, rows: Tensor) -> Tensor:
        """(B, K) of whom the rows show, by all other pictures of them."""
        return (self.others(rows) - self.middle) @ self.along.T

    def others(self, rows: Tensor) -> Tensor:
        """(B, D) mean embedding of all other pictures of whom the rows show."""
        sums = torch.zeros(self.count, self.embeddings.shape[1])
        sums.index_add_(0, self.person, self.embeddings)
        count = torch.bincount(self.person)[self.person[rows], None]
        return (sums[self.person[rows]] - self.embeddings[rows]) / (count - 1)


def caption(look: Look, draw: random.Random) -> str:
    """As the captions of a person's photos are written: the trigger stands for what stays."""
    look = replace(look, subject=f"{TRIGGER} person", hair=None, skin=None, beard=None)
    first, *rest = clauses(look)
    return ", ".join([first, *(c for c in rest if draw.random() >= _CLAUSE_DROPOUT)])


def studio(folder: Path, family: Family, pack: FacePack) -> People:
    """The people of a rendered corpus (`scripts.train.render_corpus`); what is computed is kept beside it."""
    parts = [_shard(file, family, pack) for file in finished(folder)]
    looks = [look for _, ones in parts for look in ones]
    joined = {key: torch.cat([t[key] for t, _ in parts]) for key in parts[0][0]}
    none = torch.empty(0)
    _, number = joined["person"].unique(return_inverse=True)
    return People(
        joined["mean"].float(), joined["std"].float(), joined["embedding"], number, looks, none, none
    )


def _shard(file: Path, family: Family, pack: FacePack) -> tuple[dict[str, Tensor], list[Look]]:
    kept = file.with_suffix(".people")
    rows = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["looks"]
    looks = [Look(**row) for row in rows]
    if not kept.exists():
        with safe_open(str(file), framework="pt") as handle:
            images, landmarks = handle.get_tensor("image"), handle.get_tensor("landmarks")
            person = handle.get_tensor("person")
        table = _latents(images, family) | {"person": person, "embedding": _embedded(images, landmarks, pack)}
        save_file(table, str(kept))
        print(f"{file.name}: {len(images)} pictures", flush=True)
    with safe_open(str(kept), framework="pt") as handle:
        return {key: handle.get_tensor(key) for key in ("mean", "std", "embedding", "person")}, looks


@torch.no_grad()
def _latents(images: Tensor, family: Family) -> dict[str, Tensor]:
    moments = [family.encode_pixels(part.float() / 127.5 - 1) for part in images.split(_BATCH)]
    return {
        "mean": torch.cat([m.mean_BCHW for m in moments]).half(),
        "std": torch.cat([m.std_BCHW for m in moments]).half(),
    }


def _embedded(images: Tensor, landmarks: Tensor, pack: FacePack) -> Tensor:
    finder = open_analyzer(pack)
    points = five_points(landmarks).numpy()
    pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
    rows = [finder.embed(p, k) for p, k in zip(pictures, points, strict=True)]
    return torch.from_numpy(np.stack(rows)).float()


def directions(people: People, count: int) -> People:
    """With the mean of everybody's mean embedding, and the `count` directions in which these differ most:
    along them they spread by 1 each."""
    means = torch.zeros(people.count, people.embeddings.shape[1])
    means.index_add_(0, people.person, people.embeddings)
    means /= torch.bincount(people.person)[:, None]
    middle = means.mean(0)
    _, singular, along = torch.linalg.svd(means - middle, full_matrices=False)
    spread = singular[:count] / len(means) ** 0.5
    print("spread along directions: " + " ".join(f"{s:.3f}" for s in spread.tolist()), flush=True)
    return replace(people, middle=middle, along=along[:count] / spread[:, None])


def texts(looks: Sequence[Look], draw: random.Random, dropout: float) -> list[str]:
    """A caption for each, some of them empty."""
    return ["" if draw.random() < dropout else caption(look, draw) for look in looks]
