"""What the networks are trained to minimise."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.train.face_pack.nets import BASE_PX, STRIDES
from scripts.train.face_pack.scenes import ABSENT, IGNORED, POSITIVE, SceneBatch


@lru_cache(maxsize=8)
def anchors(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of all anchors in the order of the outputs: points (A, 2), strides (A,), face sizes (A,) in px."""
    points, strides, sizes = [], [], []
    for stride, bases in zip(STRIDES, BASE_PX, strict=True):
        rows, columns = height // stride, width // stride
        y, x = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
        grid = torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, 2, -1).reshape(-1, 2).float()
        points.append(grid)
        strides.append(torch.full((len(grid),), float(stride)))
        sizes.append(torch.tensor(bases).repeat(len(grid) // 2))
    return torch.cat(points), torch.cat(strides), torch.cat(sizes)


def assign(batch: SceneBatch, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Per anchor the slot whose face it answers for, or -1; and whether it is left out of the loss."""
    points, strides, sizes = anchors(height, width)
    box = batch.box[:, :, None]  # (B, M, 1, 4)
    centre = (box[..., :2] + box[..., 2:]) / 2
    face = ((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])).clamp(min=1).sqrt()
    far = (torch.log(face) - torch.log(sizes)).abs()
    nearest = far <= far.amin(-1, keepdim=True) + 1e-4
    right_size = nearest | (far < 0.36)
    away = (points - centre).abs().amax(-1)
    near = away <= torch.maximum(0.18 * face, 0.62 * strides)
    state = batch.state[:, :, None]
    hit = near & right_size & (state == POSITIVE)  # (B, M, A)
    order = torch.arange(1, hit.shape[1] + 1)[:, None]
    slot = (hit * order).amax(1) - 1
    inside = (points[..., 0] > box[..., 0]) & (points[..., 0] < box[..., 2])
    inside = inside & (points[..., 1] > box[..., 1]) & (points[..., 1] < box[..., 3])
    ignored = (inside & (state == IGNORED)).any(1)
    # a ring around each face's heart, or the neighbouring size, is neither right nor wrong
    ring = (away <= torch.maximum(0.3 * face, 0.9 * strides)) & (far < 0.6) & (state == POSITIVE)
    return slot, (ignored | ring.any(1)) & (slot < 0)


def giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes (…, 4)."""
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    hull_low, hull_high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = (hull_high - hull_low).prod(-1).clamp(min=1e-6)
    union = (area_a + area_b - inter).clamp(min=1e-6)
    return inter / union, inter / union - (hull - union) / hull


def detector_loss(
    outputs: list[tuple[Tensor, Tensor, Tensor]], batch: SceneBatch
) -> tuple[Tensor, dict[str, float]]:
    """Quality focal loss on the scores, generalised IoU on boxes, smooth L1 on keypoints."""
    height, width = batch.image.shape[-2:]
    points, strides, _ = anchors(height, width)
    slot, ignored = assign(batch, height, width)
    score = torch.cat([s for s, _, _ in outputs], 1)
    row, cell = (slot >= 0).nonzero(as_tuple=True)
    which = slot[row, cell]
    stride, point = strides[cell][:, None], points[cell]
    box = torch.cat([b for _, b, _ in outputs], 1)[row, cell] * stride
    box = torch.cat([point - box[:, :2], point + box[:, 2:]], -1)
    truth = batch.box[row, which]
    iou, generalised = giou(box, truth)
    marks = torch.cat([k for _, _, k in outputs], 1)[row, cell] * stride
    marks = marks.reshape(-1, 5, 2) + point[:, None]
    face = ((truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])).sqrt()[:, None, None]
    off = (marks - batch.keypoints[row, which]) / face
    target = torch.zeros_like(score)
    target[row, cell] = iou.detach().clamp(0.2, 1.0)
    weight = (target - torch.sigmoid(score.detach())).square() * (~ignored)
    bce = F.binary_cross_entropy_with_logits(score, target, reduction="none") * weight
    count = max(1, len(row))
    s_loss = bce.sum() / count
    b_loss = (1 - generalised).sum() / count
    k_loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.03, reduction="sum") / (count * 10)
    figures = {"score": s_loss.item(), "box": b_loss.item(), "kps": k_loss.item()}
    return s_loss * 2 + b_loss * 1.5 + k_loss * 8, figures


def wing(off: Tensor, width: float = 0.12, curve: float = 0.02) -> Tensor:
    """Wing loss: steep for small errors, linear beyond."""
    far = off.abs()
    shift = width - width * math.log(1 + width / curve)
    return torch.where(far < width, width * torch.log(1 + far / curve), far - shift)


class Margin(nn.Module):
    """Cosine classifier with a margin: additive on the cosine (CosFace) or on the angle (ArcFace)."""

    def __init__(self, people: int, width: int, *, scale: float, margin: float, angular: bool, centres: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people * centres, width) * 0.1)
        self.scale, self.margin, self.angular, self.centres = scale, margin, angular, centres

    def forward(self, embedding: Tensor, person: Tensor, share: float) -> Tensor:
        """Cross entropy; `share` of the margin is in force (it grows at the start)."""
        cosine = F.normalize(embedding, dim=1) @ F.normalize(self.weight, dim=1).T
        if self.centres > 1:
            cosine = cosine.reshape(len(cosine), -1, self.centres).amax(-1)
        n = torch.arange(len(cosine))
        own = cosine[n, person]
        margin = self.margin * share
        if self.angular:
            own = own.clamp(-1 + 1e-5, 1 - 1e-5)
            turned = own * math.cos(margin) - (1 - own * own).sqrt() * math.sin(margin)
            own = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
        else:
            own = own - margin
        logits = cosine.scatter(1, person[:, None], own[:, None])
        return F.cross_entropy(logits * self.scale, person)


__all__ = ["ABSENT", "Margin", "anchors", "assign", "detector_loss", "giou", "wing"]
