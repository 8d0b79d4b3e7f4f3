"""Copies of photographs, and sets of photographs with strangers among them, on photographs of your own.

python -m scripts.evaluate.photograph_sets --photos DIR --pack DIR          20 photos, 40 sets
python -m scripts.evaluate.photograph_sets --photos DIR --pack DIR --full   60 photos, 100 sets

DIR has a folder per person, with photos of that person alone or nearly so; people with fewer than 9 usable
photos serve as strangers only.  Whether a copy is found, whether different photos are called copies, who is
taken for the subject, and how many photos become questions.
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFilter

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.duplicates import Fingerprint, compare, compare_all, fingerprint_of
from portrait_lora.dataset.photos import list_photos, load_photo
from portrait_lora.dataset.subject import SHARE_OF_THRESHOLD, find_subject, hard_view
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.records import Face, Photo, RGBImage
from portrait_lora.stages.configured import check_of, curate_of
from scripts.rows import Row, arguments, finish

Way = tuple[Callable[[RGBImage], np.ndarray], int]
SET, OWN_LEAST = 15, 9
VIEW_PX = 1600
BENCH_PHOTOS = 60


def cropped(share: float) -> Callable[[RGBImage], np.ndarray]:
    """So much of each side is lost, more of it at the bottom and on the right."""

    def crop(pixels: RGBImage) -> np.ndarray:
        height, width = pixels.shape[:2]
        x, y = round(width * share), round(height * share)
        return pixels[y // 3 : height - (y - y // 3), x // 3 : width - (x - x // 3)]

    return crop


def scaled(pixels: np.ndarray, scale: float = 0.5) -> np.ndarray:
    """Smaller."""
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def screenshot(pixels: RGBImage) -> np.ndarray:
    """In a tall dark window with a clock and buttons."""
    height, width = pixels.shape[:2]
    tall, wide = int(max(height * 1.3, width * 1.9)), int(width * 1.04)
    out = np.full((tall, wide, 3), 18, np.uint8)
    top, left = (tall - height) // 2, (wide - width) // 2
    out[top : top + height, left : left + width] = pixels
    cv2.putText(out, "12:41", (wide // 20, tall // 30), cv2.FONT_HERSHEY_SIMPLEX, wide / 700, (230, 230, 230))
    for n in range(4):
        cv2.circle(out, (wide * (2 * n + 1) // 8, tall - tall // 30), max(3, wide // 60), (200, 200, 200), -1)
    return out


def bordered(pixels: RGBImage) -> np.ndarray:
    """With a white border."""
    edge = max(4, pixels.shape[1] // 12)
    return cv2.copyMakeBorder(pixels, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def filtered(pixels: RGBImage) -> np.ndarray:
    """Warm, faded and with dark corners."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    far = (rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2
    toned = pixels * np.array([1.08, 1.0, 0.86]) * (1 - 0.9 * far)[..., None] + np.array([8, 4, 0])
    return np.clip(toned, 0, 255)


def sharpened(pixels: RGBImage) -> np.ndarray:
    """With an unsharp mask."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(2, 150, 2)))


def turned(pixels: RGBImage) -> np.ndarray:
    """Straightened by 2.5°."""
    height, width = pixels.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), 2.5, 1.07)
    return cv2.warpAffine(pixels, move, (width, height), borderMode=cv2.BORDER_REFLECT)


WAYS: dict[str, Way] = {f"cropped {n} %": (cropped(n / 100), 92) for n in (1, 2, 3, 5, 10, 15)} | {
    "mirrored": (lambda p: p[:, ::-1], 92),
    "half size": (scaled, 92),
    "bordered": (bordered, 92),
    "grey": (lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), 92),
    "brighter": (lambda p: np.clip(p * 1.2 + 12, 0, 255), 92),
    "JPEG 30": (lambda p: p, 30),
    "screenshot": (screenshot, 92),
    "sharpened": (sharpened, 92),
    "filtered": (filtered, 92),
    "straightened": (turned, 92),
    "cropped, smaller, JPEG 45": (lambda p: scaled(cropped(0.08)(p), 0.7), 45),
    "all of it and mirrored": (lambda p: scaled(cropped(0.08)(p), 0.7)[:, ::-1] * 1.1, 45),
}
"""How copies are made: what is done to the pixels, and the quality of the JPEG."""


class Album:
    """Every usable face of a folder of people."""

    def __init__(self, photos: Path, analyzer: Analyzer):
        self.analyzer, self.settings = analyzer, check_of(CheckConfig())
        self.people: dict[str, list[tuple[Photo, Face]]] = {}
        for folder in sorted(f for f in photos.iterdir() if f.is_dir()):
            seen = [check_photo(path, analyzer, self.settings) for path in list_photos(folder)]
            # small and soft photos serve here: the question is who, not how good
            spoilt = {"several_faces", "no_face", "unreadable", "face_too_small"}
            faces = [(r.photo, r.face) for r in seen if r.face is not None and not spoilt & set(r.codes)]
            if faces:
                self.people[folder.name] = faces

    def fingerprint(self, path: Path) -> Fingerprint | None:
        """As the check takes it; None without a face."""
        report = check_photo(path, self.analyzer, self.settings)
        if report.face is None:
            return None
        photo, pixels = load_photo(path)
        return fingerprint_of(photo, pixels, report.face)


def copy_rows(album: Album, count: int, rng: np.random.Generator) -> list[Row]:
    """Copies of some photos, found or not; pairs of different people's photos called copies; and the time."""
    limits = curate_of(CurateConfig(), same_person_similarity=0.0).duplicate_limits
    every = [photo for faces in album.people.values() for photo, _ in faces]
    chosen = [every[int(i)] for i in rng.choice(len(every), min(count, len(every)), replace=False)]
    hits, tried = Counter[str](), Counter[str]()
    originals: list[Fingerprint] = []
    with tempfile.TemporaryDirectory() as name:
        for photo in chosen:
            first = album.fingerprint(photo.path)
            if first is None:
                continue
            originals.append(first)
            pixels = load_photo(photo.path, VIEW_PX)[1]
            for way, (make, quality) in WAYS.items():
                path = Path(name) / "copy.jpg"
                path.write_bytes(_jpeg(make(pixels), quality))
                copy = album.fingerprint(path)
                if copy is not None:
                    pair = compare(first, copy)
                    tried[way] += 1
                    hits[way] += pair is not None and pair.near_duplicate(limits)
    rows = [Row(f"copies found: {way}", hits[way] / tried[way], "share", tried[way], 0.98) for way in tried]
    start = time.perf_counter()
    alike = compare_all(originals[:BENCH_PHOTOS])
    seconds = time.perf_counter() - start
    pairs = len(list(itertools.combinations(originals[:BENCH_PHOTOS], 2)))
    called = sum(one.near_duplicate(limits) for one in alike.values())
    if pairs:  # natural copies in the folder count here: look at them
        rows.append(
            Row("pairs of different photos called copies", called / pairs, "share", pairs, 0.01, True)
        )
        rows.append(Row("comparing them with each other", seconds, "s", pairs, None))
    return rows


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    picture = np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8))
    Image.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


def set_rows(album: Album, sets: int, rng: np.random.Generator) -> list[Row]:
    """Sets of 15 with 0–40 % strangers, singly or several of one other person."""
    same = SHARE_OF_THRESHOLD * album.analyzer.pack.threshold("select")
    subjects = [name for name, faces in album.people.items() if len(faces) >= OWN_LEAST]
    right, own, hard, strangers = 0, Counter[str](), Counter[str](), Counter[str]()
    for _ in range(sets):
        me = subjects[int(rng.integers(len(subjects)))]
        mine, others = _draw(album, me, rng)
        faces = [*mine, *others]
        subject = find_subject(
            np.stack([f.embedding for f in faces]),
            same,
            hard={n for n, face in enumerate(faces) if hard_view(face)},
        )
        accepted = subject.is_subject
        first, rest = accepted[: len(mine)], accepted[len(mine) :]
        right += bool(first.mean() > 0.5 and first.sum() > rest.sum() and not subject.tied)
        for n, face in enumerate(faces):
            answer = "used" if accepted[n] else "asked" if subject.doubtful[n] else "rejected"
            (own if n < len(mine) else strangers)[answer] += 1
            if n < len(mine) and hard_view(face):
                hard[answer] += 1
    rows = [Row("subject found among 0–40 % strangers", right / sets, "share", sets, 1.0)]
    for name, counts, limit in (("own photos", own, 0.01), ("own hard views", hard, 0.01)):
        total = counts.total()
        if total:
            rows.append(Row(f"{name} rejected", counts["rejected"] / total, "share", total, limit, True))
            rows.append(Row(f"{name} asked about", counts["asked"] / total, "share", total, None))
    if total := strangers.total():
        rows.append(Row("strangers found", 1 - strangers["used"] / total, "share", total, 0.98))
        rows.append(Row("strangers asked about", strangers["asked"] / total, "share", total, None))
    return rows


def _draw(album: Album, me: str, rng: np.random.Generator) -> tuple[list[Face], list[Face]]:
    """Own faces and those of strangers, fewer than the own ones."""
    mine = [face for _, face in album.people[me]]
    count = int(rng.integers(0, SET * 2 // 5 + 1))
    own = [mine[int(i)] for i in rng.choice(len(mine), min(len(mine), SET - count), replace=False)]
    count = min(count, len(own) - 1)
    people = [name for name in album.people if name != me]
    if rng.random() < 0.5:
        many = [name for name in people if len(album.people[name]) >= count]
        pool = [face for _, face in album.people[many[int(rng.integers(len(many)))]]] if many else []
    else:
        order = rng.permutation(len(people))
        pool = [album.people[people[int(i)]][0][1] for i in order]
    return own, [pool[int(i)] for i in rng.choice(len(pool), min(count, len(pool)), replace=False)]


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of people, a folder each")
    parser.add_argument("--pack", required=True, help="a face pack made for photographs")
    args = parser.parse_args()
    album = Album(args.photos, open_analyzer(resolve_pack(args.pack)))
    rng = np.random.default_rng([args.seed, 23])
    photos, sets = (60, 100) if args.full else (20, 40)
    return finish([*copy_rows(album, photos, rng), *set_rows(album, sets, rng)], args.json)


if __name__ == "__main__":
    sys.exit(main())
