"""A finished picture as a stack of layers: the parts of the picture below, what each step changed above.

Parts (backdrop, body, face, hair) share no pixel, and a step's layer is opaque where the step changed
something and empty elsewhere.  So the stack, laid one over the other as every program does, is the picture to
the bit.  Layers are normal, in eight bits; a change of size or of coverage, which no layer can hold, starts
the stack anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.records import Face, Parts

RGBAImage = npt.NDArray[np.uint8]
"""(H, W, 4), straight alpha."""
PART: Final = "part"
STEP: Final = "step"
_PARTS: Final = ("backdrop", "body", "hair", "face")
_HAIR: Final = ("hair", "hat")
_BODY: Final = ("clothes", "thing")
MAX_LAYERS: Final = 64


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, as large as the picture; `kind` is PART, STEP, or empty for one that was added by hand."""

    name: str
    pixels: RGBAImage
    kind: str = ""
    visible: bool = True
    opacity: float = 1.0

    @property
    def digest(self) -> str:
        """Of what the layer shows; the colour of what is fully transparent does not count."""
        shown = np.where(self.pixels[..., 3:] > 0, self.pixels, 0)
        return manifest.digest([shown.shape[:2], shown.tobytes().hex(), self.visible, round(self.opacity, 4)])


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers from the lowest to the topmost."""

    size_px: tuple[int, int]
    layers: tuple[Layer, ...]

    def flat(self) -> RGBAImage:
        """All visible layers over each other (straight alpha, W3C Compositing, "source over")."""
        width, height = self.size_px
        out = np.zeros((height, width, 4), np.uint8)
        for layer in self.layers:
            if layer.visible and layer.opacity > 0:
                out = _over(layer.pixels, out, layer.opacity)
        return out

    def only(self, kind: str) -> Stack:
        """The layers of one kind."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer.kind == kind))


def _over(top: RGBAImage, below: RGBAImage, opacity: float) -> RGBAImage:
    """Fully opaque pixels replace and empty ones leave what is below to the bit."""
    alpha = top[..., 3].astype(np.float64) / 255 * opacity
    if not ((alpha > 0) & (alpha < 1)).any():
        return np.where((alpha == 1)[..., None], top, below)
    under = below[..., 3].astype(np.float64) / 255 * (1 - alpha)
    total = alpha + under
    rgb = (alpha[..., None] * top[..., :3] + under[..., None] * below[..., :3]) / np.maximum(total, 1e-9)[
        ..., None
    ]
    mixed = np.concatenate([rgb, 255 * total[..., None]], axis=-1)
    mixed = np.floor(mixed + 0.5).clip(0, 255).astype(np.uint8)
    mixed = np.where((alpha == 0)[..., None], below, mixed)
    return np.where((alpha == 1)[..., None], top, mixed)


def build(trail: Sequence[tuple[str, Canvas]], face: Face, parts: Parts | None) -> Stack:
    """The stack of a chain; `trail` begins with the source, then has every step's name and result.

    `face` and `parts` are those of the last canvas.
    """
    begin = base_of(trail)
    base, last = trail[begin][1], trail[-1][1]
    pixels = _rgba(base)
    layers = [
        Layer(name, np.where(mask[..., None], pixels, 0), PART)
        for name, mask in _split(base, face, parts)
        if mask.any()
    ]
    below = pixels
    for number, (name, canvas) in enumerate(trail[begin + 1 :], begin + 1):
        above = _rgba(canvas)
        changed = (above != below).any(axis=-1)
        layers.append(Layer(f"{number} {name}", np.where(changed[..., None], above, 0), STEP))
        below = above
    return Stack(last.size_px, tuple(layers))


def base_of(trail: Sequence[tuple[str, Canvas]]) -> int:
    """The place in the trail of the lowest picture of the stack: after the last change of size or coverage.

    Where the picture is partly transparent, no layer above can replace what is below: then there is none.
    """
    if trail[-1][1].alpha_HW is not None:
        return len(trail) - 1
    begin = len(trail) - 1
    while begin > 0:
        before = trail[begin - 1][1]
        if before.size_px != trail[-1][1].size_px or before.alpha_HW is not None:
            break
        begin -= 1
    return begin


def _rgba(canvas: Canvas) -> RGBAImage:
    return joined(to_bytes(canvas.rgb_HW3), None if canvas.alpha_HW is None else to_bytes(canvas.alpha_HW))


def joined(rgb: np.ndarray, alpha: np.ndarray | None) -> RGBAImage:
    """(H, W, 4) from eight-bit colours and coverage; without any, opaque."""
    solid = np.full(rgb.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.concatenate([rgb, solid[..., None]], axis=-1)


def _split(canvas: Canvas, face: Face, parts: Parts | None) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Disjoint masks that cover the picture.  Without a segmenter there are a face and the rest."""
    width, height = canvas.size_px
    x0, y0, x1, y1 = face.box_xyxy_px
    oval = np.zeros((height, width), np.uint8)
    centre = (round((x0 + x1) / 2), round((y0 + y1) / 2))
    axes = (round((x1 - x0) / 2), round((y1 - y0) / 2))
    cv2.ellipse(oval, centre, axes, 0, 0, 360, 1, -1)
    if parts is None:
        inside = oval > 0
        return [("picture", ~inside), ("face", inside)]
    hair, body = parts.where(*_HAIR), parts.where(*_BODY)
    skin = parts.where("skin", "eyes", "glasses")
    inside = skin & (oval > 0)
    body |= skin & ~inside
    rest = ~(hair | body | inside)
    return list(zip(_PARTS, (rest, body & ~hair, hair & ~inside, inside), strict=True))


def edited(stack: Stack, digests: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Names of the layers that were changed, added, moved or removed since their `digests` were written."""
    now = [(layer.name, layer.digest) for layer in stack.layers]
    before = dict(digests)
    changed = [name for name, digest in now if before.get(name) != digest]
    changed += [f"{name} (removed)" for name, _ in digests if name not in dict(now)]
    kept = [name for name, _ in now if name in before]
    if kept != [name for name, _ in digests if name in dict(now)]:
        changed.append("the order")
    return tuple(changed)


def digests_of(stack: Stack) -> list[list[str]]:
    """Name and digest of every layer, for a record."""
    return [[layer.name, layer.digest] for layer in stack.layers]


def refuse_many(count: int, where: object) -> None:
    """`InputError` for a file with more layers than a picture of ours has."""
    if not 0 < count <= MAX_LAYERS:
        raise InputError(
            "not a layered portrait", where=where, got=f"{count} layers", needed=f"1 to {MAX_LAYERS}"
        )
