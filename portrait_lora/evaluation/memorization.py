"""Memorization: does the adapter copy training photos?

A good likeness has a high ArcFace similarity to every photo, so ArcFace cannot tell likeness from
copying.  Copying shows in the pixels: same light, same pose, same strands of hair; see `copysearch`.
Legend: P portraits, M training photos, D embedding width, F side of a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import linear_sum_assignment

from portrait_lora.errors import InputError
from portrait_lora.evaluation.copysearch import ViewIndex, screen_fields, unit_rows
from portrait_lora.evaluation.copyview import FIELD_PX, Floats, View
from portrait_lora.evaluation.similarity import ReferenceSet

PERCENTILE: Final = 0.99
MIN_REAL_PHOTOS: Final = 3
SAME_PICTURE: Final = 0.97
MAYBE_SAME: Final = 0.85  # of the small fields, below which two pictures are not looked at closely
LIMITS: Final = (0.87, 0.89)
"""The person's own limit is clipped to these.  Pictures that happen to show the person as in a photo
(view, light, backdrop) reach the first in 1 of 100 cases; above the second, copies blended with a fifth of
another picture begin, and any other copy reaches 0.97 (`scripts.evaluate.protocol --part copies`)."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """`matches` holds, per portrait, the most similar training photo (or -1) and its correlation.

    Values up to `threshold` are approximate: only likely copies are examined closely.
    """

    copy_score: float
    threshold: float
    matches: tuple[tuple[int, float], ...]
    real_photos: int

    @property
    def copied(self) -> tuple[bool, ...]:
        return tuple(value > self.threshold for _, value in self.matches)


def copy_report(portraits: Sequence[View], training: Sequence[View], holdout: Sequence[View]) -> CopyReport:
    """Fraction of portraits that match a training photo more than real photos of a person match each other.

    `portraits` are the views of the portraits with a detected face.  The threshold comes from the
    person's real photos, training and held out; see `match_threshold`.
    """
    if not training:
        raise InputError("there is no training photo to compare with")
    real = [*training, *holdout]
    index = ViewIndex(real)
    threshold = match_threshold([v for _, v in index.best(real, above=0.0, without_itself=True)])
    matches = tuple(index.best(portraits, above=threshold, first=len(training)))
    share = float(np.mean([value > threshold for _, value in matches])) if matches else 0.0
    return CopyReport(share, threshold, matches, len(real))


def match_threshold(best_among_real: Sequence[float]) -> float:
    """The value that a real photo's best match among the others exceeds in 1 % of cases, within `LIMITS`.

    The 99 % prediction limit for one more such value (Student's t on Fisher's z).  A percentile of all pairs
    is not enough: a portrait is compared with every training photo, so the maximum matters.
    """
    n = len(best_among_real)
    if n < MIN_REAL_PHOTOS:
        raise InputError("too few real photos with a face", got=n, needed=MIN_REAL_PHOTOS)
    z = np.arctanh(np.clip(np.asarray(best_among_real, dtype=np.float64), 0.0, 0.999))
    limit = np.tanh(z.mean() + stats.t.ppf(PERCENTILE, n - 1) * z.std(ddof=1) * np.sqrt(1.0 + 1.0 / n))
    return float(np.clip(limit, *LIMITS))


def duplicates(views: Sequence[View]) -> tuple[tuple[int, int], ...]:
    """(later, earlier) for every picture that is a near-exact duplicate of an earlier one."""
    if len(views) < 2:
        return ()
    small = screen_fields(views)
    pairs: list[tuple[int, int]] = []
    for i in range(1, len(views)):
        earlier = np.flatnonzero(small[:i] @ small[i] > MAYBE_SAME)
        if len(earlier):
            unit = _unit_fields([views[i], *(views[int(j)] for j in earlier)])
            alike = unit[1:] @ unit[0]
            if alike.max() > SAME_PICTURE:
                pairs.append((i, int(earlier[alike.argmax()])))
    return tuple(pairs)


def diversity(views: Sequence[View]) -> float | None:
    """1 minus the mean correlation of all pairs of head squares: 0 for identical pictures.

    Aligned by their faces only, so a set that repeats pose, light and framing scores low.
    None with fewer than two.
    """
    n = len(views)
    if n < 2:
        return None
    total = np.zeros(FIELD_PX * FIELD_PX)
    own = 0.0
    for seen in views:
        unit = _unit_fields([seen])[0]
        total += unit
        own += float(unit @ unit)
    all_pairs = float(total @ total)  # each with itself included
    return 1.0 - (all_pairs - own) / (n * (n - 1))


def _unit_fields(views: Sequence[View]) -> Floats:
    """(P, F * F) with zero mean and unit norm."""
    return unit_rows([v.field * v.mask for v in views])


def similarity_gap(
    portraits: npt.NDArray[np.float32], training: ReferenceSet, holdout: ReferenceSet
) -> float:
    """Mean best similarity of (P, D) portraits to training photos, minus that to held-out photos.

    A maximum grows with the number of candidates, so as many training photos as held-out ones are taken:
    the assignment with the smallest total difference in yaw.  Near 0: the person was learned.  Clearly
    positive: the portraits reproduce the photos they were trained on.
    """
    if not len(portraits) or not len(training) or not len(holdout):
        raise InputError("a gap needs portraits, training and held-out photos")
    cost = np.abs(_yaws(holdout)[:, None] - _yaws(training)[None, :])
    kept, chosen = linear_sum_assignment(cost)
    rows = np.asarray(portraits, dtype=np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    to_training = (rows @ training.embeddings[chosen].T).max(axis=1)
    to_holdout = (rows @ holdout.embeddings[kept].T).max(axis=1)
    return float((to_training - to_holdout).mean())


def _yaws(photos: ReferenceSet) -> npt.NDArray[np.float64]:
    """Yaw in degrees; an unknown one counts as frontal."""
    known = photos.yaws_deg or (None,) * len(photos)
    return np.array([0.0 if yaw is None else yaw for yaw in known])
