"""The network that says of every pixel around a face what it shows, and where the face is, covered or not.

What hides a face follows from the two together: the share of the face's place that shows a thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from portrait_lora import synthetic
from portrait_lora.synthetic.parts import BACKDROP, GLASSES, PARTS, part_labels
from scripts.precision import half
from scripts.train.corpus import Corpus
from scripts.train.face_pack import augment, occluders
from scripts.train.face_pack.data import Pool, astray, box_crop, invert, move
from scripts.train.face_pack.nets import SEGMENTER_PX, Segmenter
from scripts.train.face_pack.training import plan_of, train
from scripts.train.render_corpus import VIEWS_PER_SEED

NAME: Final = "segmenter"
FILE: Final = "heads/segmenter.onnx"
LABELS: Final = "parts.safetensors"
THING: Final = len(PARTS)
OUTPUTS: Final = len(PARTS) + 2
"""The parts of a render, a thing in front, and the place of the face."""
SEED: Final = 16
MINUTES: Final = 20.0
CONTEXT: Final = 2.4
"""Side of the crop over the longer side of the face box: hair and shoulders are in it."""
STRIDE: Final = 3
"""Every so manieth picture of the corpus is labelled: that takes a core 50 ms each."""
_WEIGHTS: Final = (1.0, 1.0, 1.0, 1.0, 3.0, 2.0, 1.5)
_CHUNK: Final = 100
_BAD_SHARE, _GOOD_SHARE, _BETWEEN = 0.25, 0.05, 0.15
_ASTRAY: Final = 0.3


def label_corpus(corpus: Path, work: Path) -> Path:
    """Write the parts of every STRIDE-th picture: `rows` (N,) and `parts` (N, S, S) uint8."""
    file = work / LABELS
    if file.exists():
        return file
    shards = Corpus(corpus)
    seeds = shards.column("person").tolist()
    rows = list(range(0, len(shards), STRIDE))
    first = {seed: row for row, seed in reversed(list(enumerate(seeds)))}
    parts: list[Tensor] = []
    for row in rows:
        view = row - first[seeds[row]]
        scene_seed = seeds[row] * VIEWS_PER_SEED + view
        people = synthetic.sample_people([seeds[row]])
        if view:
            people = synthetic.restyle(people, [scene_seed])
        parts.append(part_labels(people, synthetic.sample_scenes([scene_seed]), shards.size_px)[0])
        if len(parts) % 1000 == 0:
            print(f"{NAME}: {len(parts)} of {len(rows)} pictures labelled", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    save_file({"rows": torch.tensor(rows), "parts": torch.stack(parts)}, str(file))
    return file


def load_labels(work: Path) -> tuple[Tensor, Tensor]:
    """(rows of the corpus, their parts)."""
    table = load_file(str(work / LABELS))
    return table["rows"], table["parts"]


def truth(painted: occluders.Painted, parts: Tensor, affine: Tensor) -> Tensor:
    """(B, S, S) long labels of crops: parts, lenses and things; -1 beyond the picture."""
    away = warp_labels(parts, affine)
    away = torch.where((painted.lenses > 0.5) & (away > BACKDROP), GLASSES, away)
    away = torch.where(painted.things > 0.5, THING, away)
    return torch.where(painted.cut[:, 0] > 0, away, -1)


def warp_labels(parts: Tensor, affine: Tensor) -> Tensor:
    """(B, S, S) long: the nearest label of the pictures; -1 beyond them."""
    side = SEGMENTER_PX
    one_up = parts[:, None].float() + 1  # 0 stands for beyond
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    places = move(torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(parts), -1, -1), affine)
    size = torch.tensor([parts.shape[-1], parts.shape[-2]]).float()
    grid = ((places + 0.5) / size * 2 - 1).reshape(-1, side, side, 2)
    nearest = F.grid_sample(one_up, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return nearest[:, 0].long() - 1


def hulls(landmarks: Tensor) -> Tensor:
    """(B, S, S) 1 inside the hull of the landmarks of each crop."""
    side = SEGMENTER_PX
    return torch.stack([torch.from_numpy(occluders.hull(p, side)) for p in landmarks.numpy()])


def look(net: nn.Module, crop: Tensor) -> Tensor:
    """(B, OUTPUTS, S, S) logits for crops of 0..255."""
    with half("cpu"):
        return net(((crop - 127.5) / 128.0).contiguous(memory_format=torch.channels_last)).float()


def covered_share(logits: Tensor) -> Tensor:
    """(B,) share of the face's place that shows a thing."""
    thing = logits[:, :-1].softmax(1)[:, THING]
    face = logits[:, -1].sigmoid()
    return (thing * face).sum((1, 2)) / face.sum((1, 2)).clamp(min=1e-6)


def accuracy(net: nn.Module, pool: Pool, parts: Tensor) -> dict[str, float]:
    """Intersection over union of every part on plain pictures, and how well the covered share is measured."""
    net.eval()
    both, either = torch.zeros(2, len(PARTS))
    predicted, share = [], []
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for rows in torch.arange(len(pool)).split(_CHUNK):
            crop, affine = box_crop(pool.image[rows], pool.box[rows], None, SEGMENTER_PX, CONTEXT)
            wanted = warp_labels(parts[rows], affine)
            guess = look(net, crop)[:, : len(PARTS)].argmax(1)
            for k in range(len(PARTS)):
                a, b = (guess == k) & (wanted >= 0), wanted == k
                both[k] += (a & b).sum()
                either[k] += (a | b).sum()
            painted = occluders.paint(crop, move(pool.landmarks[rows], invert(affine)), generator)
            predicted.append(covered_share(look(net, painted.crop * painted.cut)))
            share.append(painted.covered)
    guessed, true = torch.cat(predicted), torch.cat(share)
    clear = (true >= _BAD_SHARE) | (true <= _GOOD_SHARE)
    right = ((guessed > _BETWEEN) == (true > _BETWEEN))[clear].float().mean()
    overlaps = {f"iou_{name}": float(v) for name, v in zip(PARTS, both / either.clamp(min=1), strict=True)}
    covered = {"covered_mae": float((guessed - true).abs().mean()), "covered_right": float(right)}
    return overlaps | covered | {"n": float(len(pool))}


def train_segmenter(
    fit: tuple[Pool, Tensor], held: tuple[Pool, Tensor], folder: Path, minutes: float, batch: int = 48
) -> None:
    """Cross entropy of the parts and of the place of the face, things and lenses painted on."""
    torch.manual_seed(SEED)
    net = Segmenter(OUTPUTS).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pool, parts = fit
    weights = torch.tensor(_WEIGHTS)

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(0, len(pool), (batch,), generator=generator)
        box = astray(pool.box[rows], _ASTRAY, generator)
        crop, affine = box_crop(pool.image[rows], box, generator, SEGMENTER_PX, CONTEXT)
        points = move(pool.landmarks[rows], invert(affine))
        painted = occluders.paint(crop, points, generator)
        wanted, face = truth(painted, parts[rows], affine), hulls(points)
        crop = augment.camera(painted.crop, generator, soft=0.25, strength=0.5) * painted.cut
        logits = look(net, crop)
        part = F.cross_entropy(logits[:, :-1], wanted, weights, ignore_index=-1)
        inside = F.binary_cross_entropy_with_logits(logits[:, -1], face)
        predicted = covered_share(logits)
        share = (predicted - painted.covered).abs().mean()
        figures = {"parts": part.item(), "face": inside.item(), "covered": share.item()}
        return part + inside + share, figures

    modules = nn.ModuleDict({"net": net})
    train(NAME, modules, step, plan_of(minutes, 2e-3, batch, SEED), folder, lambda: accuracy(net, *held))


def facts() -> dict[str, Any]:
    """The entry of pack.json."""
    return {"file": FILE, "parts": [*PARTS, "thing"]}
