"""Did the adapter learn a face, or copy photos?

A good likeness has a high ArcFace similarity to every photo, so ArcFace cannot tell likeness from
copying.  Copying shows in the pixels: same light, same pose, same strands of hair.  The descriptor is the
aligned crop at 48 px in grey, freed of local brightness and contrast, compared by normalised
cross-correlation over small shifts and the mirror image.  Legend: P portraits, M training photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import linear_sum_assignment

from portrait_lora.errors import InputError
from portrait_lora.evaluation.identity import ReferenceSet

Crops = npt.NDArray[np.uint8]  # (N, 112, 112) grey or (N, 112, 112, 3) RGB
Floats = npt.NDArray[np.float32]

GRID_PX: Final = 48
MAX_SHIFT_PX: Final = 2
DETAIL_SIGMA_PX: Final = 0.8
LOCAL_SIGMA_PX: Final = 8.0
CONTRAST_FLOOR: Final = 4.0  # grey levels; keeps flat backgrounds from becoming noise
PERCENTILE: Final = 0.99
MIN_REAL_CROPS: Final = 3


@dataclass(frozen=True, slots=True)
class CopyReport:
    """`matches` holds, per portrait, the index of the most similar training photo and its correlation."""

    copy_score: float
    threshold: float
    matches: tuple[tuple[int, float], ...]
    real_photos: int

    @property
    def copied(self) -> tuple[bool, ...]:
        return tuple(value > self.threshold for _, value in self.matches)


def copy_report(portraits: Crops, training: Crops, holdout: Crops) -> CopyReport:
    """Share of portraits that match some training photo more than real photos of a person match each other.

    `portraits` are the crops of the portraits in which a face was found.  The threshold comes from the
    person's real photos, training and held out; see `match_threshold`.
    """
    if not len(training):
        raise InputError("there is no training crop to compare with")
    real = np.concatenate([_grey(crops) for crops in (training, holdout) if len(crops)])
    threshold = match_threshold(correlations(real, real))
    if not len(portraits):
        return CopyReport(0.0, threshold, (), len(real))
    table = correlations(portraits, training)
    best = table.argmax(axis=1)
    matches = tuple((int(m), float(row[m])) for m, row in zip(best, table, strict=True))
    share = float(np.mean([value > threshold for _, value in matches]))
    return CopyReport(share, threshold, matches, len(real))


def copy_score(portraits: Crops, training: Crops, holdout: Crops) -> float:
    """The share of `copy_report` alone."""
    return copy_report(portraits, training, holdout).copy_score


def match_threshold(real_pairs: Floats) -> float:
    """What real photos exceed in 1 % of cases, from the (R, R) correlations among a person's photos.

    The 99th percentile of the pairs is not enough: few photos have few pairs, most of unlike pose, and a
    portrait is compared with every training photo, so that up to every fifth *new real photo* would count
    as a copy.  Hence the same statistic on both sides: each real photo's best match among the others, and
    the 99 % prediction limit for one more such value (Student's t on Fisher's z), never below the
    percentile of the pairs.
    """
    n = len(real_pairs)
    if n < MIN_REAL_CROPS:
        raise InputError("too few real photos with a face", got=n, needed=MIN_REAL_CROPS)
    pairs = real_pairs[np.triu_indices(n, k=1)]
    others = np.where(np.eye(n, dtype=bool), -1.0, real_pairs)
    z = np.arctanh(np.clip(others.max(axis=1).astype(np.float64), -0.999, 0.999))
    limit = np.tanh(z.mean() + stats.t.ppf(PERCENTILE, n - 1) * z.std(ddof=1) * np.sqrt(1.0 + 1.0 / n))
    return float(max(limit, np.quantile(pairs, PERCENTILE)))


def correlations(portraits: npt.NDArray[np.generic], training: npt.NDArray[np.generic]) -> Floats:
    """(P, M) best normalised cross-correlation over shifts and mirroring, in [-1, 1]."""
    inner = GRID_PX - 2 * MAX_SHIFT_PX
    shifts = range(2 * MAX_SHIFT_PX + 1)
    centre = slice(MAX_SHIFT_PX, MAX_SHIFT_PX + inner)
    probes = _rows(_normalised(portraits)[:, centre, centre])
    fields = _normalised(training)
    best = np.full((len(portraits), len(training)), -1.0, dtype=np.float32)
    for field in (fields, fields[:, :, ::-1]):
        for y in shifts:
            for x in shifts:
                window = _rows(field[:, y : y + inner, x : x + inner])
                np.maximum(best, probes @ window.T, out=best)
    return np.clip(best, -1.0, 1.0)


def similarity_gap(
    portraits: npt.NDArray[np.float32], training: ReferenceSet, holdout: ReferenceSet
) -> float:
    """Mean best similarity of (P, D) portraits to training photos, minus that to held-out photos.

    A maximum grows with the number of candidates, so as many training photos as held-out ones are taken:
    the assignment with the smallest total difference in yaw.  Near 0: the person was learned.  Clearly
    positive: the portraits cling to the photos they were trained on.
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


def _grey(crops: npt.NDArray[np.generic]) -> Floats:
    """(N, H, W) luma."""
    pixels = np.asarray(crops, dtype=np.float32)
    return pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32) if pixels.ndim == 4 else pixels


def _normalised(crops: npt.NDArray[np.generic]) -> Floats:
    """(N, 48, 48): the crop minus its local mean, over its local contrast."""
    out = np.zeros((len(crops), GRID_PX, GRID_PX), dtype=np.float32)
    for i, crop in enumerate(_grey(crops)):
        small = cv2.resize(np.ascontiguousarray(crop), (GRID_PX, GRID_PX), interpolation=cv2.INTER_AREA)
        fine = cv2.GaussianBlur(small, (0, 0), DETAIL_SIGMA_PX)
        detail = fine - cv2.GaussianBlur(fine, (0, 0), LOCAL_SIGMA_PX)
        contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), LOCAL_SIGMA_PX))
        out[i] = detail / (contrast + CONTRAST_FLOOR)
    return out


def _rows(fields: Floats) -> Floats:
    """(N, pixels) with zero mean and unit norm."""
    flat = fields.reshape(len(fields), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
