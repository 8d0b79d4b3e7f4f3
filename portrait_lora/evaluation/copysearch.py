"""Search for the photo that a portrait may be a copy of, in stages of rising cost.

1. Screening: small fields of every photo, also mirrored and slightly shifted, against all portraits at once.
2. Alignment: the photo is aligned to the portrait to maximise the correlation of the fields (ECC, Evangelidis
   & Psarakis 2008).  It uses half the pixels, so only portraits well below the limit are cleared.
3. Features: the remaining ones must also match in local features.  Two pictures of one head can be aligned
   with each other; hair, folds and backdrop of different pictures cannot.
Most portraits are cleared in the first stage, and nearly all in the second.
Legend: P portraits, V views (each photo, then each mirrored), M movements, T side of a small field.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from portrait_lora.evaluation.copyfeatures import Features, features, movement
from portrait_lora.evaluation.copyview import (
    FIELD_PX,
    SMALL_PX,
    Floats,
    Movement,
    View,
    mirrored,
    overlaid,
    smaller,
)

FLAT: Final = 1e-2
"""Norm below which a field is only rounding noise; that of a head is about 8."""
SCREEN_LIMIT: Final = 0.74
"""No alignment below this: copies of studio people reach 0.82 and more (`scripts.evaluate.protocol`)."""
LAID_LIMIT: Final = 0.80
"""Alignment is less exact than features, so from here on features are matched, whatever the limit."""
SCALES: Final = (0.86, 1.0, 1.16)
SHIFTS_PX: Final = (-6, -3, 0, 3, 6)
TURNS_DEG: Final = (-8.0, 0.0, 8.0)
CANDIDATES: Final = 2
LAYING_PX: Final = FIELD_PX // 2
_LAYING_STOP: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 1e-3)
_ALL: Final = np.full((LAYING_PX, LAYING_PX), 255, np.uint8)
_CHUNK: Final = 256

Match = tuple[int, float]


class ViewIndex:
    """The views to search, each also mirrored."""

    def __init__(self, views: Sequence[View]):
        self.count = len(views)
        self._views = [*views, *(mirrored(v) for v in views)]
        self._moves = _movements()
        self._features: dict[int, Features] = {}
        moved = [field for v in self._views for field in smaller(v.field, v.mask, self._moves)]
        self._screen = unit_rows(moved) if moved else np.zeros((0, SMALL_PX**2), np.float32)

    def best(
        self,
        probes: Sequence[View],
        *,
        above: float,
        first: int | None = None,
        without_itself: bool = False,
    ) -> list[Match]:
        """Per probe (index of the most similar view, correlation 0..1); (-1, 0.0) when nothing agrees.

        A value above `above`, the limit for copies, is from stage 3; others are from the stage that cleared
        the probe.  With `without_itself` the probes are the index's own views, and none matches itself.
        Only the `first` views are searched; by default all.
        """
        searched = self.count if first is None else first
        if not searched or not probes:
            return [(-1, 0.0)] * len(probes)
        out: list[Match] = []
        for start in range(0, len(probes), _CHUNK):
            some = probes[start : start + _CHUNK]
            table = screen_fields(some) @ self._screen.T
            scores = table.reshape(len(some), len(self._views), len(self._moves))  # (P, V, M)
            scores[:, [n for n in range(len(self._views)) if n % self.count >= searched]] = -1.0
            for i, probe in enumerate(some):
                own = start + i if without_itself else None
                if own is not None:
                    scores[i, [own, own + self.count]] = -1.0
                out.append(self._settled(probe, scores[i], above, own))
        return out

    def _settled(self, probe: View, scores: Floats, above: float, own: int | None) -> Match:
        """Search with the (V, M) screening scores of one probe, which is view `own` if it is a view."""
        by_view = scores.max(axis=1)
        first = int(by_view.argmax())
        screened = float(by_view[first])
        if screened <= 0.0:
            return -1, 0.0
        least = min(SCREEN_LIMIT, above)
        if screened < least:
            return first % self.count, screened
        half, laid = _half(probe), list[Match]()
        for n in (int(i) for i in np.argsort(-by_view, kind="stable")[:CANDIDATES] if by_view[i] >= least):
            place = _laid_over(half, _half(self._views[n]), self._moves[int(scores[n].argmax())])
            laid.append((n, overlaid(probe, self._views[n], place)))
        maybe = [n for n, value in laid if value > min(above, LAID_LIMIT)]
        if not maybe:
            n, value = max(laid, key=_correlation)
            return n % self.count, value
        seen = features(probe) if own is None else self._features_of(own)
        n, value = max(((n, self._agreeing(probe, seen, n)) for n in maybe), key=_correlation)
        return (n % self.count, value) if value > 0 else (-1, 0.0)

    def _agreeing(self, probe: View, seen: Features, n: int) -> float:
        affine = movement(seen, self._features_of(n))
        return 0.0 if affine is None else overlaid(probe, self._views[n], affine)

    def _features_of(self, n: int) -> Features:
        if n not in self._features:
            self._features[n] = features(self._views[n])
        return self._features[n]


def _correlation(match: Match) -> float:
    return match[1]


def screen_fields(views: Sequence[View]) -> Floats:
    """(P, T * T) small fields with zero mean and unit norm: a product of two is a rough correlation."""
    return unit_rows([v.small for v in views])


def unit_rows(fields: Sequence[Floats]) -> Floats:
    """The fields as rows with zero mean and unit norm."""
    rows = np.stack([f.ravel() for f in fields])
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), FLAT)
    return rows


def _movements() -> list[Movement]:
    """Small shifts by which a detector may misplace the head, from the probe's field to the photo's."""
    centre = ((FIELD_PX - 1) / 2, (FIELD_PX - 1) / 2)
    out: list[Movement] = []
    for scale, turn, dx, dy in itertools.product(SCALES, TURNS_DEG, SHIFTS_PX, SHIFTS_PX):
        move = np.asarray(cv2.getRotationMatrix2D(centre, turn, scale), dtype=np.float64)
        move[:, 2] += (dx, dy)
        out.append(move)
    return out


def _half(seen: View) -> Floats:
    small = cv2.resize(seen.field * seen.mask, (LAYING_PX, LAYING_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _laid_over(probe: Floats, source: Floats, start: Movement) -> Movement:
    """The shearless transform near `start` that best aligns two half-size fields; else `start`."""
    warp = start.astype(np.float32)
    warp[:, 2] *= LAYING_PX / FIELD_PX
    try:
        _, refined = cv2.findTransformECC(probe, source, warp, cv2.MOTION_AFFINE, _LAYING_STOP, _ALL, 1)
    except cv2.error:  # it says so when it does not converge
        return start
    (a, b, _), (c, d, _) = np.asarray(refined, dtype=np.float64)
    cos, sin = (a + d) / 2, (c - b) / 2
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, LAYING_PX / 2)
    shift = refined[:, :2] @ middle + refined[:, 2] - turn @ middle
    moved: Movement = np.hstack([turn, shift[:, None] * (FIELD_PX / LAYING_PX)]).astype(np.float64)
    return moved
