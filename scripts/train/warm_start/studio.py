"""People of the synthetic studio, rendered by `scripts.train.render_corpus`."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.pack import FacePack
from portrait_lora.families.family import Family, Geometry
from portrait_lora.training.cache import EncodedSample
from portrait_lora.vocabulary import TRIGGER, Look, clauses
from scripts.train.corpus import finished
from scripts.train.face_pack.data import five_points
from scripts.train.warm_start.people import Pictures, numbered

_CLAUSE_DROPOUT: Final = 0.1
_BATCH: Final = 50


def pictures(folder: Path, family: Family, pack: FacePack, caption_dropout: float) -> Pictures:
    """All finished shards; latents and embeddings are kept beside them.  The family's encoders are loaded."""
    parts = [_shard(file, family, pack) for file in finished(folder)]
    looks = [look for _, ones in parts for look in ones]
    table = {key: torch.cat([t[key] for t, _ in parts]) for key in parts[0][0]}
    side = table["mean"].shape[-1] * family.latent_px
    place = Geometry((side, side), (0, 0), (side, side))

    def take(row: int, draw: random.Random) -> EncodedSample:
        text = "" if draw.random() < caption_dropout else caption(looks[row], draw)
        with torch.no_grad():
            condition = family.encode_prompts([text]).to(torch.device("cpu"))
        mean, std = table["mean"][row].float(), table["std"][row].float()
        return EncodedSample(str(row), text, mean, std, condition, place)

    with torch.no_grad():
        empty = family.encode_prompts([""]).to(torch.device("cpu"))
    return Pictures(table["embedding"], numbered(table["person"].tolist()), take, empty)


def caption(look: Look, draw: random.Random) -> str:
    """As the captions of a person's photos are written: the trigger stands for what stays."""
    look = replace(look, subject=f"{TRIGGER} person", hair=None, skin=None, beard=None)
    first, *rest = clauses(look)
    return ", ".join([first, *(c for c in rest if draw.random() >= _CLAUSE_DROPOUT)])


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
        "mean": torch.cat([m.mean_BCHW for m in moments]).half().cpu(),
        "std": torch.cat([m.std_BCHW for m in moments]).half().cpu(),
    }


def _embedded(images: Tensor, landmarks: Tensor, pack: FacePack) -> Tensor:
    finder = open_analyzer(pack)
    points = five_points(landmarks).numpy()
    shown = images.permute(0, 2, 3, 1).contiguous().numpy()
    rows = [finder.embed(picture, five) for picture, five in zip(shown, points, strict=True)]
    return torch.from_numpy(np.stack(rows)).float()
