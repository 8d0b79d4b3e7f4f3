"""Thresholds and the gallery of strangers, on people who trained nothing, seen through the pack itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from portrait_lora import synthetic
from portrait_lora.faces import FaceAnalyzer, FacePack

Floats = npt.NDArray[np.float32]
FIRST_SEED: Final = 500_000
GALLERY_SEED: Final = 510_000
HOLDOUT: Final = 4
PORTRAITS: Final = 3
FALSE_MATCH_RATE: Final = 1e-3
SIZE_PX: Final = 192
_VIEWS_PER_SEED: Final = 1000


@dataclass(frozen=True, slots=True)
class Shown:
    """Embeddings (people, views, D) by both embedders; NaN where no face was found."""

    select: Floats
    report: Floats

    @property
    def face_rate(self) -> float:
        return float(np.isfinite(self.select[..., 0]).mean())


def render_views(seed: int, views: int, size_px: int, **scene: Any) -> synthetic.Render:
    """Pictures of one person; hair, beard and glasses are drawn anew in every other one."""
    image_seeds = [seed * _VIEWS_PER_SEED + v for v in range(views)]
    same = synthetic.sample_people([seed]).take([0] * views)
    other = synthetic.restyle(same, image_seeds)
    odd = torch.arange(views) % 2 == 1
    values = {
        k: torch.where(odd.reshape(-1, *[1] * (v.ndim - 1)), other.values[k], v)
        for k, v in same.values.items()
    }
    with torch.inference_mode():
        scenes = synthetic.sample_scenes(image_seeds, **scene)
        return synthetic.render(synthetic.People(same.seeds, values), scenes, size_px=size_px)


def pictures(seed: int, views: int, size_px: int) -> npt.NDArray[np.uint8]:
    """(views, S, S, 3) of one person, turned by 55 degrees at most."""
    shots = render_views(seed, views, size_px, max_yaw_deg=55.0).image_BCHW
    return shots.permute(0, 2, 3, 1).contiguous().numpy()


def show(pack: FacePack, first_seed: int, people: int, views: int, size_px: int = SIZE_PX) -> Shown:
    """Render, find and embed."""
    select, report = FaceAnalyzer(pack, "select"), FaceAnalyzer(pack, "report")
    rows: list[list[tuple[Floats, Floats]]] = []
    nothing = np.full(128, np.nan, dtype=np.float32)
    for seed in range(first_seed, first_seed + people):
        row: list[tuple[Floats, Floats]] = []
        for image in pictures(seed, views, size_px):
            faces = select.find(image)
            both = (nothing, nothing)
            if faces:
                both = (faces[0].embedding, report.embed(image, faces[0].keypoints_px))
            row.append(both)
        rows.append(row)
    table = np.asarray(rows, dtype=np.float32)
    return Shown(table[:, :, 0], table[:, :, 1])


def statistic(embeddings: Floats) -> tuple[Floats, Floats]:
    """Mean cosine of a portrait to four held-out photos: of the same person, and of every other person."""
    holdout, portraits = embeddings[:, :HOLDOUT], embeddings[:, HOLDOUT:]
    centre = np.nanmean(holdout, axis=1)  # mean cosine = cosine to the plain mean
    scores = np.einsum("ijd,kd->ijk", portraits, centre)
    n = np.arange(len(embeddings))
    own = scores[n, :, n].ravel()
    other = scores.copy()
    other[n, :, n] = np.nan
    other = other.ravel()
    return own[np.isfinite(own)], other[np.isfinite(other)]


def threshold(embeddings: Floats, rate: float = FALSE_MATCH_RATE) -> dict[str, float]:
    """The similarity that strangers reach at `rate`, and how many of the same person reach it."""
    own, other = statistic(embeddings)
    limit = float(np.quantile(other, 1 - rate))
    return {
        "threshold": round(limit, 4),
        "true_match_rate": round(float((own >= limit).mean()), 4),
        "same": round(float(own.mean()), 4),
        "strangers": round(float(other.mean()), 4),
        "strangers_n": float(len(other)),
    }


def gallery(pack: FacePack, people: int = 96, views: int = 6) -> dict[str, torch.Tensor]:
    """(people, views, D) for both embedders; a picture without a face gives way to another of its person."""
    shown = show(pack, GALLERY_SEED, people, views)
    table: dict[str, torch.Tensor] = {}
    for role, values in (("select", shown.select), ("report", shown.report)):
        filled = values.copy()
        for row in filled:
            good = np.isfinite(row[:, 0])
            if not good.any():
                raise RuntimeError(
                    "no face found in any picture of a gallery person; train the detector longer"
                )
            row[~good] = row[good][0]
        table[role] = torch.from_numpy(filled).half()
    return table
