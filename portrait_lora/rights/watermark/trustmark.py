"""TrustMark behind `Watermark`: its published weights, read from safetensors, its packets of 100 bits.

The packet holds our payload of 40 bits under the strongest of the corrections of TrustMark (40 + 56 bits,
then four of the version, 0): other readers of TrustMark find it too.  A word that means nothing is read as
one with a chance of 2.0e-6 (all within eight bits of a word) / 16 (the version): 1.3e-7.

What has been tested here is that the networks hold the published names and that packets survive; with the
published weights nothing was run.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from safetensors import SafetensorError

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import bch
from portrait_lora.rights.watermark.protocol import PICTURE_BITS, Payload, Reading

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME: Final = "TrustMark Q"
ENCODER, DECODER = "encoder_Q.safetensors", "decoder_Q.safetensors"
MIN_SIDE_PX: Final = 128
_VERSION_BITS: Final = 4
_LONGEST: Final = 2.0
"""Of the sides' ratio: of longer pictures the middle square alone is marked, as TrustMark does."""
_RATE: Final = sum(math.comb(bch.CODE_BITS, k) for k in range(bch.CORRECTS + 1)) / 2**bch.PARITY_BITS


def packet(payload: Payload) -> np.ndarray:
    """(100,) float32 of 0 and 1."""
    word = bch.encode(payload.tool << PICTURE_BITS | payload.picture) << _VERSION_BITS
    count = bch.CODE_BITS + _VERSION_BITS
    return np.array([word >> i & 1 for i in range(count - 1, -1, -1)], np.float32)


def opened(bits: np.ndarray) -> tuple[Payload, int] | None:
    """The payload of (100,) bits, and how many were mended; None where it is no packet of this kind."""
    number = int("".join("1" if bit else "0" for bit in bits), 2)
    if number & (1 << _VERSION_BITS) - 1:
        return None
    read = bch.decode(number >> _VERSION_BITS)
    if read is None:
        return None
    data, wrong = read
    return Payload(data >> PICTURE_BITS, data & (1 << PICTURE_BITS) - 1), wrong


def home() -> Path:
    """Folder of the fetched weights: under HF_HOME, beside the hub's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    root = os.environ.get("HF_HOME", f"{cache}/huggingface")
    return Path(root).expanduser() / "portrait_lora" / "watermarks" / "trustmark"


class TrustMark:
    """`Watermark` by TrustMark's networks.  Raises `ArtifactError` for weights of another layout."""

    name = NAME
    min_side_px = MIN_SIDE_PX
    false_positive_rate = _RATE / 2**_VERSION_BITS

    def __init__(self, folder: Path):
        from portrait_lora.rights.watermark import trustmark_net as nets

        self._encoder, self._decoder = nets.Encoder(), nets.Decoder()
        _filled(self._encoder, folder / ENCODER, "encoder.")
        _filled(self._decoder, folder / DECODER, "decoder.decoder.")

    def embed(self, rgb: RGBImage, payload: Payload) -> RGBImage:
        """See `Watermark.embed`."""
        import torch
        from torch.nn import functional as f

        from portrait_lora.rights.watermark.trustmark_net import ENCODER_PX

        _refuse(rgb)
        if min(rgb.shape[:2]) < MIN_SIDE_PX:
            raise InputError(
                "the picture is too small for a watermark",
                got=f"{rgb.shape[1]} x {rgb.shape[0]} px",
                needed=f"{MIN_SIDE_PX} px on the shorter side",
            )
        rows, columns = _marked_part(rgb)
        part = rgb[rows, columns]
        cover = _tensor(part, ENCODER_PX)
        with torch.no_grad():
            drawn = self._encoder(cover, torch.from_numpy(packet(payload))[None]).clamp(-1, 1)
            apart = drawn - cover
            apart = apart - apart.mean((2, 3), keepdim=True)
            large = f.interpolate(apart, size=part.shape[:2], mode="bilinear")[0].permute(1, 2, 0).numpy()
        out = rgb.copy()
        out[rows, columns] = np.clip(np.rint(part + large * 127.5), 0, 255)
        return out

    def detect(self, rgb: RGBImage) -> Reading | None:
        """See `Watermark.detect`; `whole` is always true, since TrustMark reads the picture as one."""
        import torch

        from portrait_lora.rights.watermark.trustmark_net import DECODER_PX

        _refuse(rgb)
        rows, columns = _marked_part(rgb)
        with torch.no_grad():
            values = self._decoder(_tensor(rgb[rows, columns], DECODER_PX))[0].numpy()
        read = opened(values > 0)
        if read is None:
            return None
        payload, wrong = read
        return Reading(payload, 1 - wrong / bch.CODE_BITS, wrong, True)


def _refuse(rgb: RGBImage) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InputError("a watermark lies in colours", got=str(rgb.shape), needed="(H, W, 3) uint8")


def _marked_part(rgb: RGBImage) -> tuple[slice, slice]:
    height, width = rgb.shape[:2]
    if max(height, width) <= _LONGEST * min(height, width):
        return slice(0, height), slice(0, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def _tensor(rgb: RGBImage, side_px: int) -> Tensor:
    import torch

    small = cv2.resize(rgb, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def _filled(net: nn.Module, file: Path, prefix: str) -> None:
    from safetensors.torch import load_file

    try:
        weights = load_file(str(file))
    except (OSError, SafetensorError) as error:
        raise ArtifactError("TrustMark's weights cannot be read", where=file, got=str(error)[:200]) from error
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    missing = sorted(set(net.state_dict()) - set(own))
    if missing or set(own) - set(net.state_dict()):
        raise ArtifactError(
            "these are no weights of TrustMark Q",
            where=file,
            got=f"{len(own)} tensors under {prefix}",
            needed=missing[0] if missing else f"{len(net.state_dict())} tensors",
        )
    net.load_state_dict(own)
    net.eval()
