"""One reader for the whole program: what it lists, what it reads, and that everybody reads with it."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from portrait_lora import likeness, provenance
from portrait_lora.evaluation import similarity
from portrait_lora.faces import people
from portrait_lora.generation.reference import read_picture
from portrait_lora.pictures import heif, jpeg
from portrait_lora.pictures.reader import UnreadablePhoto, list_photos, load_photo
from portrait_lora.tasks import judge
from tests.dataset.made_up import draw

VIDEO = (
    struct.pack(">I", 24)
    + b"ftypmp42\0\0\0\0isommp42"
    + random.Random(1).randbytes(300_000)
    + b"\xff\xda" * 4_000
)


def jpeg_bytes(picture: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)  # type: ignore[arg-type]
    return out.getvalue()


def test_the_video_behind_a_motion_photo_is_not_looked_at(tmp_path: Path) -> None:
    plain = jpeg_bytes(Image.fromarray(draw(0, (900, 1200))), quality=90)
    (tmp_path / "plain.jpg").write_bytes(plain)
    for name, tail in (
        ("video", b"MotionPhoto_Data" + VIDEO),
        ("gain_map", plain * 3),
        ("video_before_a_picture", VIDEO + plain),
    ):
        (tmp_path / f"{name}.jpg").write_bytes(plain + tail)
        photo, pixels = load_photo(tmp_path / f"{name}.jpg")
        assert photo.size_px == (900, 1200)
        assert np.array_equal(pixels, load_photo(tmp_path / "plain.jpg")[1])


def test_scans_of_the_picture_itself_still_count(tmp_path: Path) -> None:
    data = jpeg_bytes(Image.fromarray(draw(0, (1000, 1000))), progressive=True, comment=b"\xff\xd9" * 9)
    last = data.rindex(b"\xff\xda")
    evil = data[:last] + data[last:-2] * 4_000 + b"\xff\xd9"
    assert jpeg.walk(data).end == len(data) and jpeg.walk(evil).scans >= 4_000
    (tmp_path / "evil.jpg").write_bytes(evil + VIDEO)
    with pytest.raises(UnreadablePhoto, match="far more scans"):
        load_photo(tmp_path / "evil.jpg")


def test_every_file_that_could_be_a_photo_is_listed(tmp_path: Path) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 40
    jxl = b"\xff\x0a" + bytes(range(200, 250))
    pictures = {
        "a.HIF": heic,
        "b.jxl": jxl,
        "IMG_7": heic,
        "c": jxl,
        "d.xyz": bytes(range(256)),
        "e.CR3": b"x",
    }
    others = {"README": b"hello\n", "notes.txt": b"\xff\xfe", "IMG_1.MOV": bytes(range(256)), "x.aae": b"<"}
    for name, data in (pictures | others).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "named.txt").write_bytes(jpeg_bytes(Image.fromarray(draw(0))))
    assert {p.name for p in list_photos(tmp_path)} == {*pictures, "named.txt"}
    for name in pictures:
        with pytest.raises(UnreadablePhoto):
            load_photo(tmp_path / name)
    with pytest.raises(UnreadablePhoto, match="JPEG XL"):
        load_photo(tmp_path / "c")


def test_heic_is_read_by_a_worker_and_loads_nothing_into_this_process(tmp_path: Path) -> None:
    Image.fromarray(draw(3)).save(tmp_path / "a.png")
    write = "import pillow_heif, sys; from PIL import Image; pillow_heif.from_pillow(Image.open(sys.argv[1]))"
    command = [sys.executable, "-c", f"{write}.save(sys.argv[2], quality=95)"]
    subprocess.run([*command, tmp_path / "a.png", tmp_path / "a.heic"], check=True)
    (tmp_path / "a.heic").rename(tmp_path / "IMG_1")
    assert provenance.is_unmarked_picture(tmp_path / "IMG_1")  # whatever can or cannot decode it here
    photo, pixels = load_photo(tmp_path / "IMG_1", 150)
    assert photo.size_px == (240, 300) and pixels.shape == (150, 120, 3)
    small = np.asarray(Image.fromarray(draw(3)).resize((120, 150), Image.Resampling.BOX), np.float32)
    assert np.abs(pixels - small).mean() < 6
    with pytest.raises(UnreadablePhoto, match="million pixels"):
        load_photo(tmp_path / "IMG_1", max_pixels=60_000)
    (tmp_path / "cut").write_bytes((tmp_path / "IMG_1").read_bytes()[:3000])
    with pytest.raises(UnreadablePhoto, match="damaged"):
        load_photo(tmp_path / "cut")
    look = (
        "import sys; from pathlib import Path; from portrait_lora.pictures.reader import load_photo\n"
        "load_photo(Path(sys.argv[1])); print([m for m in sys.modules if 'pillow_heif' in m])"
    )
    alone = [sys.executable, "-c", look, tmp_path / "IMG_1"]  # other tests may have loaded it here
    assert subprocess.run(alone, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 40)
    monkeypatch.setattr(heif, "_WORKER", tmp_path / "worker.py")
    (tmp_path / "worker.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(UnreadablePhoto) as error:
        load_photo(tmp_path / "a.heic")
    assert "portrait-lora[heic]" in error.value.advice


def test_avif_is_read(tmp_path: Path) -> None:
    Image.fromarray(draw(2)).save(tmp_path / "a.avif", quality=95)
    (tmp_path / "a.avif").rename(tmp_path / "a")
    photo, pixels = load_photo(tmp_path / "a")
    assert photo.size_px == (240, 300) and np.abs(pixels.astype(int) - draw(2)).mean() < 6


def odd_pictures(folder: Path) -> list[str]:
    """One picture of every kind that readers used to differ over."""
    rgb = Image.fromarray(draw(1))
    Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257).save(folder / "grey16.png")
    see_through = rgb.convert("RGBA")
    see_through.paste((0, 0, 0, 0), (0, 0, 60, 300))
    see_through.save(folder / "rgba.png")
    rgb.save(folder / "camera.jfif", "JPEG")
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    rgb.save(folder / "profile.png", icc_profile=bytes(profile))
    adobe = Image.Exif()
    adobe.get_ifd(0x8769)[0xA001] = 0xFFFF
    adobe.get_ifd(0x8769)[0xA005] = {1: "R03"}
    rgb.save(folder / "adobe.jpg", exif=adobe, quality=95)
    return ["grey16.png", "rgba.png", "camera.jfif", "profile.png", "adobe.jpg"]


def test_everybody_reads_the_same_pixels(tmp_path: Path) -> None:
    names = odd_pictures(tmp_path)
    seen: list[np.ndarray] = []

    class Finder:
        def find(self, image: np.ndarray) -> list[object]:
            seen.append(image)
            return []

    people._look(tmp_path, Finder(), Finder(), [])  # type: ignore[arg-type]
    by_gallery = dict(zip(sorted(names), seen, strict=True))
    assert [p.name for p in likeness.picture_files(tmp_path)] == sorted(names)
    assert [p.name for p in judge._pictures(tmp_path, "photos")] == sorted(names)
    for name in names:
        checked = load_photo(tmp_path / name)[1]
        assert np.array_equal(checked, similarity.read_rgb(tmp_path / name)), name
        assert np.array_equal(checked, by_gallery[name]), name
        assert np.array_equal(checked, np.asarray(read_picture(tmp_path / name))), name


def test_adobe_rgb_by_exif_alone_is_converted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.new("RGB", (32, 32), (180, 120, 100)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    Image.new("RGB", (32, 32), (180, 120, 100)).save(tmp_path / "s.jpg", quality=100)
    wide, plain = (load_photo(tmp_path / f"{n}.jpg")[1][8, 8].astype(int) for n in "as")
    assert np.abs(plain - (180, 120, 100)).max() <= 2
    assert np.abs(wide - (201, 120, 98)).max() <= 2  # by the matrices of both standards


def _dated(path, taken, fraction=None, **options):
    block = Image.Exif()
    block.get_ifd(0x8769)[0x9003] = taken
    if fraction is not None:
        block.get_ifd(0x8769)[0x9291] = fraction
    Image.new("RGB", (64, 48), (90, 120, 60)).save(path, exif=block, **options)
    return load_photo(path, 32)[0].taken_s


def test_the_time_of_exposure_is_read_with_its_fraction(tmp_path):
    first = _dated(tmp_path / "a.jpg", "2026:07:01 10:20:30")
    assert _dated(tmp_path / "b.jpg", "2026:07:01 10:20:31", "25") - first == pytest.approx(1.25)
    assert _dated(tmp_path / "c.webp", "2026:07:01 10:20:30", "x") == first


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_time_of_exposure_that_is_none_is_unknown(tmp_path, taken):
    assert _dated(tmp_path / "a.jpg", taken) is None
