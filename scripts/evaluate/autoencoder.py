"""What the base's autoencoder loses: the best that any portrait of this base can be.

python -m scripts.evaluate.autoencoder --full        150 people × 3 pictures; no model has seen them

Pictures of a person are encoded and decoded, and held against the person's other pictures as they were.  The
likeness kept is the mean similarity over that of the pictures themselves.  Embedder A teaches the decoder, B
does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from portrait_lora.evaluation.similarity import subject_face
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from scripts.evaluate.studio.roundtrips import open_vae, through
from scripts.rows import Row, arguments, finish
from scripts.train.base.vae import psnr, psnr_face
from scripts.train.face_pack.calibrate import render_views

FIRST_SEED: Final = 870_000
VIEWS: Final = 3
SIZE_PX: Final = 128
PEOPLE: Final = {False: 20, True: 150}
BOOTSTRAPS: Final = 2000
Floats = npt.NDArray[np.float64]


def kept(real: Floats, seen: Floats) -> tuple[float, float]:
    """Of unit embeddings (V, D) of one person: the mean cosine between two pictures, and between a picture
    `seen` through the autoencoder and another as it was."""
    apart = ~np.eye(len(real), dtype=bool)
    return float((real @ real.T)[apart].mean()), float((seen @ real.T)[apart].mean())


def ratio(table: Floats, seed: int) -> tuple[float, tuple[float, float]]:
    """Ratio of the means of (people, 2), second over first, with its 95 % bootstrap interval over people."""
    rows = np.random.default_rng(seed).integers(len(table), size=(BOOTSTRAPS, len(table)))
    drawn = table[rows].mean(1)
    low, high = np.percentile(drawn[:, 1] / drawn[:, 0], (2.5, 97.5))
    mean = table.mean(0)
    return float(mean[1] / mean[0]), (float(low), float(high))


def measure(people: Sequence[int], base: str | Path, pack: str, seed: int) -> list[Row]:
    """Fidelity in dB and the likeness kept, by both embedders."""
    vae, finders = open_vae(base), [open_analyzer(resolve_pack(pack), role) for role in ("select", "report")]
    fidelity: list[tuple[float, float]] = []
    tables: list[list[tuple[float, float]]] = [[] for _ in finders]
    for person in people:
        views = render_views(person, VIEWS, SIZE_PX, max_yaw_deg=55.0)
        decoded = through(vae, views.image_BCHW)
        error = (decoded.float() - views.image_BCHW.float()) / 127.5
        box = torch.as_tensor(views.face_box_xyxy_px).float()
        fidelity.append((psnr(error), psnr_face(error, box)))
        pairs = [p.permute(0, 2, 3, 1).contiguous().numpy() for p in (views.image_BCHW, decoded)]
        detections = [(k, subject_face(finders[-1].find(image))) for k, image in enumerate(pairs[0])]
        points = {k: face.keypoints_px for k, face in detections if face is not None}
        if len(points) < 2:
            continue
        for finder, table in zip(finders, tables, strict=True):
            real, seen = (
                np.array([finder.embed(shown[k], at) for k, at in points.items()], dtype=np.float64)
                for shown in pairs
            )
            table.append(kept(real, seen))
    whole, faces = np.array(fidelity).mean(0)
    rows = [Row("autoencoder: fidelity", float(whole), "dB PSNR", VIEWS * len(fidelity))]
    rows.append(
        Row("autoencoder: fidelity, weighted to the face", float(faces), "dB PSNR", VIEWS * len(fidelity))
    )
    for name, table in zip("AB", tables, strict=True):
        value, interval = ratio(np.array(table), seed)
        rows.append(
            Row(f"autoencoder: likeness kept, embedder {name}", value, "share", len(table), ci95=interval)
        )
    return rows


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--face-pack", default="embedded")
    args = parser.parse_args()
    first = FIRST_SEED + 1000 * args.seed
    people = range(first, first + PEOPLE[args.full])
    return finish(measure(people, args.base, args.face_pack, args.seed), args.json)


if __name__ == "__main__":
    sys.exit(main())
