"""Marks survive in PNG and JPEG, and only studio pictures count as the studio's."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError


def test_studio_marks_are_read_back_from_png_and_jpeg(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.save(
        tmp_path / "a.png",
        pnginfo=provenance.png_info(None, provenance.ALGORITHMIC, creator_tool=provenance.STUDIO),
    )
    xmp = provenance.xmp_bytes(provenance.ALGORITHMIC, creator_tool=provenance.STUDIO)
    picture.save(tmp_path / "b.jpg", xmp=xmp)
    for name in ("a.png", "b.jpg"):
        assert provenance.is_studio_picture(tmp_path / name)
        assert provenance.source_type(tmp_path / name) == "algorithmicMedia"


def test_anything_else_counts_as_a_photograph(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "trained.png", pnginfo=provenance.png_info({"seed": 1}))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("plain.jpg", "trained.png", "broken.jpg"):
        assert not provenance.is_studio_picture(tmp_path / name)
    assert provenance.source_type(tmp_path / "plain.jpg") is None
    assert provenance.read_recipe(tmp_path / "trained.png") == {"seed": 1}
    with pytest.raises(ArtifactError, match="no recipe"):
        provenance.read_recipe(tmp_path / "plain.jpg")


def test_the_packet_is_xml() -> None:
    from xml.etree import ElementTree

    text = provenance.xmp_packet(creator_tool="a & b <c>")
    inner = text.split("?>", 1)[1].rsplit("<?xpacket", 1)[0]
    assert "a & b <c>" in [e.text for e in ElementTree.fromstring(inner.strip()).iter()]
