"""Identification of the subject: the largest group of mutually similar faces.  N faces, D embedding width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.records import FloatArray

SHARE_OF_THRESHOLD: Final = 0.65
"""Fraction of a pack's verification threshold: the average cosine from which photos are grouped.  Profiles
and hard light take the subject's own photos below the threshold itself."""
_MILD: Final = 0.7
"""An unusual view of the subject may fall to this fraction of the similarity in a diverse group."""
_STRICT: Final = 1.5
"""In a homogeneous group the limit is higher: strangers exceed the similarity itself, and the least similar
of 720 photos of 60 synthetic people was still a fifth above this limit."""
_SPREADS: Final = 3.5


@dataclass(frozen=True, slots=True)
class Subject:
    """`similarity` (N,) is each face's mean cosine to the closer half of the subject's other faces."""

    is_subject: np.ndarray  # (N,) bool
    similarity: FloatArray
    threshold: float
    tied: bool  # a second, different person appears just as often


def unit_mean(vectors_ND: np.ndarray) -> FloatArray:
    """The mean direction, unit norm."""
    mean = vectors_ND.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def find_subject(embeddings_ND: FloatArray, same_person_similarity: float) -> Subject:
    """Split unit-norm embeddings into the subject and others.

    The core is the largest cluster of average linkage cut at the threshold.  A face belongs to the
    subject when it resembles the closer half of the core; the threshold follows the core's spread, within
    [0.7, 1.5] × `same_person_similarity`, so that a profile of the subject stays and a stranger does not,
    not even one whom the linkage drew into the core.
    """
    cosines_NN = embeddings_ND @ embeddings_ND.T
    clusters = average_linkage(cosines_NN, same_person_similarity)
    clusters.sort(key=lambda c: (-len(c), -_inner(cosines_NN, c), c))
    core = clusters[0]
    similarity_N = np.array([_to_core(cosines_NN[i], core, i) for i in range(len(cosines_NN))], np.float32)
    threshold = _threshold(similarity_N[core], same_person_similarity)
    is_subject = similarity_N >= threshold
    rivals = [c for c in clusters[1:] if len(c) == len(core) >= 2 and not is_subject[c].any()]
    return Subject(is_subject, similarity_N, threshold, bool(rivals))


def _threshold(of_core: np.ndarray, same_person: float) -> float:
    median = float(np.median(of_core))
    spread = 1.4826 * float(np.median(np.abs(of_core - median)))
    return max(_MILD * same_person, min(_STRICT * same_person, median - _SPREADS * spread))


def _to_core(cosines_N: np.ndarray, core: list[int], me: int) -> float:
    """Mean of the larger half of the cosines to the core without the face itself; 1 for a core of one."""
    others = np.sort(cosines_N[[j for j in core if j != me]])[::-1]
    return float(others[: max(1, (len(others) + 1) // 2)].mean()) if len(others) else 1.0


def _inner(cosines_NN: np.ndarray, cluster: list[int]) -> float:
    return float(cosines_NN[np.ix_(cluster, cluster)].mean())


def average_linkage(cosines_NN: np.ndarray, threshold: float) -> list[list[int]]:
    """Merge the two most similar clusters until none are similar by `threshold` on average."""
    clusters = [[i] for i in range(len(cosines_NN))]
    link = np.array(cosines_NN, dtype=np.float64)
    np.fill_diagonal(link, -np.inf)
    while len(clusters) > 1:
        a, b = sorted(int(v) for v in np.unravel_index(int(link.argmax()), link.shape))
        if link[a, b] < threshold:
            break
        na, nb = len(clusters[a]), len(clusters[b])
        merged = (na * link[a] + nb * link[b]) / (na + nb)
        link[a], link[:, a] = merged, merged
        link[a, a] = -np.inf
        link = np.delete(np.delete(link, b, axis=0), b, axis=1)
        clusters[a] = sorted(clusters[a] + clusters.pop(b))
    return clusters
