"""What the best of all adapters could reach: new renders of trained people, prompted as their portraits are.

python -m scripts.evaluate.studio.attainable --people 30     of today's cohort (scripts.evaluate.cohort)

Renders know the person; what they miss of the ceiling is what the prompts ask for (expressions, hard light)
and, seen through the base's autoencoder, what the base cannot draw.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import similarity
from portrait_lora.evaluation.drift import clustered_interval
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from scripts.evaluate.cohort import FIRST_SEED, cohort_folder
from scripts.evaluate.protocol.copies import series_pictures
from scripts.evaluate.studio import roundtrips
from scripts.rows import Row, finish


def share_of_ceiling(
    finder: FaceAnalyzer, pictures: Sequence[np.ndarray], holdout: similarity.ReferenceSet, likeness: dict
) -> float:
    """Of pictures (H, W, 3), as the report of the person counts it; no face counts 0."""
    faces = [similarity.subject_face(finder.find(np.ascontiguousarray(picture))) for picture in pictures]
    mean = float(np.mean([0.0 if f is None else (holdout.embeddings @ f.embedding).mean() for f in faces]))
    return (mean - likeness["impostor"]) / (likeness["ceiling"] - likeness["impostor"])


def attainable_rows(people: Sequence[tuple[int, Path]]) -> list[Row]:
    """Rows over (seed, scored likeness folder) of several people."""
    if not people:
        return []
    finder, vae = FaceAnalyzer(resolve_pack(), "report"), roundtrips.open_vae()
    plain: list[float] = []
    coded: list[float] = []
    for seed, folder in people:
        likeness = json.loads((folder / "reports" / "run.json").read_text(encoding="utf-8"))["likeness"]
        _, paths = load_dataset_folder(folder / "dataset")
        holdout = similarity.embed_photos(paths, finder, min_faces=similarity.MIN_HOLDOUT)[0]
        renders = series_pictures(seed)
        stack = torch.from_numpy(np.stack(renders)).permute(0, 3, 1, 2)
        seen = roundtrips.through(vae, stack).permute(0, 2, 3, 1).numpy()
        plain.append(share_of_ceiling(finder, renders, holdout, likeness))
        coded.append(share_of_ceiling(finder, list(seen), holdout, likeness))
    who = list(range(len(people)))
    return [
        Row(name, float(np.mean(shares)), "share", len(shares), ci95=clustered_interval(shares, who).ci95)
        for name, shares in (
            ("attainable: renders asked for as the portraits, share of ceiling", plain),
            ("attainable: the same through the autoencoder", coded),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    args = parser.parse_args()
    folder = cohort_folder(args.work)
    seeds = range(FIRST_SEED, FIRST_SEED + args.people)
    people = [(s, f) for s in seeds if ((f := folder / f"person-{s}") / "reports" / "run.json").is_file()]
    if not people:
        parser.error(f"nobody has finished in {folder}; run python -m scripts.evaluate.cohort first")
    sys.exit(finish(attainable_rows(people), args.json))


if __name__ == "__main__":
    main()
