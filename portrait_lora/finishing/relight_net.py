"""The network of `relight`: what the light meets at every pixel of a person, and where the key lamp is seen.

B pictures, H x W pixels (multiples of `STRIDE`), T rigs of each picture.  It learnt from the studio's own
surfaces, which are known there (`scripts/train/relight`); the shading itself is the studio's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as f

from portrait_lora import vocabulary
from portrait_lora.finishing.relight_shade import diffuse, rows, spread
from portrait_lora.shading import EXPOSURE, Lighting

STRIDE: Final = 16
LIGHTS: Final = 2 * len(vocabulary.ALL_LIGHTINGS)
"""Rigs and their mirror images: twice the number of the rig, one more where it is mirrored."""
SOURCE: Final = len(vocabulary.ALL_LIGHTINGS) + 1
WIDTHS: Final = (32, 48, 64, 96)
"""Features at a half, a quarter, an eighth and a sixteenth of the size."""
_LIT: Final = (20, 32, 48, 48)
_FINE: Final = 20
_RIG: Final = 4
_CODE: Final = 48
_READER: Final = (24, 32, 48, 64)
_FLOOR: Final = 0.05
RANGES: Final = {
    "albedo": (0.0, 1.0), "normal": (-1.0, 1.0), "tangent": (-1.0, 1.0), "view": (-1.0, 1.0),
    "occlusion": (0.0, 1.25), "specular": (0.0, 1.25), "gloss": (24.0, 214.0), "skin": (0.0, 1.0),
    "strand": (0.0, 1.35), "hair": (0.0, 1.0),
}  # fmt: skip
"""Least and greatest value of every map; `albedo` is a square root of linear light."""
_CHANNELS: Final = {"albedo": 3, "normal": 3, "tangent": 3, "view": 2}
_FINE_MAPS: Final = ("albedo", "occlusion", "specular", "strand", "normal", "tangent")
"""Those that get detail at the full size: halved normals alone cost 5 dB even where they are true."""
Maps = dict[str, Tensor]


def channels(name: str) -> int:
    """How many channels the network gives of a map; `view` has x and y, its z follows."""
    return _CHANNELS.get(name, 1)


class _Block(nn.Module):
    """Two convolutions beside the input."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(f.relu(self.first(f.relu(x))))


def _tuned(x: Tensor, film_BF: Tensor) -> Tensor:
    """Features scaled and shifted by what a code says (FiLM, Perez et al. 2018)."""
    scale, shift = film_BF[..., None, None].chunk(2, 1)
    return x * (1 + scale) + shift


class _Lamp(nn.Module):
    """The second decoder: how the key of one rig falls on what the first has found."""

    def __init__(self):
        super().__init__()
        self.rig = nn.Sequential(nn.Linear(_RIG, _CODE), nn.ReLU(), nn.Linear(_CODE, _CODE), nn.ReLU())
        self.skips = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(WIDTHS, _LIT, strict=True))
        self.films = nn.ModuleList(nn.Linear(_CODE, 2 * b) for b in _LIT)
        self.blocks = nn.ModuleList(_Block(b) for b in _LIT[1:])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(_LIT[1:], _LIT[:-1], strict=True))
        self.first, self.last = nn.Conv2d(_LIT[0] + 1, _LIT[0], 3, 1, 1), nn.Conv2d(_LIT[0], 4, 3, 1, 1)

    def forward(self, features: list[Tensor], rig_B4: Tensor, facing_B1HW: Tensor) -> Tensor:
        """(B, 4, H, W) at half the size: the key's visibility before its logistic, and three gains."""
        code = self.rig(rig_B4)
        x = None
        for level in (3, 2, 1, 0):
            here = self.skips[level](features[level])
            if x is not None:
                here = here + f.interpolate(self.downs[level](x), scale_factor=2, mode="nearest")
            x = _tuned(here, self.films[level](code))
            if level:
                x = self.blocks[level - 1](x)
        assert x is not None
        return self.last(f.relu(self.first(torch.cat([f.relu(x), facing_B1HW], 1))))


class LightReader(nn.Module):
    """Which rig lit a picture, and from which side: looks at the whole person at half the size."""

    def __init__(self):
        super().__init__()
        pairs = pairwise((4, *_READER))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.sames = nn.ModuleList(nn.Conv2d(a, a, 3, 1, 1) for a in _READER)
        self.first, self.last = nn.Linear(2 * _READER[-1], 96), nn.Linear(96, LIGHTS)

    def forward(self, picture_B4HW: Tensor) -> Tensor:
        """(B, `LIGHTS`) logits; the picture as `RelightNet.maps` takes it."""
        x = f.avg_pool2d(picture_B4HW * 2 - 1, 2)
        for down, same in zip(self.downs, self.sames, strict=True):
            x = f.relu(down(x))
            x = x + f.relu(same(x))
        return self.last(f.relu(self.first(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))))


class RelightNet(nn.Module):
    """A million weights."""

    def __init__(self):
        super().__init__()
        w0, w1, w2, w3 = WIDTHS
        self.stem = nn.Conv2d(16, w0, 3, 1, 1)
        pairs = list(pairwise(WIDTHS))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.blocks = nn.ModuleList(_Block(w) for w in WIDTHS)
        self.deep, self.overall = _Block(w3), nn.Linear(w3, w3)
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.outs = nn.ModuleList(_Block(w) for w in (w0, w1, w2))
        self.reader = LightReader()
        self.was = nn.Sequential(nn.Linear(SOURCE, _CODE), nn.ReLU())
        self.films = nn.ModuleList(nn.Linear(_CODE, 2 * w) for w in WIDTHS)
        self.coarse = nn.Conv2d(w0, sum(channels(n) for n in RANGES), 3, 1, 1)
        self.to_fine = nn.Conv2d(w0, 12, 1)
        self.fine = nn.Conv2d(16, _FINE, 3, 1, 1)
        self.finest = nn.Conv2d(_FINE, sum(channels(n) for n in _FINE_MAPS), 3, 1, 1)
        self.lamp = _Lamp()

    def maps(
        self, picture_B4HW: Tensor, source_BS: Tensor, lamps: Sequence[Lighting]
    ) -> tuple[Maps, list[Tensor]]:
        """The maps of `RANGES`, (B, C, H, W) in their units, and features for `seen`.

        The picture: sRGB-coded 0..1 on middle grey, and coverage.  Its light: `source_code`, and
        the lamps of every picture.
        """
        was = self.was(source_BS)
        x = self.stem(f.pixel_unshuffle(picture_B4HW * 2 - 1, 2))
        skips: list[Tensor] = []
        for level in range(4):
            x = self.blocks[level](x if level == 0 else self.downs[level - 1](f.relu(x)))
            skips.append(x)
        x = _tuned(x + self.overall(f.relu(x).mean((2, 3)))[..., None, None], self.films[3](was))
        x = self.deep(x)
        features = [x]
        for level in (2, 1, 0):
            x = skips[level] + f.interpolate(self.ups[level](x), scale_factor=2, mode="nearest")
            x = self.outs[level](_tuned(x, self.films[level](was)))
            features.insert(0, x)
        x = f.relu(x)
        coarse = _doubled(self.coarse(x))
        near = f.relu(self.fine(torch.cat([_doubled(self.to_fine(x)), picture_B4HW * 2 - 1], 1)))
        maps = _scaled(coarse, self.finest(near))
        with torch.no_grad():
            light = self._light(maps, features, lamps)
        shows = _root_of_radiance(picture_B4HW[:, :3].float()) + _FLOOR
        share, extra = maps.pop("share"), maps.pop("extra")
        albedo = shows * torch.exp(share) * (light + _FLOOR).rsqrt() - _FLOOR + 0.1 * extra
        return {"albedo": albedo.clamp(0.01, 1)} | maps, features

    def _light(self, maps: Maps, features: list[Tensor], lamps: Sequence[Lighting]) -> Tensor:
        """(B, 3, H, W) radiance of white surfaces of these shapes in the light that the pictures have."""
        codes = torch.stack([rig_code(one) for one in lamps])
        seen = self.seen(maps, features, codes)[0].float()
        flat = {name: rows(values) for name, values in maps.items() if name not in ("share", "extra")}
        batch, _, height, width = seen.shape
        radiance = diffuse(flat, rows(seen), spread(lamps, height * width))
        return radiance.view(batch, height, width, 3).permute(0, 3, 1, 2)

    def seen(self, maps: Maps, features: list[Tensor], rigs_B4: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) share of the key lamp that is seen, and (B, 3, H, W) gains of the radiance.

        A rig: the direction to its key (x, y, z) and its softness.
        """
        toward = rigs_B4[:, :3, None, None]
        facing = f.avg_pool2d((maps["normal"] * toward).sum(1, keepdim=True), 2)
        out = _doubled(self.lamp(features, rigs_B4, facing))
        return torch.sigmoid(out[:, :1]), torch.exp(0.5 * torch.tanh(out[:, 1:]))


def rig_code(lights: Lighting) -> Tensor:
    """(4,) as `seen` takes it."""
    return torch.cat([lights.direction_33[0], torch.tensor([lights.softness / 2])])


def _doubled(x: Tensor) -> Tensor:
    return f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def source_code(rig: str, flip: bool) -> Tensor:
    """(S,) the light that a picture has: which rig, and whether it is mirrored."""
    code = torch.zeros(SOURCE)
    code[vocabulary.ALL_LIGHTINGS.index(rig)] = 1.0
    code[-1] = -1.0 if flip else 1.0
    return code


def _root_of_radiance(coded: Tensor) -> Tensor:
    """The root of the light that shows as these colours: albedo's own root, but for the light on it."""
    linear = ((coded + 0.055) / 1.055).clamp(min=0.04) ** 2.4
    return (-torch.log(1 - linear.clamp(max=0.98)) / EXPOSURE).sqrt()


def _scaled(coarse: Tensor, finest: Tensor) -> Maps:
    """Raw channels as maps in their units, directions of length one; of albedo the logarithm of a `share` and
    an `extra`: it is what the picture shows over the light on it, so that structure stays the picture's."""
    coarse, finest = coarse.float(), finest.float()
    parts = dict(zip(RANGES, coarse.split([channels(n) for n in RANGES], 1), strict=True))
    more = dict(zip(_FINE_MAPS, finest.split([channels(n) for n in _FINE_MAPS], 1), strict=True))
    maps: Maps = {"share": parts["albedo"], "extra": more["albedo"]}
    for name, (low, high) in RANGES.items():
        raw = parts[name] + more[name] if name in more else parts[name]
        if name in ("normal", "tangent"):
            maps[name] = f.normalize(raw, dim=1, eps=1e-4)
        elif name == "view":
            maps[name] = f.normalize(torch.cat([raw * 0.2, torch.ones_like(raw[:, :1])], 1), dim=1)
        elif name != "albedo":
            maps[name] = torch.sigmoid(raw) * (high - low) + low
    return maps
