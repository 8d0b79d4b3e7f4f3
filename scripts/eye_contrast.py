"""How clear eyes are in real photos, from which the limits of `portrait_lora/faces/eyes.py` were taken.

python -m scripts.eye_contrast LIKENESS_DIR …

Measures the crops that likenesses of the embedded base were trained on, which are as large as its portraits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.eyes import eye_contrast
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.likeness import open_likeness
from portrait_lora.pictures.reader import read_rgb


def of_photos(folder: Path, finder: Analyzer) -> list[float]:
    """Contrast of every crop that a likeness was trained on: photos, at the size of a portrait."""
    crops, _ = load_dataset_folder(open_likeness(folder).dataset)
    pictures = [read_rgb(crop.path) for crop in crops]
    contrasts = [eye_contrast(image, face) for image in pictures for face in finder.find(image)[:1]]
    return [value for value in contrasts if value is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("likeness", type=Path, nargs="+")
    finder = open_analyzer(resolve_pack("embedded"), "select")
    values = [v for folder in parser.parse_args().likeness for v in of_photos(folder, finder)]
    ranks = (1, 5, 10, 25, 50, 75, 90)
    shares = ", ".join(f"{r} %: {p:.0f}" for r, p in zip(ranks, np.percentile(values, ranks), strict=True))
    print(f"{len(values)} crops; {shares}")


if __name__ == "__main__":
    main()
