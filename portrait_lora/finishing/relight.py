"""A person in the light of a rig: maps by the embedded network, shaded as the studio shades.

The network looks at the picture at a size at which heads are as large as those that it learnt from.  A larger
picture keeps its own fine structure: only what the light changes is enlarged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from portrait_lora import rigs, vocabulary
from portrait_lora.errors import ArtifactError
from portrait_lora.families.base_model import ASSETS
from portrait_lora.finishing import colour
from portrait_lora.finishing.relight_net import STRIDE, Maps, RelightNet, rig_code, source_code
from portrait_lora.finishing.relight_shade import rows, shown
from portrait_lora.records import FloatArray
from portrait_lora.shading import EXPOSURE, Lighting, lighting

STUDIO: Final = ASSETS / "relight" / "studio.safetensors"
WORK_FACE_PX: Final = 90.0
"""Faces of this size at most are looked at: those of the training pictures have 36 to 90 px."""
WORK_PX: Final = 256
_GREY: Final = 0.5
_MOST_LIGHT: Final = 0.98
"""Linear light above which a picture no longer tells how bright it was."""
_DARK: Final = 0.03
"""Radiance below which noise is not taken for structure."""
_FINE: Final = (0.4, 2.5)
_LUMINANCE: Final = torch.from_numpy(colour.LUMINANCE)


@dataclass(frozen=True, slots=True)
class Rig:
    """A rig by its word; `flip` mirrors it, `tint` 0 gives its lamps white light of the same strength."""

    name: str
    flip: bool = False
    tint: float = 1.0

    @property
    def lamps(self) -> Lighting:
        """The lamps as tensors."""
        one = lighting(vocabulary.ALL_LIGHTINGS.index(self.name), self.flip, torch.device("cpu"))
        if self.tint >= 1:
            return one
        lamps, sky, ground = (_whitened(c, self.tint) for c in (one.colour_33, one.sky_3, one.ground_3))
        return Lighting(one.direction_33, lamps, sky, ground, one.softness)


def _whitened(colours: Tensor, tint: float) -> Tensor:
    grey = (colours * _LUMINANCE).sum(-1, keepdim=True)
    return grey + (colours - grey) * tint


class Relighter:
    """The network of a safetensors file.  Raises `ArtifactError` for one that does not fit."""

    def __init__(self, path: Path = STUDIO):
        self._net = RelightNet()
        try:
            self._net.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise ArtifactError("not the network of relight", where=path, got=str(error)[:200]) from error
        self._net.eval().requires_grad_(False)

    def lit(
        self, front_HW3: FloatArray, alpha_HW: FloatArray, face_px: float, rig: Rig, was: Rig
    ) -> FloatArray:
        """(H, W, 3) linear light of the person under the rig; `front` are the person's own colours, coded.

        `was`: the light that the picture has.
        """
        small, cover = _at_work(front_HW3, alpha_HW, face_px)
        with one_thread():
            drawn = _both_ways(self._shaded, small, cover, rig, was)
        if drawn.shape == front_HW3.shape:
            return drawn
        return _with_own_structure(drawn, small, front_HW3)

    def albedo(self, front_HW3: FloatArray, alpha_HW: FloatArray, face_px: float, was: Rig) -> FloatArray:
        """(H, W, 3) linear colours of the person without any light on them."""
        small, cover = _at_work(front_HW3, alpha_HW, face_px)
        with one_thread():
            albedo = _both_ways(self._albedo, small, cover, was)
        if albedo.shape == front_HW3.shape:
            return albedo
        return np.clip(_enlarged(albedo, front_HW3) * _structure(small, front_HW3), 0, 1)

    def light_of(self, front_HW3: FloatArray, alpha_HW: FloatArray, face_px: float) -> Rig:
        """The light that the picture has, read from the picture and its mirror image."""
        picture = _padded(*_at_work(front_HW3, alpha_HW, face_px))
        with one_thread():
            both = torch.cat([picture, picture.flip(-1)])
            plain, mirrored = torch.log_softmax(self._net.reader(both), 1).view(2, -1, 2)
            sides = plain + mirrored.flip(-1)
        number = int(sides.logsumexp(1).argmax())  # a key in the middle shares its chance between two sides
        return Rig(vocabulary.ALL_LIGHTINGS[number], bool(sides[number].argmax()))

    def _maps(self, front_HW3: FloatArray, alpha_HW: FloatArray, was: Rig) -> tuple[Maps, list[Tensor]]:
        picture = _padded(front_HW3, alpha_HW)
        return self._net.maps(picture, source_code(was.name, was.flip)[None], [was.lamps])

    def _albedo(self, front_HW3: FloatArray, alpha_HW: FloatArray, was: Rig) -> FloatArray:
        maps, _ = self._maps(front_HW3, alpha_HW, was)
        return _picture(maps["albedo"], alpha_HW.shape) ** 2

    def _shaded(self, front_HW3: FloatArray, alpha_HW: FloatArray, rig: Rig, was: Rig) -> FloatArray:
        maps, features = self._maps(front_HW3, alpha_HW, was)
        lamps = rig.lamps
        seen, gains = self._net.seen(maps, features, rig_code(lamps)[None])
        flat = {name: rows(values) for name, values in maps.items()}
        light = shown(flat, rows(seen), rows(gains), lamps)
        if not bool(torch.isfinite(light).all()):
            raise ArtifactError("the network of relight answers with values that are not finite")
        shape = (*seen.shape[2:], 3)
        height, width = alpha_HW.shape
        return np.ascontiguousarray(light.reshape(shape)[:height, :width].numpy())


def _both_ways(
    answer: Callable[..., FloatArray], front_HW3: FloatArray, alpha_HW: FloatArray, *rigs: Rig
) -> FloatArray:
    """What a picture and its mirror image give, averaged as the eye sees it: the errors are not the same."""
    plain = answer(front_HW3, alpha_HW, *rigs)
    flipped = [np.ascontiguousarray(v[:, ::-1]) for v in (front_HW3, alpha_HW)]
    other = answer(*flipped, *(Rig(r.name, not r.flip, r.tint) for r in rigs))[:, ::-1]
    return colour.to_linear((colour.to_coded(plain) + colour.to_coded(other)) / 2)


def _padded(front_HW3: FloatArray, alpha_HW: FloatArray) -> Tensor:
    """(1, 4, H, W) as the network takes it, its size a multiple of `STRIDE`."""
    rgb = _GREY + (front_HW3 - _GREY) * alpha_HW[..., None]
    height, width = alpha_HW.shape
    pad = ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
    whole = np.pad(np.concatenate([rgb, alpha_HW[..., None]], axis=2), pad, mode="edge")
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1), np.float32))[None]


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: sums in another order would change the bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def _picture(values_1CHW: Tensor, shape: tuple[int, ...]) -> FloatArray:
    return np.ascontiguousarray(values_1CHW[0].permute(1, 2, 0).numpy()[: shape[0], : shape[1]])


def _at_work(front_HW3: FloatArray, alpha_HW: FloatArray, face_px: float) -> tuple[FloatArray, FloatArray]:
    """Both at the size at which the network looks."""
    height, width = alpha_HW.shape
    scale = min(1.0, WORK_FACE_PX / max(face_px, 1.0), WORK_PX / max(height, width))
    if scale >= 0.95:
        return front_HW3, alpha_HW
    size = max(STRIDE, round(width * scale)), max(STRIDE, round(height * scale))
    small: tuple[Any, Any] = (
        cv2.resize(colour.to_linear(front_HW3), size, interpolation=cv2.INTER_AREA),
        cv2.resize(alpha_HW, size, interpolation=cv2.INTER_AREA),
    )
    return colour.to_coded(small[0]), np.asarray(small[1], np.float32)


def radiance(linear: np.ndarray) -> np.ndarray:
    """Radiance that shows as this linear light, by `EXPOSURE`."""
    return -np.log(1 - np.clip(linear, 0, _MOST_LIGHT)) / EXPOSURE


def _enlarged(values_hw3: np.ndarray, like_HW3: FloatArray) -> FloatArray:
    size = like_HW3.shape[1], like_HW3.shape[0]
    return np.asarray(cv2.resize(values_hw3, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _structure(front_hw3: FloatArray, front_HW3: FloatArray) -> FloatArray:
    """(H, W, 3) what the picture has at its own size beyond the smaller one, as a ratio of radiances."""
    before = _enlarged(radiance(colour.to_linear(front_hw3)), front_HW3)
    ratio = (radiance(colour.to_linear(front_HW3)) + _DARK) / (before + _DARK)
    return np.asarray(np.clip(ratio, *_FINE), np.float32)


def _with_own_structure(lit_hw3: FloatArray, front_hw3: FloatArray, front_HW3: FloatArray) -> FloatArray:
    """The light enlarged, times the structure of the picture: light multiplies colours."""
    after = _enlarged(radiance(lit_hw3), front_HW3) * _structure(front_hw3, front_HW3)
    return np.asarray(1 - np.exp(-EXPOSURE * after), np.float32)


def backdrop_factor(name: str, flip: bool, *, place: bool, width: int) -> FloatArray:
    """(W, 3) factors that a rig puts on the coded colours of a backdrop: of paper, or of a place."""
    table = rigs.PLACE_TINTS if place else rigs.BACKDROP_TINTS
    tint = np.broadcast_to(np.asarray(table.get(name, (1.0, 1.0, 1.0)), np.float32), (width, 3))
    across = np.linspace(1, 0, width) if flip else np.linspace(0, 1, width)
    if name == "window light":
        return (tint * (1.02 - 0.22 * across)[:, None]).astype(np.float32)
    if name == "neon lighting":
        share = np.clip((across - 0.1) / 0.8, 0, 1)
        share = (share * share * (3 - 2 * share))[:, None]
        left, right = (np.asarray(side) for side in rigs.NEON_SIDES)
        return (tint * (left + (right - left) * share) * 0.86).astype(np.float32)
    return np.array(tint, np.float32)
