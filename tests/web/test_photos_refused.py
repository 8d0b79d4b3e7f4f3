"""Files from elsewhere by every way in: what is no picture leaves nothing, names lead nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from portrait_lora.web.studio import Person
from portrait_lora.web.users import OWNER
from tests.web.test_pictures import SCRIPT, SVG, bomb, png

Send = Callable[[TestClient, Person, str, bytes], int]


def by_form(page: TestClient, person: Person, name: str, data: bytes) -> int:
    return page.post(f"/v1/likenesses/{person.id}/photos", files={"files": (name, data)}).status_code


def by_page(page: TestClient, person: Person, name: str, data: bytes) -> int:
    return page.post(f"/people/{person.id}/photos", files={"photos": (name, data)}).status_code


def in_pieces(page: TestClient, person: Person, name: str, data: bytes) -> int:
    place = f"/v1/likenesses/{person.id}/uploads"
    size, sha256 = len(data), hashlib.sha256(data).hexdigest()
    begun = page.post(place, json={"name": name, "size": size, "sha256": sha256})
    if begun.status_code != 201:
        return begun.status_code
    place = f"{place}/{begun.json()['id']}"
    piece = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
    assert page.patch(place, content=data, headers=piece).status_code == 200
    return page.post(f"{place}/complete").status_code


WAYS = pytest.mark.parametrize("send", [by_form, by_page, in_pieces])


@pytest.fixture
def person(app: FastAPI) -> Person:
    return app.state.studio.create(OWNER, "Bea", made_up=True)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@WAYS
def test_what_is_no_picture_is_refused_and_leaves_nothing(
    page: TestClient, person: Person, send: Send
) -> None:
    before = files_in(person.folder)
    for name, data in (
        ("a.svg", SVG),
        ("a.png", SVG),
        ("a.jpg", b"<html>" + SCRIPT.encode()),
        ("a.jpg", b"GIF89a" + SCRIPT.encode()),
        ("model.jpg", b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94"),
        ("adapter.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "),
        ("photos.zip", b"PK\x03\x04" + bytes(100)),
        ("a.png", bomb()),
        ("a.png", png((60, 60))[:-30]),
    ):
        assert send(page, person, name, data) == 422, name
    assert {name for name in files_in(person.folder) - before if not name.endswith(".lock")} == set()


@WAYS
def test_names_lead_nowhere_and_stay_text(app: FastAPI, page: TestClient, person: Person, send: Send) -> None:
    home = app.state.studio.home
    before = files_in(home)
    for number, name in enumerate(
        (
            "../../../evil.png",
            "..\\..\\evil.png",
            "/etc/evil.png",
            ".evil.png",
            f"{SCRIPT}.png",
            "con.png",
            "a\r\nb.png",
        )
    ):
        assert send(page, person, name, png((64, 64)) + bytes([number])) == 201, name
    new = {name for name in files_in(home) - before if "sqlite" not in name and not name.endswith(".lock")}
    photos = {name for name in new if name.startswith(f"people/{person.id}/photos/")}
    assert new - photos <= {"audit.jsonl"} and len(photos) == 7
    assert not any(
        set(Path(name).name) & set("<>\r\n\\") or Path(name).name.startswith(".") for name in photos
    )
    shown = page.get(f"/people/{person.id}/photos", headers={"accept": "text/html"})
    assert shown.status_code == 200 and SCRIPT not in shown.text
