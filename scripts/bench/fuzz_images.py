"""Mutated picture files against the decoder: no crash, no hang, every outcome pixels or a finding.

python -m scripts.bench.fuzz_images           2,000 files
python -m scripts.bench.fuzz_images --full    100,000 files
python -m scripts.bench.fuzz_images --seed 3  other mutations
    ... --work FOLDER --part 1/2        in parts of 2,000, kept in FOLDER; the last call is without --part

Every mutation is a function of (seed, number), so a failure is reproduced from its number alone.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from portrait_lora.dataset.photos import UnreadablePhoto, load_photo
from scripts import parts
from scripts.rows import Row, arguments, finish

QUICK, FULL, PART = 2_000, 100_000, 2_000
SOURCES = (
    *("portrait_lora/pictures/reader.py", "portrait_lora/pictures/pixels.py", "scripts/bench/fuzz_images.py"),
)
MAX_SECONDS = 2.0
MAX_SIDE_PX = 1280


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file; `kind` is `pixels`, `finding` or the type of an exception that got out."""

    number: int
    kind: str
    seconds: float


def seed_files() -> list[bytes]:
    """Small valid pictures of every format and of the modes that decoders treat differently."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (20, 16, 3), dtype=np.uint8)
    rgb = Image.fromarray(small).resize((96, 120), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    rgba = rgb.convert("RGBA")
    rgba.putalpha(rgb.convert("L"))
    frames = [rgb, rgb.rotate(90, expand=True).resize(rgb.size)]
    plans: list[tuple[Image.Image, str, dict[str, object]]] = [
        (rgb, "JPEG", {"quality": 90, "exif": exif, "icc_profile": profile}),
        (rgb, "JPEG", {"progressive": True, "subsampling": 2}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("L"), "JPEG", {"restart_marker_blocks": 2}),
        (rgb, "MPO", {"save_all": True, "append_images": frames[1:]}),
        (rgb, "PNG", {"icc_profile": profile, "exif": exif}),
        (rgba, "PNG", {}),
        (rgb.quantize(16), "PNG", {"transparency": 3}),
        (grey16, "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (rgb, "PNG", {"save_all": True, "append_images": frames[1:]}),
        (rgb, "WEBP", {"quality": 80, "exif": exif}),
        (rgba, "WEBP", {"lossless": True}),
        (rgb, "WEBP", {"save_all": True, "append_images": frames[1:]}),
    ]
    files = []
    for picture, kind, options in plans:
        out = io.BytesIO()
        picture.save(out, kind, **options)
        files.append(out.getvalue())
    return files


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(data), int(rng.integers(1, 12))):
        data[int(at)] ^= 1 << int(rng.integers(8))
    return data


def _overwrite(data: bytearray, rng: np.random.Generator) -> bytearray:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    piece = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    data[start : start + length] = piece
    return data


def _extremes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Sizes and counts at their limits, mostly in the headers."""
    start = int(rng.integers(min(len(data), 400)))
    word = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x40\x00"][
        rng.integers(4)
    ]
    data[start : start + 4] = word[: int(rng.integers(1, 5))]
    return data


def _truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _drop(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 200))]
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    piece = data[start : start + int(rng.integers(1, 300))]
    return data[:start] + piece * int(rng.integers(2, 40)) + data[start:]


def _png_size(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Another width and height in a PNG, with the checksum corrected: a bomb that looks whole."""
    if data[:4] != b"\x89PNG":
        return _extremes(data, rng)
    import zlib

    side = rng.integers(1, 40_000, 2)
    data[16:24] = int(side[0]).to_bytes(4, "big") + int(side[1]).to_bytes(4, "big")
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return data


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    *(_flip, _overwrite, _extremes, _truncate, _drop, _repeat, _png_size),
)


def mutated(files: list[bytes], seed: int, number: int) -> bytes:
    """The bytes of one mutated file: up to three mutations of one of the seeds, or of two put together."""
    rng = np.random.default_rng([seed, number])
    data = bytearray(files[int(rng.integers(len(files)))])
    if rng.random() < 0.05:
        other = files[int(rng.integers(len(files)))]
        cut = int(rng.integers(1, len(data)))
        data = data[:cut] + bytearray(other[int(rng.integers(len(other))) :])
    for _ in range(int(rng.integers(1, 4))):
        if data:
            data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng)
    return bytes(data)


def outcome(path: Path, number: int, tries: int = 3) -> Outcome:
    """Read one file as the check does; a slow one again, as the machine may have been busy."""
    one = _outcome(path, number)
    for _ in range(tries - 1):
        if one.seconds <= MAX_SECONDS:
            break
        again = _outcome(path, number)
        one = replace(again, seconds=min(one.seconds, again.seconds))
    return one


def _outcome(path: Path, number: int) -> Outcome:
    started = time.perf_counter()
    try:
        photo, pixels = load_photo(path, MAX_SIDE_PX, quick=True)
        right = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        kind = "pixels" if right and max(pixels.shape) <= MAX_SIDE_PX and min(photo.size_px) > 0 else "wrong"
    except UnreadablePhoto as error:
        kind = "finding" if error.advice else "wrong"
    except Exception as error:
        kind = type(error).__name__
    return Outcome(number, kind, time.perf_counter() - started)


def fuzz(count: int, seed: int, folder: Path, first: int = 0) -> Iterator[Outcome]:
    """The outcome of every mutated file; one file at a time is on the disk."""
    files = seed_files()
    path = folder / "mutated.jpg"
    for number in range(first, first + count):
        path.write_bytes(mutated(files, seed, number))
        yield outcome(path, number)


def fuzz_part(name: str, seed: int) -> parts.Result:
    """The part named after its first file: how many of each outcome, the slowest file, peak memory."""
    first, kinds = int(name), Counter[str]()
    slowest = Outcome(-1, "", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for one in fuzz(PART, seed, Path(folder), first):
            kinds[one.kind] += 1
            slowest = max(slowest, one, key=lambda o: o.seconds)
            if one.kind not in ("pixels", "finding"):
                print(f"  file {one.number} of seed {seed}: {one.kind}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"kinds": dict(kinds), "slowest": [slowest.seconds, slowest.number], "peak_gib": peak}


def fuzz_rows(results: list[parts.Result]) -> list[Row]:
    """The figures of all parts."""
    kinds = Counter[str]()
    for part in results:
        kinds.update(part["kinds"])
    count = kinds.total()
    bad = count - kinds["pixels"] - kinds["finding"]
    seconds, number = max(part["slowest"] for part in results)
    peak = max(part["peak_gib"] for part in results)
    return [
        Row("fuzz: outcomes that are neither pixels nor a finding", bad, "files", count, 0, at_most=True),
        Row(f"fuzz: slowest (file {number})", seconds, "s", count, MAX_SECONDS, at_most=True),
        Row("fuzz: read in spite of the damage", kinds["pixels"] / count, "share", count),
        Row("fuzz: peak memory", peak, "GiB", count, 1.5, at_most=True),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parts.add_arguments(parser)
    args = parser.parse_args()
    names = [f"{first:06d}" for first in range(0, FULL if args.full else QUICK, PART)]
    name = "fuzz-" + parts.key(str(args.seed), sources=SOURCES)
    results = parts.collect(
        names, lambda one: fuzz_part(one, args.seed), work=args.work, name=name, part=args.part
    )
    sys.exit(0 if results is None else finish(fuzz_rows(results), args.json))


if __name__ == "__main__":
    main()
