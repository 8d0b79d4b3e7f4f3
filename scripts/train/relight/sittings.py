"""What the network of `relight` learns from: people under several rigs, and what the light met there.

Tables of bytes, S sittings, V rigs of each, H x W pixels, K channels of `sitting.CHANNELS`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from portrait_lora import synthetic, vocabulary
from portrait_lora.finishing.relight_net import RANGES
from portrait_lora.synthetic.sitting import CHANNELS, Sitting

FIRST_SEED: Final = 2_600_000
"""People who train nothing else and measure nothing."""
SIZE_PX: Final = 128
VIEWS: Final = 8
"""Rigs of one sitting, of the twelve and their mirror images."""
_HEADS: Final = (0.40, 0.82)
_MAX_YAW_DEG: Final = 60.0


def sitting(seed: int, views: int = VIEWS, size_px: int = SIZE_PX) -> dict[str, Tensor]:
    """One person: `surface` (K, H, W), `cover` (H, W), `picture` (V, 3, H, W), `seen` (V, H, W), all uint8,
    and `rig` (V,): twice the number of the rig, one more where it is mirrored."""
    rng = np.random.default_rng([seed, 5])
    scene_seed = seed * 1000 + 1
    people = synthetic.dressed(synthetic.sample_people([seed]), [scene_seed])
    scenes = synthetic.sample_scenes(
        [scene_seed], edition=2, max_yaw_deg=_MAX_YAW_DEG, head_fraction=float(rng.uniform(*_HEADS))
    )
    one = Sitting(people.rows()[0], scenes.rows()[0], (size_px, size_px))
    rigs = rng.permutation(2 * len(vocabulary.ALL_LIGHTINGS))[:views]
    lit = [one.under(vocabulary.ALL_LIGHTINGS[rig // 2], flip=bool(rig % 2)) for rig in rigs.tolist()]
    return {
        "surface": packed(one.surface()),
        "cover": _bytes(one.cover_HW),
        "picture": torch.stack([picture for picture, _ in lit]),
        "seen": torch.stack([_bytes(seen) for _, seen in lit]),
        "rig": torch.from_numpy(rigs.astype(np.int64)),
    }


def packed(surface_HWK: Tensor) -> Tensor:
    """(K, H, W) uint8: 0 and 255 stand for the ends of `RANGES`, colours are stored as their square roots."""
    parts = surface_HWK.split(list(CHANNELS.values()), -1)
    coded = [_coded(name, part) for name, part in zip(CHANNELS, parts, strict=True)]
    return torch.cat(coded, -1).permute(2, 0, 1).contiguous()


def _coded(name: str, values: Tensor) -> Tensor:
    low, high = RANGES[name]
    share = ((values - low) / (high - low)).clamp(0, 1)
    return _bytes(share.sqrt() if name == "albedo" else share)


def unpacked(surface_BKHW: Tensor) -> dict[str, Tensor]:
    """Channels by name, (B, C, H, W) float in their own units; `albedo` stays a square root."""
    parts = (surface_BKHW.float() / 255).split(list(CHANNELS.values()), 1)
    return {
        name: part * (RANGES[name][1] - RANGES[name][0]) + RANGES[name][0]
        for name, part in zip(CHANNELS, parts, strict=True)
    }


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
