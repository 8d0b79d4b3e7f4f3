"""Calibration of thresholds and accuracy of an embedder, from scores of people used nowhere else.

A threshold only holds for the statistic it was calibrated with.  Ours is a mean over several held-out
photos, which scatters less than a single cosine, so `mean_of_k` builds exactly that from a gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError

Scores = npt.NDArray[np.float64]
SCORES_PER_FALSE_MATCH: Final = 3
"""Rule of three: without 3 / rate scores, even no false match at all would not show the rate (95 %)."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Genuine and impostor scores, one value per trial."""

    genuine: Scores
    impostor: Scores
    references: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """A similarity threshold for one embedder of one pack, and its derivation."""

    similarity: float
    false_match_rate: float
    embedder_id: str
    pack_digest: str
    references: int
    people: int
    impostor_scores: int
    source: str


def write_threshold(path: Path, threshold: Threshold) -> None:
    """As JSON."""
    manifest.write_json_atomic(path, asdict(threshold))


def read_threshold(path: Path, *, pack_digest: str) -> Threshold:
    """Read a file of `write_threshold`.  Raises InputError when it is damaged or belongs to another pack."""
    try:
        threshold = Threshold(**cast(Any, strict_json.load_object(path, "threshold")))
    except (ArtifactError, ValueError, TypeError) as error:
        remedy = "Create one with: portrait-lora calibrate PACK --people FOLDER"
        raise InputError("not a threshold file", where=path, got=error, remedy=remedy) from error
    if threshold.pack_digest != pack_digest:
        raise InputError(
            "the threshold was calibrated for another face pack",
            where=path,
            got=threshold.pack_digest[:12],
            needed=pack_digest[:12],
            remedy="Calibrate again with this pack: thresholds do not transfer.",
        )
    return threshold


def mean_of_k(gallery: Sequence[npt.NDArray[np.float32]] | npt.NDArray[np.float32], k: int) -> Trials:
    """Trials from (K, D) embeddings per person, K of their own, who enrol with their first `k` pictures.

    Genuine trials: the person's remaining pictures.  Impostor trials: the remaining pictures of everyone
    else, so no picture is both reference and probe.  Trials that share a person are correlated: the
    effective number is between P * (P - 1) and the count.
    """
    people = [np.asarray(rows, dtype=np.float64) for rows in gallery]
    if k < 1 or len(people) < 2 or any(rows.ndim != 2 or len(rows) <= k for rows in people):
        raise InputError(
            "the gallery is too small",
            got=f"{len(people)} people",
            needed=f"at least 2 people with {k + 1} pictures each",
        )
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12) for rows in people]
    enrolled = np.stack([rows[:k].mean(axis=0) for rows in unit])  # a mean of cosines is the cosine with it
    probes = np.concatenate([rows[k:] for rows in unit])
    owner = np.repeat(np.arange(len(unit)), [len(rows) - k for rows in unit])
    scores = probes @ enrolled.T
    same = owner[:, None] == np.arange(len(unit))[None, :]
    return Trials(scores[same], scores[~same], k)


def threshold_at(false_match_rate: float, impostor_scores: npt.ArrayLike) -> float:
    """The similarity threshold with an expected false-match rate of `false_match_rate`.

    The (n + 1)(1 - rate)-th order statistic, linearly interpolated: its expected exceedance by a new
    impostor is exactly the rate, whatever the distribution (Weibull plotting position).
    """
    scores = np.asarray(impostor_scores, dtype=np.float64).ravel()
    if not 0.0 < false_match_rate < 1.0:
        raise InputError("not a false-match rate", got=false_match_rate, needed="a number between 0 and 1")
    if not np.isfinite(scores).all():
        raise InputError("an impostor score is not finite")
    needed = int(np.ceil(SCORES_PER_FALSE_MATCH / false_match_rate - 1e-9))
    if len(scores) < needed:
        raise InputError(
            f"too few impostor scores for a false-match rate of {false_match_rate:g}",
            got=len(scores),
            needed=needed,
            remedy="Use more people, or calibrate at a higher false-match rate and report it.",
        )
    return float(np.quantile(scores, 1.0 - false_match_rate, method="weibull"))


def tar_at_far(genuine: npt.ArrayLike, impostor: npt.ArrayLike, false_match_rate: float) -> float:
    """Fraction of genuine scores at or above the threshold of `false_match_rate`."""
    if not np.size(genuine):
        raise InputError("a true-accept rate needs genuine scores")
    return float(np.mean(np.ravel(genuine) >= threshold_at(false_match_rate, impostor)))
