"""Upscaling by 2, 4 or 6: through a network in tiles or by Lanczos, and the detail pass over the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol, cast

import cv2
import numpy as np

from portrait_lora import strict_json
from portrait_lora.errors import InputError
from portrait_lora.families.base_model import ASSETS
from portrait_lora.finishing import tiles
from portrait_lora.finishing.canvas import to_bytes
from portrait_lora.finishing.resample import lanczos
from portrait_lora.finishing.step import Redraw
from portrait_lora.records import FloatArray

STUDIO: Final = ASSETS / "upscaler" / "studio_x4.safetensors"
_DETAIL_BAND: Final = 1 / 40
"""Of a tile's side: sigma below which structure is taken from the redrawn tile.  At 128 px that is 3.2 px,
pores and hair; what is larger (features, colours) stays."""
_OVERLAP: Final = 4
"""A quarter of a tile on each side is seen by its neighbour too."""
_MAX_SIDECAR: Final = 64_000


class Net(Protocol):
    """A network as `esrgan.read_upscaler` gives it."""

    scale: int
    margin_px: int

    def __call__(self, rgb_HW3: np.ndarray) -> np.ndarray:
        """Enlarged, clipped."""
        ...


def by_network(rgb_HW3: np.ndarray, factor: int, net: Net, tile_px: int) -> FloatArray:
    """(factor × H, factor × W, 3) in 0..1.

    A network of a larger scale is averaged down within each tile; one of a smaller scale is applied as often
    as fits, and the rest is Lanczos (6× by a 4× network: 4× and 1.5×).  Raises `InputError` for a scale of
    which the factor is neither a multiple nor a part.
    """
    if net.scale > factor:
        if net.scale % factor:
            raise InputError(
                "the upscaling model has another scale", got=f"{net.scale}×",
                needed=f"one that {factor}× can be made of",
            )  # fmt: skip
        shrink = net.scale // factor

        def averaged(small: np.ndarray) -> np.ndarray:
            large = net(small)
            height, width = large.shape[0] // shrink, large.shape[1] // shrink
            return large.reshape(height, shrink, width, shrink, 3).mean(axis=(1, 3))

        return tiles.enlarged(rgb_HW3, factor, averaged, tile=tile_px, margin=net.margin_px)
    size = rgb_HW3.shape[1] * factor, rgb_HW3.shape[0] * factor
    done, out = 1, np.asarray(rgb_HW3, np.float32)
    while done * net.scale <= factor:
        out = tiles.enlarged(out, net.scale, net, tile=tile_px, margin=net.margin_px)
        done *= net.scale
    return out if done == factor else np.clip(lanczos(out, size), 0, 1)


def licence_of(path: Path, stated: str) -> str:
    """The licence of a weights file: as stated in the look, else in the JSON beside it; empty where unknown.

    Raises `InputError` for a sidecar that is no record, and where both differ.
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return stated
    if sidecar.stat().st_size > _MAX_SIDECAR:
        raise InputError("too large for a record of a licence", where=sidecar)
    record = strict_json.load_object(sidecar, "record of a licence")
    recorded = record.get("licence")
    if not isinstance(recorded, str):
        raise InputError("the record of the model names no licence", where=sidecar, needed='{"licence": …}')
    if stated and stated != recorded:
        raise InputError(
            "the look and the model's own record name different licences",
            where=sidecar, got=json.dumps([stated, recorded]), needed="one licence",
        )  # fmt: skip
    return recorded


def redrawn(rgb_HW3: np.ndarray, redraw: Redraw, strength: float, seed: int) -> FloatArray:
    """The picture with fine structure of tiles that the person's own model has drawn over.

    Only the high band of a redrawn tile is taken: colours and features stay those of the upscaled picture, so
    tiles cannot differ in tone.  Tiles overlap by half and blend.
    """
    side = redraw.side_px
    height, width = rgb_HW3.shape[:2]
    if min(height, width) < side:
        raise InputError(
            "the picture is too small for the detail pass",
            got=f"{width} x {height} px",
            needed=f"{side} px a side, the resolution of the base model",
        )
    overlap = side // _OVERLAP
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    window = _window(side, overlap)
    places = [(y, x) for y in _starts(height, side, overlap) for x in _starts(width, side, overlap)]
    for number, (y, x) in enumerate(places):
        here = slice(y, y + side), slice(x, x + side)
        tile = to_bytes(rgb_HW3[here])
        drawn = redraw(tile, strength, (seed + number) % 2**31)
        fine = _high_band(drawn.astype(np.float32) / 255) - _high_band(rgb_HW3[here])
        total[here] += fine * window
        weight[here] += window
    return np.clip(rgb_HW3 + total / weight, 0, 1).astype(np.float32)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    count = max(1, -(-(length - overlap) // (side - overlap)))
    return sorted({round(i * (length - side) / max(count - 1, 1)) for i in range(count)})


def _window(side: int, overlap: int) -> FloatArray:
    """(S, S, 1): one in the middle, and a ramp over the overlap that never reaches zero."""
    place = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    ramp = np.minimum(place / overlap, 1.0)
    smooth = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
    return cast(FloatArray, (smooth[:, None] * smooth[None, :])[..., None])


def _high_band(rgb_HW3: np.ndarray) -> np.ndarray:
    sigma = _DETAIL_BAND * max(rgb_HW3.shape[:2])
    values = np.ascontiguousarray(rgb_HW3, np.float32)
    return values - np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))
