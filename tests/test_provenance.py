"""Marks survive in PNG and JPEG, and only studio pictures count as the studio's."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.tasks.inspect import inspect_file


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(buffer, kind, **({"exif": exif, "progressive": True} if kind == "JPEG" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_studio_marks_are_read_back_and_leave_the_pixels_alone(tmp_path: Path, kind: str) -> None:
    plain, path = encoded(noise(1), kind), tmp_path / "a.picture"
    marked = provenance.studio_marked(plain)
    path.write_bytes(marked)
    assert provenance.is_studio_picture(path) and not provenance.is_unmarked_picture(path)
    assert provenance.source_type(path) == "algorithmicMedia"
    with Image.open(path) as picture:
        picture.load()
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(plain))))
    assert provenance.content_digest(marked) == provenance.content_digest(plain)
    path.write_bytes(provenance.studio_marked(plain[: len(plain) // 2]))
    assert provenance.is_studio_picture(path), "one that the studio cut short on purpose"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_mark_that_is_copied_into_a_photograph_counts_for_nothing(tmp_path: Path, kind: str) -> None:
    studio, photo, path = encoded(noise(1), kind), encoded(noise(2), kind), tmp_path / "photo"
    digest = provenance.content_digest(studio)
    assert digest is not None
    packet = provenance.xmp_packet(provenance.ALGORITHMIC, creator_tool=provenance.STUDIO, content=digest)
    with Image.open(io.BytesIO(photo)) as picture:
        if kind == "JPEG":
            picture.save(path, kind, xmp=packet.encode(), quality="keep")
        else:
            info = PngInfo()
            info.add_itxt(provenance.XMP_KEY, packet)
            picture.save(path, kind, pnginfo=info)
    assert provenance.source_type(path) == "algorithmicMedia"
    assert provenance.is_unmarked_picture(path)
    unbound = provenance.xmp_bytes(provenance.ALGORITHMIC, creator_tool=provenance.STUDIO)
    Image.open(io.BytesIO(photo)).save(path, "JPEG", xmp=unbound)
    assert provenance.is_unmarked_picture(path), "the mark of former versions says nothing of a picture"


def test_a_changed_pixel_ends_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(provenance.studio_marked(encoded(noise(1), "PNG")))
    with Image.open(path) as picture:
        info, pixels = PngInfo(), np.array(picture)
        info.add_itxt(provenance.XMP_KEY, picture.info[provenance.XMP_KEY])
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(path, pnginfo=info)
    assert provenance.is_unmarked_picture(path)


def test_what_cannot_be_read_counts_as_a_photograph(tmp_path: Path) -> None:
    for name, data in (("a.jpg", b""), ("b.heic", b"\0\0\0\x18ftypheic"), ("c", b"no picture")):
        (tmp_path / name).write_bytes(data)
        assert provenance.is_unmarked_picture(tmp_path / name)
    assert provenance.is_unmarked_picture(tmp_path / "missing.jpg")
    with pytest.raises(ArtifactError, match="JPEG and PNG only"):
        provenance.studio_marked(b"GIF89a")


def test_anything_else_counts_as_a_photograph(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "trained.png", pnginfo=provenance.png_info({"seed": 1}))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("plain.jpg", "trained.png", "broken.jpg"):
        assert not provenance.is_studio_picture(tmp_path / name)
    assert provenance.source_type(tmp_path / "plain.jpg") is None
    assert provenance.read_record(tmp_path / "trained.png") == {"seed": 1}
    with pytest.raises(ArtifactError, match="no generation record"):
        provenance.read_record(tmp_path / "plain.jpg")


def test_the_packet_is_xml() -> None:
    from xml.etree import ElementTree

    text = provenance.xmp_packet(creator_tool="a & b <c>")
    inner = text.split("?>", 1)[1].rsplit("<?xpacket", 1)[0]
    assert "a & b <c>" in [e.text for e in ElementTree.fromstring(inner.strip()).iter()]


def _with_packet(path: Path, packet: str) -> Path:
    info = PngInfo()
    info.add_itxt(provenance.XMP_KEY, packet)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    "packet",
    [
        "DigitalSourceType>" + " " * 60_000,
        "DigitalSourceType" + " " * 60_000 + ">",
        "DigitalSourceType='" * 20_000,
        "CreatorTool>" + " " * 60_000 + "<",
        "DigitalSourceType>" + "digitalsourcetype/" * 20_000,
    ],
)
def test_a_packet_costs_no_more_than_its_length(tmp_path: Path, packet: str) -> None:
    path, started = _with_packet(tmp_path / "a.png", packet), time.process_time()
    provenance.source_type(path)
    assert not provenance.is_studio_picture(path)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        ('DigitalSourceType = "http://x/digitalsourcetype/compositeCapture"', "compositeCapture"),
        ("<a:DigitalSourceType>\n  http://x/digitalsourcetype/algorithmicMedia</a:>", "algorithmicMedia"),
        (
            "DigitalSourceType>none< DigitalSourceType>a/digitalsourcetype/trainedAlgorithmicMedia",
            "trainedAlgorithmicMedia",
        ),
        ("DigitalSourceType>other/list/thing", None),
    ],
)
def test_other_programs_write_the_mark_in_other_ways(tmp_path: Path, packet: str, kind: str | None) -> None:
    assert provenance.source_type(_with_packet(tmp_path / "a.png", packet)) == kind


def _bomb(path: Path, text: bytes, key: bytes = b"portrait_lora") -> Path:
    """A zTXt chunk that unpacks to a thousand times its size, before the pixels."""
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    body = b"zTXt" + key + b"\0\0" + zlib.compress(text, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


def test_texts_that_unpack_to_far_more_are_no_recipe(tmp_path: Path) -> None:
    path = _bomb(tmp_path / "a.png", bytes(30_000_000))
    started = time.process_time()
    with pytest.raises(ArtifactError, match="cannot be read"):
        provenance.read_record(path)
    assert provenance.source_type(path) is None and not provenance.is_studio_picture(path)
    with pytest.raises(InputError, match="damaged"):
        inspect_file(path)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "{", '{"seed": NaN}', "null", '{"a": 1, "a": 2}', '{"seed": -1}']
)
def test_a_damaged_recipe_is_an_error_of_this_picture(tmp_path: Path, text: str) -> None:
    info = PngInfo()
    info.add_itxt(provenance.RECIPE_KEY, text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ArtifactError, match=r"a\.png"):
        provenance.read_record(tmp_path / "a.png")
    assert inspect_file(tmp_path / "a.png")["recipe"] is None
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"a\.json"):
        inspect_file(tmp_path / "a.png")
