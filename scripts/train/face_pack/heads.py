"""Pose and expression from predicted landmarks: two tiny networks, fitted in seconds, kept in pack.json."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait_lora import vocabulary
from portrait_lora.faces import shape
from portrait_lora.faces.packs import LandmarkHead
from scripts.train.face_pack import augment
from scripts.train.face_pack.data import Pool, landmark_crop, move
from scripts.train.face_pack.nets import LANDMARK_PX
from scripts.train.face_pack.stages import trained

POSE_LABELS: Final = ("pitch", "yaw", "roll")
_HIDDEN: Final = 40
_CHUNK: Final = 200


def predicted_landmarks(folder: Path, pool: Pool, seed: int) -> Tensor:
    """(N, 68, 2) in pixels, from boxes that shake as a detector's do and pictures as cameras make them."""
    net = trained(folder, "landmarks")
    generator = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    with torch.no_grad():
        for rows in torch.arange(len(pool)).split(_CHUNK):
            crop, affine = landmark_crop(pool.image[rows], pool.box[rows], generator, LANDMARK_PX)
            crop = augment.camera(crop, generator, soft=0.25, strength=0.6)
            points = net((crop - 127.5) / 128.0)
            parts.append(move((points + 1) * (LANDMARK_PX / 2), affine))
    return torch.cat(parts)


def _fit(x: Tensor, y: Tensor, *, classes: int | None, steps: int, seed: int) -> tuple[nn.Sequential, Tensor]:
    """One hidden tanh layer by AdamW; returns the network and the spread of the targets (1 for classes)."""
    torch.manual_seed(seed)
    width = classes or y.shape[1]
    net = nn.Sequential(nn.Linear(x.shape[1], _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, width))
    spread = torch.ones(width) if classes else y.std(0)
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    balance = None
    if classes:
        balance = (1 / torch.bincount(y, minlength=classes).clamp(min=1).float()).sqrt()
        balance = balance / balance.mean()
    for _ in range(steps):
        rows = torch.randint(0, len(x), (512,))
        out = net(x[rows] + torch.randn(len(rows), x.shape[1]) * 0.03)
        if classes:
            loss = F.cross_entropy(out, y[rows], weight=balance)
        else:
            loss = F.smooth_l1_loss(out, y[rows] / spread, beta=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net, spread


def _head(
    net: nn.Sequential, spread: Tensor, mean: Tensor, scale: Tensor, labels: tuple[str, ...]
) -> LandmarkHead:
    """Round the weights to what JSON needs."""
    first, last = net[0], net[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    weights = [first.weight.detach(), last.weight.detach() * spread[:, None]]
    biases = [first.bias.detach(), last.bias.detach() * spread]

    def rounded(values: list[float]) -> tuple[float, ...]:
        return tuple(float(f"{v:.5g}") for v in values)

    return LandmarkHead(
        mean=rounded(mean.tolist()),
        scale=rounded(scale.tolist()),
        weights=tuple(tuple(rounded(row) for row in w.tolist()) for w in weights),
        biases=tuple(rounded(b.tolist()) for b in biases),
        labels=labels,
    )


def fit_heads(
    folder: Path, pool: Pool, *, seed: int = 21, steps: int = 2500, limit: int = 12_000
) -> tuple[dict[str, LandmarkHead], dict[str, float]]:
    """Both heads, and how well they do on the people of the last 4 %, who trained nothing."""
    step = max(1, len(pool) // limit)
    part = pool.take(torch.arange(0, len(pool), step))
    points = predicted_landmarks(folder, part, seed)
    features = torch.from_numpy(shape.normalise(points.numpy())).float()
    fit = part.person < int(pool.people * 0.96)
    mean, scale = features[fit].mean(0), features[fit].std(0).clamp(min=1e-3)
    x = ((features - mean) / scale).clamp(-6, 6)
    pose_net, spread = _fit(x[fit], part.pose[fit], classes=None, steps=steps, seed=seed)
    count = len(vocabulary.EXPRESSIONS)
    word_net, ones = _fit(x[fit], part.expression[fit], classes=count, steps=steps, seed=seed)
    with torch.no_grad():
        off = (pose_net(x[~fit]) * spread - part.pose[~fit]).abs().mean(0)
        right = (word_net(x[~fit]).argmax(1) == part.expression[~fit]).float().mean()
    figures = {f"{k}_mae_deg": round(float(v), 3) for k, v in zip(POSE_LABELS, off, strict=True)}
    figures |= {"expression_accuracy": round(float(right), 4), "n": float((~fit).sum())}
    heads = {
        "pose_calibration": _head(pose_net, spread, mean, scale, POSE_LABELS),
        "expression_model": _head(word_net, ones, mean, scale, vocabulary.EXPRESSIONS),
    }
    return heads, figures
