"""A verification threshold for a face pack, derived from photos of people who are judged nowhere else.

The statistic is that of the protocol: the mean cosine of a picture to K photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portrait_lora import likeness, log
from portrait_lora.errors import InputError
from portrait_lora.evaluation.similarity import embed_photos
from portrait_lora.evaluation.thresholds import (
    SCORES_PER_FALSE_MATCH,
    Threshold,
    mean_of_k,
    tar_at_far,
    threshold_at,
    write_threshold,
)
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.records import FloatArray

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The threshold, and the share of photos of the same person that reach it (0..1)."""

    threshold: Threshold
    accepted: float

    @property
    def scores_needed(self) -> float:
        """Impostor comparisons that the rule of three asks for."""
        return SCORES_PER_FALSE_MATCH / self.threshold.false_match_rate


def calibrate(pack: str, people: Path, out: Path, *, references: int, false_match_rate: float) -> Calibrated:
    """Derive the threshold and write it to `out`.

    `people` holds one folder per person with at least `references` + 1 photos each: so many to compare with,
    the rest are probes.  Raises `InputError` for too few people or comparisons, and for a rate outside 0..1.
    """
    finder = open_analyzer(resolve_pack(pack), "report")
    gallery = _gallery(people, finder, references)
    trials = mean_of_k(gallery, references)
    threshold = Threshold(
        threshold_at(false_match_rate, trials.impostor),
        false_match_rate,
        finder.embedder_id,
        finder.pack.digest,
        references,
        len(gallery),
        len(trials.impostor),
        people.name,
    )
    write_threshold(out, threshold)
    return Calibrated(threshold, tar_at_far(trials.genuine, trials.impostor, false_match_rate))


def _gallery(folder: Path, finder: Analyzer, references: int) -> list[FloatArray]:
    """(K, D) per person with more than `references` photos of one face at least; K is their own."""
    people: list[FloatArray] = []
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        faces, _ = embed_photos(likeness.photo_files(place), finder)
        if len(faces) > references:
            people.append(faces.embeddings)
        else:
            _log.warning(
                "%s: %d photos with a face, %d needed; left out", place.name, len(faces), references + 1
            )
    if len(people) < 2:
        needed = f"at least 2 people with {references + 1} photos each"
        raise InputError("too few people to calibrate with", where=folder, got=len(people), needed=needed)
    return people
