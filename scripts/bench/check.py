"""How fast and how lean the photo check is.

python -m scripts.bench.check           20 photos of 12 megapixels, memory on 40
python -m scripts.bench.check --full    the figures of record (memory on 200)

The time is compared, in the same run, with decoding the same files at full size with Pillow alone.
"""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import check_folder
from portrait_lora.dataset.curate import TooFewPhotos, curate
from portrait_lora.dataset.duplicates import Fingerprints
from portrait_lora.dataset.subject import SHARE_OF_THRESHOLD
from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.stages.configured import check_of, curate_of
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import render
from portrait_lora.synthetic.scene import sample_scenes
from scripts.rows import Row, arguments, finish

SIZE_PX = (3000, 4000)
DRAWN_PX = (384, 512)
PHOTOS = 20
MAX_RATIO = 1.5
MAX_PEAK_GIB = 1.5


def make_photos(folder: Path, count: int, seed: int, different: int = PHOTOS) -> list[Path]:
    """`count` JPEG files of 12 megapixels; the studio draws small, sensor noise makes them as heavy as
    photographs.  After `different` pictures the files repeat, each with bytes of its own."""
    paths: list[Path] = []
    drawn: list[bytes] = []
    for i in range(count):
        if i < min(different, count):
            drawn.append(_photo(seed, i))
        path = folder / f"photo_{i:03d}.jpg"
        path.write_bytes(drawn[i % len(drawn)] + (b"" if i < len(drawn) else str(i).encode()))
        paths.append(path)
    return paths


def _photo(seed: int, index: int) -> bytes:
    scenes = sample_scenes([77_000 + 1_000 * seed + index], max_yaw_deg=50.0, head_fraction=0.45)
    drawn = render(sample_people([61_000 + seed]), scenes, DRAWN_PX)
    pixels = np.ascontiguousarray(drawn.image_BCHW[0].permute(1, 2, 0).numpy())
    large = np.asarray(Image.fromarray(pixels).resize(SIZE_PX, Image.Resampling.BICUBIC), np.int16)
    rng = np.random.default_rng([seed, index])
    tile = rng.normal(0, 4, (1000, 1000, 1)).astype(np.int16)
    noisy = np.clip(large + np.tile(tile, (4, 3, 1)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, "JPEG", quality=92)
    return out.getvalue()


def decode_with_pillow(paths: list[Path]) -> None:
    """What any program that reads the photos must at least do."""
    for path in paths:
        with Image.open(path) as image:
            image.load()


def examine(folder: Path, analyzer: FaceAnalyzer) -> int:
    """The check and the curation, as the commands run them; how many photos are usable."""
    fingerprints = Fingerprints()
    reports = check_folder(folder, analyzer, check_of(CheckConfig()), seen=fingerprints.see)
    similarity = SHARE_OF_THRESHOLD * analyzer.pack.threshold("select")
    try:
        limits = curate_of(CurateConfig(), same_person_similarity=similarity)
        curated = curate(reports, limits, fingerprints=fingerprints)
    except TooFewPhotos:
        return sum(r.accepted for r in reports)
    return len(curated.kept) + len(curated.holdout)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def time_rows(folder: Path, repeats: int) -> list[Row]:
    """Both are timed in turn and the best of each is compared, so that other load weighs on both."""
    paths = sorted(folder.iterdir())
    analyzer = FaceAnalyzer(resolve_pack())
    usable = examine(folder, analyzer)
    plain, checked = [], []
    for _ in range(repeats):
        plain.append(seconds(lambda: decode_with_pillow(paths)))
        checked.append(seconds(lambda: examine(folder, analyzer)))
    n = len(paths)
    return [
        Row("decode with Pillow alone", min(plain), "s", n),
        Row("check", min(checked), "s", n),
        Row("check: times the decoding", min(checked) / min(plain), "ratio", n, MAX_RATIO, at_most=True),
        Row("check: usable photos", usable, "photos", n),
    ]


def memory_row(folder: Path, count: int) -> Row:
    """Peak resident memory of a process of its own that checks the folder."""
    code = (
        "import resource, sys; from pathlib import Path; from scripts.bench.check import *; "
        "examine(Path(sys.argv[1]), FaceAnalyzer(resolve_pack())); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    peak = float(done.stdout.split()[-1]) / 1024**2
    return Row("check: peak memory", peak, "GiB", count, MAX_PEAK_GIB, at_most=True)


def main() -> None:
    args = arguments(__doc__ or "").parse_args()
    logging.disable(logging.WARNING)
    photos, many, repeats = (PHOTOS, 200, 5) if args.full else (PHOTOS, 40, 2)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        make_photos(Path(first), photos, args.seed)
        rows = time_rows(Path(first), repeats)
        make_photos(Path(second), many, args.seed)
        rows.append(memory_row(Path(second), many))
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
