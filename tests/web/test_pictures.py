"""Pictures on their way out: nothing that is none, everything encoded anew or our own PNG."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image, PngImagePlugin

from portrait_lora.web.studio import Person
from portrait_lora.web.users import OWNER
from tests.web.conftest import browser
from tests.web.raw import Answer, as_browser, send

SCRIPT = "<script>alert(1)</script>"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode()


def png(size: tuple[int, int], text: str = "") -> bytes:
    stream, more = io.BytesIO(), PngImagePlugin.PngInfo()
    if text:
        more.add_text("Description", text)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(stream, "PNG", pnginfo=more)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.fixture
def person(app: FastAPI) -> Person:
    return app.state.studio.create(OWNER, "Bea", made_up=True)


def shown(app: FastAPI, person: Person, path: Path, query: str = "") -> Answer:
    place = f"/pictures/{person.id}/{app.state.studio.picture_id(person, path)}"
    return send(app, "GET", place, headers=as_browser(browser(app)), query=query.encode())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.svg", SVG),
        ("a.png", SVG),
        ("a.jpg", b"<html>" + SCRIPT.encode()),
        ("a.html", b"<html>" + SCRIPT.encode()),
        ("a.jpg", b"GIF89a" + SCRIPT.encode()),
        ("a.png", b""),
        ("a.png", bomb()),
        ("a.jpg", b"\x80\x04\x95cos\nsystem\n."),
        ("a.zip", b"PK\x03\x04"),
    ],
)
def test_what_is_no_picture_is_never_shown(app: FastAPI, person: Person, name: str, data: bytes) -> None:
    """ComfyUI CVE-2026-56671 to 56673: SVG, pages under the name of a picture; bombs; pickles; archives."""
    path = person.folder / "photos" / name
    path.write_bytes(data)
    for query in ("", "w=320"):
        answer = shown(app, person, path, query)
        assert answer.status in (404, 422) and b"script>alert" not in answer.body
        assert answer.headers["content-type"] == "application/problem+json"


def test_pictures_are_encoded_anew_and_ours_are_sent_as_png(app: FastAPI, person: Person) -> None:
    photo = person.folder / "photos" / "a.png"
    photo.write_bytes(png((400, 300), SCRIPT) + SCRIPT.encode())
    for query in ("", "w=160"):
        answer = shown(app, person, photo, query)
        assert answer.status == 200 and answer.headers["content-type"] == "image/jpeg"
        assert b"script" not in answer.body and answer.headers["x-content-type-options"] == "nosniff"
        assert max(Image.open(io.BytesIO(answer.body)).size) == (160 if query else 400)
    ours = person.folder / "portraits" / "s" / "1.png"
    ours.parent.mkdir(parents=True)
    ours.write_bytes(png((64, 64)))
    assert shown(app, person, ours).headers["content-type"] == "image/jpeg", (
        "without a record it is a stranger's"
    )
    ours.with_suffix(".json").write_text("{}")
    answer = shown(app, person, ours)
    assert answer.headers["content-type"] == "image/png" and answer.body == ours.read_bytes()
    again = send(
        app, "GET", f"/pictures/{person.id}/{app.state.studio.picture_id(person, ours)}",
        headers=[*as_browser(browser(app)), ("if-none-match", answer.headers["etag"])],
    )  # fmt: skip
    assert again.status == 304 and not again.body


@pytest.mark.parametrize("query", ["w=1", "w=-1", "w=100000", "w=320.5", "w=a", "w=160&w=9999"])
def test_only_known_widths_are_made(app: FastAPI, person: Person, query: str) -> None:
    path = person.folder / "photos" / "a.png"
    path.write_bytes(png((8, 8)))
    assert shown(app, person, path, query).status in (400, 422)
    assert list((app.state.studio.home / "cache").iterdir()) == []
