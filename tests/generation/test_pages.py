"""Pages and what is embedded in them: the mark of drawn pictures stays, and nothing runs or is fetched."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from portrait_lora import provenance
from portrait_lora.evaluation.drift_page import thumbnail_uri
from portrait_lora.generation.series_page import write_series_page
from portrait_lora.records import Portrait, Shot

PACKAGE = Path(provenance.__file__).parent
RED = (230, 20, 40)


def drawn(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), RED).save(path, pnginfo=provenance.png_info({"prompt": "ohwx woman"}))
    return path


def inside(uri: str, folder: Path) -> Path:
    path = folder / "thumbnail.jpg"
    path.write_bytes(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))
    return path


def test_thumbnails_keep_the_mark_and_nothing_else(tmp_path: Path) -> None:
    uri = thumbnail_uri(drawn(tmp_path / "a.png"))
    assert uri is not None
    small = inside(uri, tmp_path)
    assert provenance.source_type(small) == provenance.TRAINED and b"ohwx" not in small.read_bytes()
    studio = provenance.png_info(None, provenance.ALGORITHMIC, creator_tool=provenance.STUDIO)
    Image.new("RGB", (8, 8)).save(tmp_path / "studio.png", pnginfo=studio)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    for name, mark in (("studio.png", provenance.ALGORITHMIC), ("photo.png", None)):
        uri = thumbnail_uri(tmp_path / name)
        assert uri is not None and provenance.source_type(inside(uri, tmp_path)) == mark
        assert provenance.is_unmarked_picture(tmp_path / "thumbnail.jpg"), "its mark is bound to another"


PAGES = sorted(PACKAGE.rglob("*.html.j2"))
SERVED = [path for path in PAGES if "web" in path.relative_to(PACKAGE).parts]
"""Pages of the server, which sends their policy in a header."""


@pytest.mark.parametrize("path", SERVED, ids=lambda p: p.name)
def test_no_served_page_has_a_script_or_a_style_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert all(
        re.search(r'\ssrc="(/static/|\{\{ static\()', tag) for tag in re.findall(r"<script[^>]*>", text)
    )
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|http://", text)


@pytest.mark.parametrize("path", [p for p in PAGES if p not in SERVED], ids=lambda p: p.name)
def test_every_page_forbids_scripts_and_strangers(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "script-src" not in rules
    assert set(rules["img-src"].split()) <= {"data:", "'self'", "file:"}
    assert (
        "<script" not in text
        and not re.search(r"\son\w+=", text)
        and "http://" not in text.replace("http://cv.iptc.org/", "")
    )


def test_the_page_of_a_series_is_marked_and_shows_its_pictures(tmp_path: Path, browser_page: Page) -> None:
    picture = drawn(tmp_path / "portraits" / "headshots" / "a.png")
    shot = Shot("<script>alert(1)</script>", "ohwx", "", (64, 64), 1)
    portrait = Portrait(picture, shot, 2, 1.0, 1.0, None)
    page = write_series_page(tmp_path / "reports" / "series.html", [portrait], {}, title="<b>t", facts=["x"])
    text = page.read_text()
    assert (
        "digitalsourcetype/trainedAlgorithmicMedia" in text and "<script>" not in text and "<b>t" not in text
    )
    browser_page.goto(page.as_uri())
    pixels = np.asarray(Image.open(io.BytesIO(browser_page.screenshot())).convert("RGB")).astype(int)
    assert (np.abs(pixels - RED).max(axis=2) < 8).sum() > 2000
