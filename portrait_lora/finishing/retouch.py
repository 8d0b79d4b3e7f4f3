"""Layers of retouching on OKLab (H, W, 3): each returns what it adds, zero where it has nothing to do.

Skin is worked on by frequency separation.  Pores, hair and lines (finer than `_FINE` eye distances) and the
form of the face (coarser than `_FORM`) stay; only blotches in between are evened out.  Nothing is drawn that
was not there: catchlights are lifted where they are, and spots are filled from their surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora.finishing.retouch_regions import Regions
from portrait_lora.records import FloatArray

_FINE: Final = 0.06
_FORM: Final = 0.22
_BLOTCH: Final = (0.05, 0.025, 0.025)
"""Deviations in (L, a, b) that count as blotches; larger ones are features, shadows or marks."""
_EVEN: Final = (0.4, 0.7, 0.7)
"""Share of a blotch that full strength takes away."""
_TEXTURE: Final = 0.055
"""Scale of the fine band, in eye distances; that of the checklist's measure of plastic skin."""
_MOST_BACK: Final = 0.15
_SPOT: Final = 0.045
"""Scale at which spots are looked for, in eye distances: about 3 mm of radius on a face."""
_AROUND: Final = 2.2
"""Surroundings over the scale of a spot: near enough that a shadow's edge beside it is not part of it."""
_LARGEST: Final = 0.17
"""Diameter of the largest spot, in eye distances: 10 mm."""
_RED: Final = 0.012
_DARK: Final = 0.035
"""Least contrast of a spot in a and in L to its surroundings; the studio's bare cheeks stay below both."""
_BROWN: Final = 2.2
"""A spot is a mole or freckle where it is darker by more than this many times its redness."""
_LIT_EDGE: Final = 0.10
"""Contrast of lightness beside a red place from which it belongs to the light, not to the skin."""
_DIRECTIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Spot:
    """A small dark or red place: its pixels, and whether it is a mark of the person (mole, freckle)."""

    mask: np.ndarray
    box: tuple[slice, slice]
    radius_px: float
    mark: bool


def spots(lab: np.ndarray, where: Regions) -> list[Spot]:
    """Spots on the skin: red ones, then dark ones that are not among them, each from the top down."""
    inside = where.skin > 0.3
    ground = _smooth(lab, inside, _AROUND * _SPOT * where.unit_px)
    off = _smooth(lab, inside, 0.35 * _SPOT * where.unit_px) - ground
    red, dark = off[..., 1], -off[..., 0]
    taken = np.zeros(inside.shape, bool)
    out: list[Spot] = []
    for spotted in (inside & (red > _RED), inside & (dark > _DARK)):
        for box, own in _small(spotted, where.unit_px):
            if (taken[box] & own).any():
                continue
            redness, darkness = float(red[box][own].mean()), float(dark[box][own].mean())
            mark = darkness > _BROWN * max(redness, 0.0)
            radius = float(np.sqrt(own.sum() / np.pi))
            near = off[..., 0][_wider(box, max(1, round(radius)), lab.shape)]
            if not mark and float(np.abs(near).max()) > _LIT_EDGE:
                continue  # the warm rim of shine or of a shadow
            taken[box] |= own
            out.append(Spot(own, box, radius, mark))
    return out


def _small(mask: np.ndarray, unit: float) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Round components of a spot's size, with their boxes; no lines and hair."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    out: list[tuple[tuple[slice, slice], np.ndarray]] = []
    for i in range(1, count):
        x, y, width, height, area = (int(v) for v in stats[i])
        longer, shorter = max(width, height), min(width, height)
        small = longer <= _LARGEST * unit and area >= max(3.0, np.pi * (0.4 * _SPOT * unit) ** 2)
        if small and area >= 0.45 * width * height and longer <= 2.2 * shorter:
            box = slice(y, y + height), slice(x, x + width)
            out.append((box, labels[box] == i))
    return out


def without_spots(lab: np.ndarray, where: Regions, *, blemishes: float, marks: float) -> FloatArray:
    """Fills spots: their low band from the skin around them, their high band from a place beside them."""
    change = np.zeros_like(lab)
    weighed = [(one, marks if one.mark else blemishes) for one in spots(lab, where)]
    chosen = [(one, strength) for one, strength in weighed if strength > 0]
    if not chosen:
        return change
    covered = np.zeros(lab.shape[:2], bool)  # and so no source of what is filled in
    for one, strength in weighed:
        if strength == 0:
            covered[_wider(one.box, max(1, round(one.radius_px)), lab.shape)] = True
    weight = np.zeros(lab.shape[:2], np.float32)
    for one, strength in chosen:
        margin = max(1, round(0.6 * one.radius_px))
        rows, columns = _wider(one.box, 2 * margin, lab.shape)
        own = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        y, x = one.box[0].start - rows.start, one.box[1].start - columns.start
        own[y : y + one.mask.shape[0], x : x + one.mask.shape[1]] = one.mask
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        grown = np.asarray(cv2.dilate(own, kernel))
        covered[rows, columns] |= grown > 0
        soft = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), max(0.5, 0.4 * margin))
        weight[rows, columns] = np.maximum(weight[rows, columns], np.float32(strength) * np.asarray(soft))
    inside = (where.skin > 0) & ~covered
    low = _smooth(lab, inside, 1.5 * _SPOT * where.unit_px)
    high = lab - low
    texture = np.zeros_like(lab)
    for one, _ in chosen:
        margin = max(1, round(0.6 * one.radius_px))
        box = _wider(one.box, 3 * margin, lab.shape)
        source = _beside(box, one.radius_px, inside, low)
        texture[box] = 0 if source is None else high[source]
    change = (low + texture - lab) * (weight * where.skin)[..., None]
    return change.astype(np.float32)


def _beside(
    box: tuple[slice, slice], radius: float, inside: np.ndarray, low: np.ndarray
) -> tuple[slice, slice] | None:
    """A place of the same size nearby that is all skin and most alike in tone; None if there is none."""
    height, width = inside.shape
    best: tuple[slice, slice] | None = None
    least = np.inf
    here = low[box].mean(axis=(0, 1))
    for distance in (3.5, 5.0, 7.0):
        for k in range(_DIRECTIONS):
            angle = 2 * np.pi * k / _DIRECTIONS
            dy, dx = round(distance * radius * np.sin(angle)), round(distance * radius * np.cos(angle))
            y, x = box[0].start + dy, box[1].start + dx
            rows, columns = slice(y, box[0].stop + dy), slice(x, box[1].stop + dx)
            if y < 0 or x < 0 or rows.stop > height or columns.stop > width:
                continue
            if not inside[rows, columns].all():
                continue
            off = float(np.linalg.norm(low[rows, columns].mean(axis=(0, 1)) - here))
            if off < least:
                best, least = (rows, columns), off
        if least < np.inf:
            break
    return best


def evened(lab: np.ndarray, where: Regions, strength: float) -> FloatArray:
    """Takes blotches away; texture finer than them and the form of the face stay.

    The rims of blotches are part of the fine band: what it loses with them is given back as contrast of the
    texture that is there, so that skin does not look smoother.
    """
    inside = where.skin > 0
    fine = _smooth(lab, inside, _FINE * where.unit_px)
    middle = fine - _smooth(lab, inside, _FORM * where.unit_px)
    limits, shares = np.asarray(_BLOTCH, np.float32), np.asarray(_EVEN, np.float32)
    taken = middle * np.exp(-((middle / limits) ** 2)) * shares * np.float32(strength)
    change = (-taken * where.skin[..., None]).astype(np.float32)
    light = lab[..., :1]
    texture = light - _smooth(light, inside, _TEXTURE * where.unit_px)
    after = light + change[..., :1]
    left = after - _smooth(after, inside, _TEXTURE * where.unit_px)
    cheeks = where.cheeks > 0.5 if (where.cheeks > 0.5).any() else inside
    lost = float(texture[cheeks].std()) / max(float(left[cheeks].std()), 1e-6) - 1
    change[..., :1] += left * (np.float32(np.clip(lost, 0, _MOST_BACK)) * where.skin[..., None])
    return change


def under_eyes(lab: np.ndarray, where: Regions, strength: float) -> FloatArray:
    """Lifts the low band below the eyes half-way to the cheeks' tone; never darkens."""
    cheeks = where.cheeks > 0.5
    if not cheeks.any() or not (where.under_eyes > 0).any():
        return np.zeros_like(lab)
    tone = np.median(lab[cheeks], axis=0)
    low = _smooth(lab, (where.under_eyes > 0) | (where.skin > 0), 0.12 * where.unit_px)
    off = tone - low
    lift = np.stack([np.clip(off[..., 0], 0, 0.10), *(np.clip(off[..., c], -0.02, 0.02) for c in (1, 2))], -1)
    lift *= (off[..., :1] > 0) * np.float32(0.5 * strength)
    return (lift * where.under_eyes[..., None]).astype(np.float32)


def teeth(lab: np.ndarray, where: Regions, strength: float) -> FloatArray:
    """Takes yellow out of teeth and lifts them a little; tongue, lips and the dark of the mouth stay."""
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    likely = _step(lab[..., 0], 0.50, 0.62) * (1 - _step(lab[..., 1], 0.03, 0.05))
    likely *= (1 - _step(chroma, 0.09, 0.12)) * where.teeth
    change = np.zeros_like(lab)
    change[..., 2] = -0.6 * np.maximum(lab[..., 2] - 0.012, 0)
    change[..., 0] = np.minimum(0.04, np.maximum(0.93 - lab[..., 0], 0) * 0.3)
    return (change * (likely * np.float32(strength))[..., None]).astype(np.float32)


def eyes(lab: np.ndarray, where: Regions, strength: float) -> FloatArray:
    """Local contrast of iris and lids, and highlights that are there a little brighter."""
    light = np.ascontiguousarray(lab[..., 0])
    detail = light - cv2.GaussianBlur(light, (0, 0), max(0.6, 0.04 * where.unit_px))
    around = cv2.GaussianBlur(light, (0, 0), max(1.0, 0.10 * where.unit_px))
    catchlight = _step(light, 0.62, 0.80) * _step(light - around, 0.08, 0.20)
    change = np.zeros_like(lab)
    change[..., 0] = np.clip(0.7 * detail, -0.06, 0.06)
    lift = np.minimum(0.08, np.maximum(0.98 - light, 0) * 0.5)
    change[..., 0] = np.where(catchlight > 0, np.maximum(change[..., 0], lift * catchlight), change[..., 0])
    return (change * (where.eyes * np.float32(strength))[..., None]).astype(np.float32)


def _smooth(values: np.ndarray, inside: np.ndarray, sigma: float) -> FloatArray:
    """Gaussian mean over the pixels inside only (normalised convolution); elsewhere from the nearest ones."""
    sigma = max(sigma, 0.5)
    weight = inside.astype(np.float32)
    total = cv2.GaussianBlur(np.ascontiguousarray(values * weight[..., None], np.float32), (0, 0), sigma)
    share = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma))[..., None]
    mean = np.asarray(total).reshape(values.shape) / np.maximum(share, 1e-4)
    return np.where(share > 1e-4, mean, values).astype(np.float32)


def _step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _wider(box: tuple[slice, slice], by: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = box
    return (
        slice(max(0, rows.start - by), min(shape[0], rows.stop + by)),
        slice(max(0, columns.start - by), min(shape[1], columns.stop + by)),
    )
