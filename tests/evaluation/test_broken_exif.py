"""Broken EXIF stops nothing: a photo with it is checked and scored as the same photo without."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance, recipe, synthetic
from portrait_lora.evaluation.similarity import embed_photos, read_rgb
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from portrait_lora.tasks import judge


def _directory(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    """A little-endian TIFF block with one directory of (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def _short(value: int) -> bytes:
    return struct.pack("<HH", value, 0)


BROKEN = {
    "empty": b"",
    "noise": bytes(range(256)),
    "cut in the header": b"II*\0\x08",
    "cut in an entry": _directory((0x0112, 3, 1, _short(6)))[:16],
    "directory beyond the end": b"II*\0" + struct.pack("<I", 1 << 30),
    "value beyond the end": _directory((0x010F, 2, 1 << 20, struct.pack("<I", 1 << 29))),
    "directory of itself": _directory((0x8769, 4, 1, struct.pack("<I", 8)), following=8),
    "orientation 0": _directory((0x0112, 3, 1, _short(0))),
    "orientation 77": _directory((0x0112, 3, 1, _short(77))),
    "orientation in words": _directory((0x0112, 2, 4, b"abc\0")),
    "orientation by zero": _directory((0x0112, 5, 1, struct.pack("<I", 26))) + struct.pack("<II", 6, 0),
    "orientation twice": _directory((0x0112, 3, 2, struct.pack("<HH", 6, 6))),
    "unknown type": _directory((0x0112, 99, 1, _short(6))),
    "main block no number": _directory((0x8769, 2, 4, b"xyz\0")),
}


def write(path: Path, pixels: np.ndarray, block: bytes | None) -> Path:
    """A JPEG; with a block, an EXIF segment of exactly these bytes."""
    Image.fromarray(pixels).save(path, quality=95)
    data = path.read_bytes()
    if block is not None:
        segment = b"Exif\0\0" + block
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
        path.write_bytes(data)
    return path


def portraits(count: int, person: int) -> list[np.ndarray]:
    people = synthetic.sample_people([person] * count)
    scenes = synthetic.sample_scenes([7101 + i for i in range(count)], max_yaw_deg=10.0)
    images = synthetic.render(people, scenes, size_px=192).image_BCHW
    return list(images.permute(0, 2, 3, 1).contiguous().numpy())


pytestmark = pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data)")


@pytest.mark.parametrize("kind", BROKEN)
def test_the_pixels_are_those_of_the_photo_without_exif(kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    plain = write(tmp_path / "plain.jpg", pixels, None)
    broken = write(tmp_path / "broken.jpg", pixels, BROKEN[kind])
    if kind == "orientation twice":  # the first value is as good as one value
        assert read_rgb(broken).shape in ((24, 40, 3), (40, 24, 3))
    else:
        assert (read_rgb(broken) == read_rgb(plain)).all()
    assert provenance.is_unmarked_picture(broken)


def test_check_and_score_take_photos_with_broken_exif(tmp_path: Path) -> None:
    pixels, kinds = portraits(len(BROKEN), 71), list(BROKEN.values())
    straight = [k for k, name in enumerate(BROKEN) if name != "orientation twice"][::2]
    for name, blocks in (("broken", kinds), ("plain", [None] * len(kinds))):
        folder = tmp_path / name / "photos"
        folder.mkdir(parents=True)
        for i in straight:
            write(folder / f"{i:02}.jpg", pixels[i], blocks[i])
    analyzer = FaceAnalyzer(resolve_pack())
    tables = {}
    for name in ("broken", "plain"):
        photos = sorted((tmp_path / name / "photos").iterdir())
        tables[name], skipped = embed_photos(photos, analyzer)
        assert not skipped
    assert (tables["broken"].embeddings == tables["plain"].embeddings).all()
    checked = {
        name: recipe.check(tmp_path / name, overrides=["allow_synthetic_models=true"]).photos
        for name in ("broken", "plain")
    }
    assert [(r.file, r.codes) for r in checked["broken"].rejected] == [
        (r.file, r.codes) for r in checked["plain"].rejected
    ]
    result = judge.score_folders(
        tmp_path / "broken" / "photos",
        tmp_path / "plain" / "photos",
        tmp_path / "report",
        allow_synthetic=True,
    )
    assert result.portraits == len(straight) and not result.unreadable and not result.photos_without_face
