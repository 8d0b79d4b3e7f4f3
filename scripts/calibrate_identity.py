"""Derive a verification threshold for a face pack from your own photos of other people.

python -m scripts.calibrate_identity FOLDER --face-pack PACK --out threshold.json

FOLDER holds one folder per person with at least K + 1 photos each (K references, the rest are probes).  None
of them may be the person whose portraits will be judged.  The statistic is that of the protocol: the mean
cosine of a picture to K photos.  `portrait-lora score --threshold threshold.json` uses the result.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from portrait_lora import likeness
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.evaluation.similarity import embed_photos
from portrait_lora.evaluation.thresholds import (
    SCORES_PER_FALSE_MATCH,
    Threshold,
    Trials,
    mean_of_k,
    tar_at_far,
    threshold_at,
    write_threshold,
)
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from portrait_lora.records import FloatArray


def gallery(folder: Path, finder: FaceAnalyzer, references: int) -> FloatArray:
    """(P, K, D): as many photos of everybody as the person with the fewest has (above `references`)."""
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, needed="one folder of photos per person")
    people: list[FloatArray] = []
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        found, _ = embed_photos(likeness.photo_files(place), finder)
        if len(found) > references:
            people.append(found.embeddings)
        else:
            print(f"{place.name}: {len(found)} photos with a face, {references + 1} needed; left out")
    if len(people) < 2:
        needed = f"at least 2 people with {references + 1} photos each"
        raise InputError("too few people to calibrate with", where=folder, got=len(people), needed=needed)
    fewest = min(len(rows) for rows in people)
    return np.stack([rows[:fewest] for rows in people])


def calibrate(trials: Trials, finder: FaceAnalyzer, rate: float, people: int, source: str) -> Threshold:
    """The threshold, and where it comes from."""
    limit = threshold_at(rate, trials.impostor)
    return Threshold(
        limit,
        rate,
        finder.embedder_id,
        finder.pack.digest,
        trials.references,
        people,
        len(trials.impostor),
        source,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--face-pack", default="embedded")
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--false-match-rate", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, default=Path("threshold.json"))
    given = parser.parse_args()
    try:
        finder = FaceAnalyzer(resolve_pack(given.face_pack), "report")
        table = gallery(given.folder, finder, given.references)
        trials = mean_of_k(table, given.references)
        made = calibrate(trials, finder, given.false_match_rate, len(table), str(given.folder.name))
        write_threshold(given.out, made)
    except PortraitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    accepted = tar_at_far(trials.genuine, trials.impostor, given.false_match_rate)
    print(
        f"{len(table)} people, {len(trials.impostor)} impostor comparisons (the rule of three asks for "
        f"{SCORES_PER_FALSE_MATCH / given.false_match_rate:.0f})\n"
        f"threshold {made.similarity:.4f} at a false-match rate of {given.false_match_rate:g}; "
        f"{accepted:.1%} of the same people's photos reach it\n"
        f"Next: portrait-lora score --photos PHOTOS --portraits PORTRAITS --threshold {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
