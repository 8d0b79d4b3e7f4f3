"""Patches of marked and spoilt pictures, with the spectrum of the mark that lies in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import code, lattice, masking
from portrait_lora.rights.watermark.lattice import REACH, Lattice
from portrait_lora.rights.watermark.protocol import Payload
from portrait_lora.rights.watermark.tiled import added, lattice_of, luma_of
from scripts.train.watermark import spoiling
from scripts.train.watermark.table import POINTS, table

PATCH_PX: Final = 96
SMALL_PATCH_PX: Final = 64
SIDES: Final = (512, 256, 128)
_SIDE_SHARES: Final = (0.35, 0.25, 0.4)
_RENDERS: Final = 0.75
_PIXELS: Final = 16 * PATCH_PX**2
_STRENGTHS: Final = {512: (0.85, 0.25, 43.0), 256: (1.0, 0.3, 41.0), 128: (1.2, 0.35, 40.3)}
"""For each side: strength on flat ground, its growth with what is busy, least PSNR.  They belong to the
recipe, as the even tile of 40 px does: how strongly pictures are marked changes, and the shipped network was
trained before it first did."""
_MOST: Final = 6.0


class Lessons:
    """Batches from pictures of 512 px, shown at three sizes."""

    def __init__(self, renders: Sequence[RGBImage], others: Sequence[RGBImage]):
        self._pictures = [
            [{side: _resized(one, side) for side in SIDES} for one in lot] for lot in (renders, others)
        ]
        self._lattice: Lattice = lattice_of(table(code.CODED_BITS))

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Luma (B, 1, P, P), side of the tile (B,), and the mark's coefficients (B, N) complex."""
        side = PATCH_PX if rng.random() < 0.75 else SMALL_PATCH_PX
        rows: list[tuple[np.ndarray, float, np.ndarray]] = []
        while len(rows) < _PIXELS // side**2:
            if (row := self._patch(side, rng)) is not None:
                rows.append(row)
        return (
            torch.from_numpy(np.stack([luma for luma, _, _ in rows]))[:, None],
            torch.tensor([tile for _, tile, _ in rows]),
            torch.from_numpy(np.stack([truth for _, _, truth in rows])),
        )

    def _patch(self, patch_px: int, rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray] | None:
        lot = self._pictures[0 if rng.random() < _RENDERS else 1]
        side = int(rng.choice(SIDES, p=_SIDE_SHARES))
        picture = lot[int(rng.integers(len(lot)))][side]
        window = min(side, 2 * patch_px + 16)
        y, x = (int(v) for v in rng.integers(0, side - window + 1, 2))
        shown = np.ascontiguousarray(picture[y : y + window, x : x + window])
        spectrum = self._lattice.spectrum(
            code.encode(Payload(int(rng.integers(256)), int(rng.integers(1 << 32))))
        )
        tile = lattice.TILE_PX
        strength = _strength(shown, tile, side) * np.float32(rng.uniform(0.7, 1.3))
        spoilt, _ = spoiling.any_of(added(shown, spectrum, tile, strength), rng)
        tile *= spoilt.shape[1] / window
        if spoilt.shape[0] < patch_px:
            return None
        y, x = (int(v) for v in rng.integers(0, spoilt.shape[0] - patch_px + 1, 2))
        rows, columns = POINTS[:, 0] - REACH, POINTS[:, 1] - REACH
        truth = spectrum[POINTS[:, 0], columns] * np.exp(2j * np.pi * (rows * y + columns * x) / tile)
        luma = luma_of(np.ascontiguousarray(spoilt[y : y + patch_px, x : x + patch_px]))
        return luma, tile, truth.astype(np.complex64)


def _strength(rgb: RGBImage, tile: float, side: int) -> lattice.Floats:
    """(H, W) root mean square of the mark in a part of a picture of this side."""
    base, slope, psnr = _STRENGTHS[side]
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    strength = masking.strength(grey, tile, base, slope, _MOST)
    size = float(cv2.norm(strength)) / strength.size**0.5
    return strength * min(1.0, 255 / 10 ** (psnr / 20) / size)


def _resized(rgb: RGBImage, side: int) -> RGBImage:
    return rgb if rgb.shape[0] == side else cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
