"""The page and the API of marks: what the command says, within limits, and nothing that was sent is kept."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from portrait_lora.cli import app as command_line
from portrait_lora.rights import marks
from portrait_lora.rights.marks import DRAWN, Origin
from portrait_lora.tasks import detect
from portrait_lora.web.services import marks as service
from tests.web.conftest import browser, program
from tests.web.team import team

Files = Sequence[tuple[str, bytes]]


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """One of each kind: both layers, a pixel changed behind the signature, nothing, and no picture."""
    y, x = np.mgrid[:96, :96]
    flat = np.stack([x, y, 255 - x], -1).astype(np.uint8) // 2 + 60
    drawn = marks.marked_picture(Image.fromarray(flat), "recipe")
    signed = marks.encode(drawn, "PNG", Origin(DRAWN.source, (marks.WATERMARKED,)))
    broken = bytearray(signed)
    broken[-40] ^= 1
    plain = io.BytesIO()
    Image.new("RGB", (24, 24), "teal").save(plain, "PNG")
    named = {"both.png": signed, "broken.png": bytes(broken), "plain.png": plain.getvalue()}
    return {**named, "words.png": b"no picture at all"}


def sent(client: TestClient, files: Files, place: str = "/v1/detect") -> Any:
    return client.post(place, files=[("files", pair) for pair in files])


def test_page_api_and_command_say_the_same_and_nothing_is_kept(
    app: FastAPI,
    api: TestClient,
    page: TestClient,
    pictures: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    printed = CliRunner().invoke(command_line, ["detect", str(folder), "--json"])
    command = json.loads(printed.stdout)
    home = app.state.studio.home
    before = {p: p.stat().st_size for p in home.rglob("*") if p.name != "audit.jsonl"}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what was sent goes to the disk")

    with monkeypatch.context() as watched:
        for name in ("mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryFile"):
            watched.setattr(tempfile, name, refuse)
        answer = sent(api, list(pictures.items()))
        shown = sent(page, list(pictures.items()), "/detect")
    assert answer.status_code == 200, answer.text
    value = answer.json()
    for row in command["files"]:
        row["file"] = Path(row["file"]).name
        row.setdefault("problem", "")
    assert value["files"] == sorted(command["files"], key=lambda row: list(pictures).index(row["file"]))
    assert value["false_positive_rate"] == command["false_positive_rate"] < 1e-6
    both, broken, plain, words = value["files"]
    assert both["verdict"] == "both layers" and both["watermark"]["whole"]
    assert both["credentials"]["origin"] == "this machine"
    assert broken["credentials"]["origin"] == "broken" and broken["credentials"]["altered"]
    assert plain["verdict"] == "no marks" and words["verdict"] == "not read"
    html = shown.text
    for title in ("Marked as generated", "Its signature is broken", "No marks", "Not read"):
        assert title in html
    lines = detect.in_words(detect.one(folder / "both.png"))
    confidence = next(line.strip() for line in lines if "confidence" in line)
    assert confidence in html and "signed by the local certificate of this machine" in html
    after = {p: p.stat().st_size for p in home.rglob("*") if p.name != "audit.jsonl"}
    assert after == before and b"both.png" not in (home / "audit.jsonl").read_bytes()
    assert "at most 1e-06" in page.get("/detect").text


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([], 415),
        ([("a.png", b"1")] * 3, 413),
        ([("a.png", b"1" * 301)], 413),
        ([("a.png", b"1" * 260), ("b.png", b"1" * 260)], 413),
    ],
    ids=["none", "too many", "too large", "too large together"],
)
def test_more_than_the_limits_is_refused(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, files: Files, status: int
) -> None:
    monkeypatch.setattr(service, "MOST_FILES", 2)
    monkeypatch.setattr(service, "MOST_BYTES", 300)
    monkeypatch.setattr(service, "MOST_TOGETHER", 500)
    assert sent(api, files).status_code == status


def test_a_picture_of_too_many_pixels_is_not_decoded(
    api: TestClient, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_PIXELS", 1000)
    row = sent(api, [("both.png", pictures["both.png"])]).json()["files"][0]
    assert row["watermark"] is None and "million pixels" in row["problem"]
    assert row["verdict"] == "metadata alone", "what it says is read all the same"


def test_a_line_that_is_full_is_told_so(api: TestClient, pictures: dict[str, bytes]) -> None:
    plain = [("plain.png", pictures["plain.png"])]
    entered = [service.place_in_line() for _ in range(service.MOST_WAITING)]
    for one in entered:
        one.__enter__()
    refused = sent(api, plain)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "5"
    for one in entered:
        one.__exit__(None, None, None)
    assert sent(api, [("big.png", b"")] * 30).status_code == 413, "and a refusal gives its place back"
    for _ in range(service.MOST_WAITING + 1):
        assert sent(api, plain).status_code == 200


def test_who_may_only_look_sees_the_page_without_its_form(tmp_path: Path) -> None:
    studio = team(tmp_path)
    viewer, member = browser(studio, "dan"), browser(studio, "ben")
    assert 'id="look"' not in viewer.get("/detect").text and 'id="look"' in member.get("/detect").text
    assert sent(viewer, [("a.png", b"1")], "/detect").status_code == 403
    assert program(studio, "wrong").post("/v1/detect").status_code == 401
