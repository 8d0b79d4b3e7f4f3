"""Identification of the subject from the whole set: its largest group, and whoever resembles its photos.

A mean face would lose profiles, bowed heads and other years of the subject, which resemble a few of the other
photos only.  So every face is judged by its nearest accepted neighbours, and one that is neither accepted nor
clearly somebody else is doubtful: a question for the user.  N faces, D embedding width.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.records import Face, FloatArray

SHARE_OF_THRESHOLD: Final = 0.65
"""Fraction of a pack's verification threshold: the average cosine from which photos are grouped.  Profiles
and hard light take the subject's own photos below the threshold itself."""
NEIGHBOURS: Final = 2
"""Of 2,345 own photos, 1 neighbour left 6 rejected, 2 left 7, 3 left 10 and 4 left 16; with 1 more strangers
are accepted (docs/log.md)."""
_MILD: Final = 1.2
"""The least support that accepts, in units of the grouping similarity."""
_STRICT: Final = 1.85
"""In a homogeneous group the limit is higher: strangers exceed the grouping similarity itself."""
_SPREADS: Final = 3.5
_DOUBT: Final = 0.8
"""The least support of a question, in the same units; strangers have 0.5 on average."""
_DOUBT_HARD: Final = 0.1
"""The same for a hard view: profiles of the subject were seen down to 0.2 of the grouping similarity."""
_GROUP: Final = 3
"""Photos of one person that the accepted ones may be told from by their likeness to each other."""
_KIN: Final = 0.6
"""A group that resembles the accepted photos by less than this share of its own likeness is somebody else,
such as a sister; with 0.65 a set of own photos fell apart."""
HARD_YAW_DEG: Final = 30.0
HARD_PITCH_DEG: Final = 20.0
HARD_ROLL_DEG: Final = 40.0


@dataclass(frozen=True, slots=True)
class Subject:
    """`support` (N,) is each face's mean cosine to its nearest accepted neighbours, which `nearest` lists."""

    is_subject: np.ndarray  # (N,) bool
    doubtful: np.ndarray  # (N,) bool: neither accepted nor clearly somebody else
    support: FloatArray
    threshold: float
    nearest: tuple[tuple[int, ...], ...]  # per face, nearest first
    rivals: tuple[tuple[int, ...], ...]  # the groups of different people who appear equally often, if any

    @property
    def tied(self) -> bool:
        """Whether a second, different person appears just as often."""
        return bool(self.rivals)


def unit_mean(vectors_ND: np.ndarray) -> FloatArray:
    """The mean direction, unit norm."""
    mean = vectors_ND.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def hard_view(face: Face) -> bool:
    """Whether embedders fall short on this view: in profile, bowed or thrown back, or lying."""
    if face.pose_deg is None:
        return False
    pitch, yaw, roll = (abs(angle) for angle in face.pose_deg)
    return yaw >= HARD_YAW_DEG or pitch >= HARD_PITCH_DEG or roll >= HARD_ROLL_DEG


def find_subject(
    embeddings_ND: FloatArray,
    same_person_similarity: float,
    *,
    hard: Collection[int] = (),
    same: Collection[int] = (),
    other: Collection[int] = (),
) -> Subject:
    """Split unit-norm embeddings into the subject, doubtful ones and others.

    The core is the largest cluster of average linkage cut at the threshold, without a second person who looks
    alike, and without members that resemble their nearest neighbours too little.  Then photos are accepted
    one by one, the most similar first, while they resemble their nearest accepted neighbours; the limit
    follows the core's spread, within [1.2, 1.85] × `same_person_similarity`.  Faces that resemble each other
    are judged as a group and do not vouch for each other, so that one stranger does not draw in the next.
    `hard` are indices of hard views, `same` and `other` what the user has answered.
    """
    cosines_NN = np.array(embeddings_ND @ embeddings_ND.T, dtype=np.float64)
    candidates = [i for i in range(len(cosines_NN)) if i not in other]
    clusters = [
        [candidates[n] for n in cluster]
        for cluster in average_linkage(cosines_NN[np.ix_(candidates, candidates)], same_person_similarity)
    ]
    most = max((len(c) for c in clusters), default=0)

    def named(
        cluster: list[int],
    ) -> int:  # an answer about a photo that stands alone does not make it the core
        return len(set(cluster) & set(same)) if 2 * len(cluster) >= most else 0

    clusters.sort(key=lambda c: (-named(c), -len(c), -_inner(cosines_NN, c), c))
    kin = _clusters_of(cosines_NN, candidates, same_person_similarity / SHARE_OF_THRESHOLD)
    group: list[int] = sorted({*(clusters[0] if clusters else []), *same})
    core = _without_likes(cosines_NN, group, kin, same)
    threshold = _threshold([_support(cosines_NN, i, core) for i in core], same_person_similarity)
    accepted = _pruned(cosines_NN, core, threshold, same)
    _grow(cosines_NN, accepted, kin, threshold)
    nearest = tuple(_nearest(cosines_NN, i, accepted) for i in range(len(cosines_NN)))
    support_N = np.array([_support(cosines_NN, i, accepted) for i in range(len(cosines_NN))], np.float32)
    is_subject = np.array([i in accepted for i in range(len(cosines_NN))])
    least = [same_person_similarity * (_DOUBT_HARD if i in hard else _DOUBT) for i in range(len(cosines_NN))]
    barred = np.array([i in other for i in range(len(cosines_NN))])
    rivals = [c for c in clusters[1:] if not same and len(c) == len(group) >= 2 and not is_subject[c].any()]
    return Subject(
        is_subject=is_subject,
        doubtful=~is_subject & ~barred & (support_N >= least),
        support=support_N,
        threshold=threshold,
        nearest=nearest,
        rivals=tuple(tuple(c) for c in (group, *rivals)) if rivals else (),
    )


def _clusters_of(cosines_NN: np.ndarray, candidates: list[int], similarity: float) -> dict[int, set[int]]:
    """For every face of `candidates` the cluster that it is in."""
    clusters = average_linkage(cosines_NN[np.ix_(candidates, candidates)], similarity)
    members = [{candidates[n] for n in cluster} for cluster in clusters]
    return {i: cluster for cluster in members for i in cluster}


def _without_likes(
    cosines_NN: np.ndarray, core: list[int], kin: dict[int, set[int]], kept: Collection[int]
) -> list[int]:
    """The core without a second person who resembles the subject, as a sister does: a group of photos that
    are far more like each other than like the rest."""
    within = sorted({tuple(sorted(kin[i] & set(core))) for i in core}, key=lambda c: (-len(c), c))
    left = set(core)
    for cluster in within[1:]:
        rest = left - set(cluster)
        if len(cluster) >= _GROUP and not set(cluster) & set(kept):
            support = {i: _support(cosines_NN, i, rest) for i in cluster}
            if not _belongs(cosines_NN, set(cluster), support, 0.0):
                left = rest
    return sorted(left)


def _threshold(of_core: list[float], same_person: float) -> float:
    if not of_core:
        return _MILD * same_person
    median = float(np.median(of_core))
    spread = 1.4826 * float(np.median(np.abs(np.array(of_core) - median)))
    return max(_MILD * same_person, min(_STRICT * same_person, median - _SPREADS * spread))


def _nearest(cosines_NN: np.ndarray, me: int, among: Collection[int]) -> tuple[int, ...]:
    others = sorted((j for j in among if j != me), key=lambda j: (-cosines_NN[me, j], j))
    return tuple(others[:NEIGHBOURS])


def _support(cosines_NN: np.ndarray, me: int, among: Collection[int]) -> float:
    """Mean cosine to the nearest neighbours among others; 1 without any."""
    nearest = _nearest(cosines_NN, me, among)
    return float(cosines_NN[me, list(nearest)].mean()) if nearest else 1.0


def _pruned(cosines_NN: np.ndarray, core: list[int], threshold: float, kept: Collection[int]) -> set[int]:
    """The core without the faces, worst first, that it does not support."""
    accepted = set(core)
    while len(accepted) > 1:
        support = {i: _support(cosines_NN, i, accepted) for i in accepted if i not in kept}
        worst = min(support, key=lambda i: (support[i], i), default=None)
        if worst is None or support[worst] >= threshold:
            break
        accepted.remove(worst)
    return accepted


def _grow(cosines_NN: np.ndarray, accepted: set[int], kin: dict[int, set[int]], threshold: float) -> None:
    """Accept what the accepted faces support, the best first; kin are judged together and by others."""

    def vouched(i: int) -> float:
        others = accepted - kin[i]
        return _support(cosines_NN, i, others if len(others) >= NEIGHBOURS else accepted)

    while True:
        support = {i: vouched(i) for i in kin if i not in accepted}
        fit = [
            i
            for i, own in support.items()
            if own >= threshold and _belongs(cosines_NN, kin[i] - accepted, support, threshold)
        ]
        if not fit:
            return
        accepted.add(max(fit, key=lambda i: (support[i], -i)))


def _belongs(cosines_NN: np.ndarray, group: set[int], support: dict[int, float], threshold: float) -> bool:
    """Whether a group of faces like each other is the subject's: as a whole it resembles the accepted ones,
    not much less than itself."""
    mean = float(np.mean([support[j] for j in group]))
    if len(group) < _GROUP:
        return mean >= threshold
    own = float(np.mean([_support(cosines_NN, j, group) for j in group]))
    return mean >= threshold and mean >= _KIN * own


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
