"""Things in front of faces, painted on the landmark crop while networks learn.

Truth is the share of the face, the hull of the 68 landmarks, that they hide.  Glasses, beards and hair are
of the face; dark lenses, black shadows, burnt skin and the border of the picture hide it in other ways, with
codes of their own, so they are painted too, with a share of 0.  Crops are (B, 3, S, S) in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
Shape = Callable[[Floats, float, np.random.Generator, Floats], None]
"""(points (68, 2), size of the face in px, random numbers, coverage (S, S) to draw into)."""

IN_FRONT: Final = 0.6
"""Share of the batch that something is painted on or beside."""
LENSES: Final = 0.08
OTHER_LIGHT: Final = 0.15
CUT: Final = 0.08
TRUSTED_SHARE: Final = 0.1
"""Up to this share covered, a face still shows its expression and what it wears."""
_SUPERSAMPLE: Final = 3
_FINE: Final = 4  # bits of fraction that cv2 draws with


@dataclass(frozen=True, slots=True)
class Painted:
    """`covered` (B,) is the share of each face that is hidden; `plain` (B,) bool where words can be read;
    `cut` (B, 1, S, S) is 0 beyond the border of the picture and 1 elsewhere; `things` and `lenses` (B, S, S)
    are where something was painted."""

    crop: Tensor
    covered: Tensor
    plain: Tensor
    cut: Tensor
    things: Tensor
    lenses: Tensor


def paint(crop: Tensor, landmarks: Tensor, generator: torch.Generator) -> Painted:
    """Put things before half of the faces, and light, lenses and borders that are no such things."""
    rng = np.random.default_rng(int(torch.randint(0, 2**31, (), generator=generator)))
    images = crop.permute(0, 2, 3, 1).contiguous().numpy().copy()
    points = landmarks.numpy().astype(np.float32)
    side, count = images.shape[1], len(images)
    covered, plain = np.zeros(count, np.float32), np.ones(count, bool)
    cut = np.ones((count, 1, side, side), np.float32)
    things, lenses = np.zeros((2, count, side, side), np.float32)
    for i in range(count):
        if rng.random() < LENSES:
            lenses[i] = _lenses(images[i], points[i], rng)
            plain[i] = False
        if rng.random() < IN_FRONT:
            alpha = _thing(points[i], side, rng)
            stuff = _texture(images, i, points[i], rng)
            images[i] = _over(images[i], stuff, alpha, rng)
            things[i] = alpha
            face = hull(points[i], side)
            covered[i] = float((alpha * face).sum() / max(float(face.sum()), 1.0))
            plain[i] &= covered[i] <= TRUSTED_SHARE
        if rng.random() < OTHER_LIGHT:
            images[i] = _light(images[i], points[i], rng)
            plain[i] = False
        if rng.random() < CUT:
            _cut(cut[i, 0], points[i], rng)
            plain[i] = False
    painted = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    truths = (torch.from_numpy(a) for a in (covered, plain, cut, things, lenses))
    return Painted(painted, *truths)


def hull(points: Floats, side: int) -> Floats:
    """1 inside the hull of the landmarks, (S, S)."""
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(_fixed(points)), 1.0, shift=_FINE)
    return mask


def _fixed(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    return np.rint(np.asarray(points) * (1 << _FINE)).astype(np.int32)


def _thing(points: Floats, side: int, rng: np.random.Generator) -> Floats:
    """Coverage of one thing: on the face, or (one in six) near it."""
    fine = points * _SUPERSAMPLE
    size = float(np.ptp(points, axis=0).max())
    large = np.zeros((side * _SUPERSAMPLE, side * _SUPERSAMPLE), np.float32)
    SHAPES[int(rng.integers(len(SHAPES)))](fine, size * _SUPERSAMPLE, rng, large)
    alpha = np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    if rng.random() < 0.17:  # pushed aside until it touches the face at most
        angle = rng.uniform(0, 2 * np.pi)
        far = size * rng.uniform(0.5, 1.1)
        move = np.array([[1, 0, far * np.cos(angle)], [0, 1, far * np.sin(angle)]], np.float32)
        alpha = np.asarray(cv2.warpAffine(alpha, move, (side, side)), np.float32)
    soft = float(rng.uniform(0, 0.9))
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), soft) if soft > 0.3 else alpha, np.float32)


def _spot(points: Floats, rng: np.random.Generator) -> Floats:
    """Somewhere on the face."""
    a, b = points[rng.integers(68)], points[rng.integers(68)]
    return a + (b - a) * float(rng.random())


def _polygon(alpha: Floats, points: npt.NDArray[np.floating]) -> None:
    cv2.fillPoly(alpha, [_fixed(points)], (1.0,), lineType=cv2.LINE_8, shift=_FINE)


def _ellipse(
    alpha: Floats, centre: npt.NDArray[np.floating], axes: tuple[float, float], angle_deg: float
) -> None:
    turn = np.radians(angle_deg)
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = axes[0] * np.cos(t), axes[1] * np.sin(t)
    c, s = np.cos(turn), np.sin(turn)
    _polygon(alpha, np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], 1))


def _ball(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    axes = (size * float(rng.uniform(0.08, 0.45)), size * float(rng.uniform(0.08, 0.45)))
    _ellipse(alpha, _spot(points, rng), axes, float(rng.uniform(0, 180)))


def _board(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """A phone, a book, a card."""
    half = size * rng.uniform(0.08, 0.5, 2)
    turn = float(rng.normal(0, 0.5)) if rng.random() < 0.6 else float(rng.uniform(0, np.pi))
    c, s = np.cos(turn), np.sin(turn)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    _polygon(alpha, _spot(points, rng) + corners @ np.array([[c, s], [-s, c]]))


def _rag(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """Any outline around a spot."""
    n = int(rng.integers(4, 10))
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    reach = size * rng.uniform(0.08, 0.5) * rng.uniform(0.5, 1.3, n)
    _polygon(alpha, _spot(points, rng) + np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None])


def _band(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """An arm, a strap, a pole: right across."""
    turn = rng.uniform(0, np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]]) * size * rng.uniform(0.04, 0.25)
    spot = _spot(points, rng)
    ends = spot - along * 3 * size, spot + along * 3 * size
    bend = across * rng.uniform(0.7, 1.4)
    _polygon(alpha, np.stack([ends[0] - across, ends[1] - bend, ends[1] + bend, ends[0] + across]))


def _edge(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """Everything on one side of a line through a spot: a door, a shoulder, a curtain."""
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)]) * 4 * size
    out = np.array([-along[1], along[0]])
    spot = _spot(points, rng)
    _polygon(alpha, np.stack([spot - along, spot + along, spot + along + out, spot - along + out]))


def _mask(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """Over the jaw up to the nose."""
    first = int(rng.integers(1, 6))
    top = points[int(rng.integers(28, 34))]
    outline = np.concatenate([points[first : 17 - first], top[None]])
    _polygon(alpha, outline + rng.normal(0, 0.015 * size, outline.shape))


def _scarf(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """Wound around the chin, its upper edge wavy."""
    up = points[27] - points[8]
    across = np.array([-up[1], up[0]]) * 1.6
    base = points[8] + up * rng.uniform(0.05, 0.8)
    t = np.linspace(-1, 1, 9)
    wave = up * rng.uniform(0, 0.08) * np.sin(t[:, None] * rng.uniform(2, 7) + rng.uniform(0, 6))
    upper = base + across * t[:, None] + wave + up * rng.normal(0, 0.08) * t[:, None]
    _polygon(alpha, np.concatenate([upper, upper[::-1] - up * rng.uniform(0.5, 1.6)]))


def _hand(points: Floats, size: float, rng: np.random.Generator, alpha: Floats) -> None:
    """A palm with fingers, from any side, mostly from below."""
    turn = rng.normal(-np.pi / 2, 0.9)
    spot, palm = _spot(points, rng), size * rng.uniform(0.12, 0.28)
    towards = np.array([np.cos(turn), np.sin(turn)])
    centre = spot - towards * palm * rng.uniform(0.2, 1.6)
    _ellipse(alpha, centre, (palm * 1.15, palm * 0.9), float(np.degrees(turn)))
    spread = rng.uniform(0.1, 0.35)
    for k in range(int(rng.integers(2, 6))):
        way = turn + (k - 1.6) * spread + rng.normal(0, 0.05)
        step = np.array([np.cos(way), np.sin(way)])
        start = centre + step * palm * 0.7 + np.array([-towards[1], towards[0]]) * palm * 0.42 * (k - 1.6)
        tip = start + step * palm * rng.uniform(0.7, 1.7)
        thick = max(1, round(palm * rng.uniform(0.32, 0.5)))
        cv2.line(alpha, _fixed(start).tolist(), _fixed(tip).tolist(), (1.0,), thick, cv2.LINE_8, _FINE)
    arm = centre - towards * 4 * size
    cv2.line(
        alpha, _fixed(centre).tolist(), _fixed(arm).tolist(), (1.0,), max(1, round(1.3 * palm)), 8, _FINE
    )


SHAPES: Final[tuple[Shape, ...]] = (
    *(_ball, _ball, _board, _board, _board, _rag, _rag, _band, _edge, _mask, _scarf, _hand, _hand, _hand),
)


def _texture(images: Floats, row: int, points: Floats, rng: np.random.Generator) -> Floats:
    """(S, S, 3): skin (the face's own or another's), any colour, or a piece of another picture."""
    side = images.shape[1]
    choice = rng.random()
    if choice < 0.22:
        other = images[int(rng.integers(len(images)))]
        piece = np.roll(other, rng.integers(0, side, 2).tolist(), (0, 1))
        zoom = float(rng.uniform(1, 3))
        return np.asarray(cv2.resize(piece, None, fx=zoom, fy=zoom)[:side, :side], np.float32)
    whose = row if choice < 0.45 else int(rng.integers(len(images)))
    if choice < 0.58:
        x, y = np.clip(points[[1, 15, 30, 33, 2, 14]], 0, side - 1).astype(int).T
        colour = np.median(images[whose][y, x], axis=0) * rng.uniform(0.7, 1.2)
    else:
        grey = rng.uniform(0, 255)
        colour = grey + (rng.uniform(0, 255, 3) - grey) * rng.choice([0.0, 0.15, 1.0])
    down, right = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    turn, ramp = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.7)
    shade = 1 + ramp * (np.cos(turn) * right + np.sin(turn) * down)
    if rng.random() < 0.35:
        beat = rng.uniform(10, 220)
        wave = np.sin(beat * (np.cos(turn) * down - np.sin(turn) * right))
        shade = shade * (1 + rng.uniform(0.05, 0.5) * (wave if rng.random() < 0.5 else np.sign(wave)))
    coarse = rng.normal(0, rng.uniform(0, 0.12), (6, 6)).astype(np.float32)
    shade = shade + cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, rng.uniform(0, 6), (side, side, 1))
    return np.clip(colour * shade[..., None] + noise, 4, 255).astype(np.float32)


def _over(image: Floats, stuff: Floats, alpha: Floats, rng: np.random.Generator) -> Floats:
    """The thing before the picture, half of the time with its shadow on it."""
    if rng.random() < 0.5:
        move = np.array([[1, 0, rng.uniform(-2, 2)], [0, 1, rng.uniform(0, 3)]], np.float32)
        shadow = cv2.GaussianBlur(
            cv2.warpAffine(alpha, move, alpha.shape[::-1]), (0, 0), rng.uniform(0.6, 2.5)
        )
        image = np.asarray(image * (1 - rng.uniform(0.1, 0.6) * shadow[..., None]), np.float32)
    return np.asarray(image * (1 - alpha[..., None]) + stuff * alpha[..., None], np.float32)


def _lenses(image: Floats, points: Floats, rng: np.random.Generator) -> Floats:
    """Dark glasses, in place; where they are."""
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    apart = float(np.hypot(*(eyes[1] - eyes[0])))
    angle = float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    tall = apart * float(rng.uniform(0.2, 0.36)) + 1
    side, k = len(image), _SUPERSAMPLE
    mask = np.zeros((side * k, side * k), np.float32)
    for eye in eyes:
        _ellipse(mask, eye * k, (k * apart * float(rng.uniform(0.34, 0.46)), k * tall), angle)
    ends = [_fixed(e * k).tolist() for e in eyes]
    cv2.line(mask, ends[0], ends[1], (1.0,), max(1, round(0.06 * apart * k)), cv2.LINE_8, _FINE)
    mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    opaque = float(rng.uniform(0.1, 1.0)) * mask[..., None]
    image[:] = image * (1 - opaque) + rng.uniform(5, 60) * opaque
    return np.asarray(mask, np.float32)


def _light(image: Floats, points: Floats, rng: np.random.Generator) -> Floats:
    """Too dark, too bright, or one side in the dark."""
    linear = (np.clip(image, 0, 255) / 255) ** 2.2
    if rng.random() < 0.5:
        linear = linear * 2.0 ** rng.uniform(-5, 3)
    else:
        x0, x1 = points[:, 0].min(), points[:, 0].max()
        across = (np.arange(image.shape[1]) - rng.normal((x0 + x1) / 2, 0.1 * (x1 - x0))) / (0.06 * (x1 - x0))
        across = across * rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2)
        linear = (
            linear * (2.0 ** (-rng.uniform(1, 10) / (1 + np.exp(-np.clip(across, -50, 50)))))[None, :, None]
        )
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.float32)


def _cut(cut: Floats, points: Floats, rng: np.random.Generator) -> None:
    """The picture ends within the face or beside it, in place."""
    side, way = len(cut), int(rng.integers(4))
    axis = way % 2
    low, high = float(points[:, axis].min()), float(points[:, axis].max())
    share = rng.uniform(-0.2, 0.32)
    at = int(np.clip(high - share * (high - low) if way < 2 else low + share * (high - low), 0, side))
    beyond = slice(at, None) if way < 2 else slice(0, at)
    cut[(slice(None), beyond) if axis == 0 else (beyond, slice(None))] = 0.0
