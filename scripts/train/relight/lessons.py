"""Batches for the network of `relight`, and what it loses on them.

B sittings, T rigs of each, N pixels of people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as f

from portrait_lora import vocabulary
from portrait_lora.finishing.relight_net import RANGES, Maps, RelightNet, rig_code, source_code
from portrait_lora.finishing.relight_shade import coded, shown, spread
from portrait_lora.shading import Lighting, lighting
from scripts.train.relight.sittings import unpacked

TARGETS: Final = 2
_GREY: Final = 0.5
_SHADED: Final = 0.3
_DECIBELS: Final = 0.02
"""Of the decibel of every picture: dark rigs count as much as bright ones."""
_WEIGHTS: Final = {
    "albedo": 2.0, "normal": 0.5, "tangent": 0.1, "view": 0.5, "occlusion": 0.3, "specular": 0.2,
    "gloss": 0.001, "skin": 0.2, "strand": 0.1, "hair": 0.2,
}  # fmt: skip
_FLIPPED: Final = ("normal", "tangent", "view")
RIGS: Final = len(vocabulary.ALL_LIGHTINGS)


@dataclass(slots=True)
class Batch:
    """Inputs (B, 4, H, W); true maps; coverage (B, 1, H, W); pictures (B, T, 3, H, W), visibility of the key
    (B, T, 1, H, W) and rigs (B, T) as in `sittings`; the light of the inputs (B, S)."""

    picture_B4HW: Tensor
    maps: Maps
    cover_B1HW: Tensor
    target_BT3HW: Tensor
    seen_BT1HW: Tensor
    rig_BT: Tensor
    source_BS: Tensor
    lamps: list[Lighting]
    shaded_BHW: Tensor
    """The pixels that are shaded: a part of them shows the slope, and shading is the dearest of all."""


def batch(table: dict[str, Tensor], count: int, rng: np.random.Generator, *, halved: bool = False) -> Batch:
    """Sittings, each by one rig and wanted by two others; half of them mirrored."""
    rows = torch.from_numpy(rng.integers(0, len(table["cover"]), count))
    views = np.stack([rng.permutation(table["rig"].shape[1])[: 1 + TARGETS] for _ in range(count)])
    first, wanted = torch.from_numpy(views[:, 0]), torch.from_numpy(views[:, 1:])
    maps = unpacked(table["surface"][rows])
    cover = table["cover"][rows][:, None].float() / 255
    inputs = table["picture"][rows, first].float() / 255
    target = table["picture"][rows[:, None], wanted].float() / 255
    seen = table["seen"][rows[:, None], wanted][:, :, None].float() / 255
    rig = table["rig"][rows[:, None], wanted].clone()
    mirrored = torch.from_numpy(rng.random(count) < 0.5)
    for one in (cover, inputs, target, seen, *maps.values()):
        one[mirrored] = one[mirrored].flip(-1)
    for name in _FLIPPED:
        maps[name][mirrored, 0] *= -1
    rig[mirrored] ^= 1
    was = table["rig"][rows, first] ^ mirrored.long()
    source = torch.stack([source_code(vocabulary.ALL_LIGHTINGS[r // 2], bool(r % 2)) for r in was.tolist()])
    pictures = _seen_by_the_step(inputs, cover, rng)
    if halved:
        pictures, inside = f.avg_pool2d(pictures, 2), cover[:, None]
        target, seen = _halved(target, inside), _halved(seen, inside)
        maps = {name: _halved(values, cover) for name, values in maps.items()}
        cover = f.avg_pool2d(cover, 2)
    shaded = torch.from_numpy(rng.random(tuple(cover[:, 0].shape), dtype=np.float32) < _SHADED)
    return Batch(pictures, maps, cover, target, seen, rig, source, lamps(was)[0], shaded)


def readings(table: dict[str, Tensor], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures as the step sees them, (B, 4, H, W), half of them mirrored, and their light (B,)."""
    rows = torch.from_numpy(rng.integers(0, len(table["cover"]), count))
    views = torch.from_numpy(rng.integers(0, table["rig"].shape[1], count))
    pictures = table["picture"][rows, views].float() / 255
    cover = table["cover"][rows][:, None].float() / 255
    mirrored = torch.from_numpy(rng.random(count) < 0.5)
    for one in (pictures, cover):
        one[mirrored] = one[mirrored].flip(-1)
    return _seen_by_the_step(pictures, cover, rng), table["rig"][rows, views] ^ mirrored.long()


def loss_of_reading(net: RelightNet, pictures: Tensor, light_B: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Cross entropy over `relight_net.LIGHTS`."""
    logits = net.reader(pictures.contiguous(memory_format=torch.channels_last))
    right = (logits.detach().argmax(1) == light_B).float().mean()
    return f.cross_entropy(logits, light_B), {"right": float(right)}


def _seen_by_the_step(inputs: Tensor, cover: Tensor, rng: np.random.Generator) -> Tensor:
    """Coverage as a cut-out gets it: a little off, with something of a backdrop in the edge; noise."""
    alpha, pictures = cover.clone(), inputs.clone()
    for i in range(len(alpha)):
        kind = rng.random()
        if kind < 0.25:
            alpha[i] = f.max_pool2d(alpha[i], 3, 1, 1)
        elif kind < 0.5:
            alpha[i] = -f.max_pool2d(-alpha[i], 3, 1, 1)
        elif kind < 0.7:
            alpha[i] = f.avg_pool2d(alpha[i], 3, 1, 1, count_include_pad=False)
        behind = torch.from_numpy(rng.random((3, 1, 1), dtype=np.float32))
        edge = pictures[i] * cover[i] + behind * (1 - cover[i])
        pictures[i] = edge if rng.random() < 0.5 else torch.where(cover[i] > 0, pictures[i], edge)
        if rng.random() < 0.3:
            noise = rng.standard_normal(tuple(pictures[i].shape), dtype=np.float32)
            pictures[i] += torch.from_numpy(noise * np.float32(rng.uniform(0, 2.5) / 255))
    return torch.cat([_GREY + (pictures - _GREY) * alpha, alpha], 1)


def _halved(values: Tensor, cover: Tensor) -> Tensor:
    """At half the size, (…, C, H, W), without what lies where nobody is."""
    shape = values.shape[:-2]
    flat = [v.expand(*shape, *v.shape[-2:]).flatten(0, -3)[:, None] for v in (values * cover, cover)]
    small, weight = (f.avg_pool2d(v, 2) for v in flat)
    return (small / weight.clamp(min=1e-3)).view(*shape, *small.shape[-2:])


def lamps(rigs: Tensor) -> tuple[list[Lighting], Tensor]:
    """The lamps of rigs (T,) as in `sittings`, and their codes (T, 4)."""
    chosen = [lighting(int(r) // 2, bool(int(r) % 2), torch.device("cpu")) for r in rigs]
    return chosen, torch.stack([rig_code(one) for one in chosen])


def loss(net: RelightNet, one: Batch, *, half: bool = False) -> tuple[Tensor, dict[str, Any]]:
    """Of the relit pictures, and of the maps they are shaded from."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        picture = one.picture_B4HW.contiguous(memory_format=torch.channels_last)
        maps, features = net.maps(picture, one.source_BS, one.lamps)
    maps = {name: value.float() for name, value in maps.items()}
    for value in maps.values():
        value.register_hook(_finite)  # roots of the shading have no slope at zero
    total, figures = _of_maps(maps, one)
    inside = (one.cover_B1HW[:, 0] > 0.02) & one.shaded_BHW
    squares: list[Tensor] = []
    for k in range(one.rig_BT.shape[1]):
        chosen, codes = lamps(one.rig_BT[:, k])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            seen, gains = net.seen(maps, features, codes)
        seen, gains = seen.float(), gains.float()
        off_seen = (seen - one.seen_BT1HW[:, k]).abs() * one.cover_B1HW
        total = total + 0.3 * off_seen.sum() / one.cover_B1HW.sum()
        counts = inside.sum((1, 2))
        picked = {n: _picked(v, inside) for n, v in maps.items()}
        coded_N3 = coded(shown(picked, _picked(seen, inside), _picked(gains, inside), spread(chosen, counts)))
        off = (coded_N3 - _picked(one.target_BT3HW[:, k], inside)) * _picked(one.cover_B1HW, inside)
        total = total + 2 * off.abs().mean() + 10 * off.square().mean() + 0.01 * (gains.log() ** 2).mean()
        each = torch.stack([part.square().mean() for part in off.split(counts.tolist())])
        total = total + _DECIBELS * 10 * torch.log10(each + 1e-4).mean()
        squares.append(each.detach())
    figures["psnr"] = float(-10 * torch.log10(torch.cat(squares)).mean())
    return total, figures


def _finite(slope: Tensor) -> Tensor:
    return torch.nan_to_num(slope, 0.0, 0.0, 0.0)


def _picked(values_BCHW: Tensor, inside_BHW: Tensor) -> Tensor:
    """(N, C) of the pixels inside."""
    return values_BCHW.permute(0, 2, 3, 1)[inside_BHW]


def _of_maps(maps: Maps, one: Batch) -> tuple[Tensor, dict[str, Any]]:
    total, figures = torch.zeros(()), {}
    whole = one.cover_B1HW * (one.cover_B1HW > 0.5)
    for name in RANGES:
        weight = whole * one.maps["hair"] if name in ("tangent", "strand") else whole
        if name == "normal" or name == "tangent":
            off = 1 - (maps[name] * f.normalize(one.maps[name], dim=1)).sum(1, keepdim=True)
        else:
            off = (maps[name] - one.maps[name]).abs().mean(1, keepdim=True)
        value = (off * weight).sum() / weight.sum().clamp(min=1)
        total = total + _WEIGHTS[name] * value
        if name in ("albedo", "normal"):
            figures[name] = float(value.detach())
    return total, figures
