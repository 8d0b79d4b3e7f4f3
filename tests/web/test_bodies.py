"""Bodies of requests: too large, too slow, too deep, with too many parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from portrait_lora.web.app import create_app
from portrait_lora.web.web_settings import Limits, WebSettings
from tests.web.conftest import browser
from tests.web.more_routes import with_routes
from tests.web.raw import Answer, as_browser, send

FORM = ("content-type", "application/x-www-form-urlencoded")


def post(app: FastAPI, path: str, *headers: tuple[str, str], **more: object) -> Answer:
    return send(app, "POST", path, headers=[*as_browser(browser(app)), *headers], **more)  # type: ignore[arg-type]


def test_two_gigabytes_are_refused_before_the_first_byte(routes: FastAPI) -> None:
    def never() -> list[bytes]:
        raise AssertionError("a byte was read")

    class Body(list[bytes]):
        def __getitem__(self, index: object) -> bytes:  # type: ignore[override]
            never()
            return b""

    for kind, length in (("multipart/form-data; boundary=x", 2 << 30), ("application/json", 2 << 20)):
        answer = post(
            routes, "/form-with-files", ("content-type", kind), ("content-length", str(length)), body=Body()
        )
        assert answer.status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "1 1", "", "9" * 30])
def test_a_length_that_is_none_is_refused(routes: FastAPI, length: str) -> None:
    answer = post(routes, "/v1/document", ("content-type", "application/json"), ("content-length", length))
    assert answer.status in (400, 413)


def test_a_body_that_grows_beyond_what_it_said_is_cut_off(tmp_path: Path) -> None:
    app = with_routes(
        create_app(tmp_path / "home", WebSettings(runs_jobs=False, limits=Limits(upload_bytes=1 << 20)))
    )
    chunks = [b"1" * 100_000] * 20
    for kind, path in (
        ("application/octet-stream", "/form-with-files"),
        ("application/json", "/v1/document"),
    ):
        assert post(app, path, ("content-type", kind), body=chunks).status == 413


def test_a_body_that_comes_too_slowly_is_given_up(tmp_path: Path) -> None:
    settings = WebSettings(runs_jobs=False, limits=Limits(idle_s=0.05))
    app = with_routes(create_app(tmp_path / "home", settings))
    kind = ("content-type", "application/octet-stream")
    assert post(app, "/form-with-files", kind, body=[b"1", b"2"], wait_s=0.3).status == 408
    slow = WebSettings(runs_jobs=False, limits=replace(settings.limits, slowest_bytes_per_s=1e9))
    app = with_routes(create_app(tmp_path / "other", slow))
    assert post(app, "/form-with-files", kind, body=[b"1"] * 9, wait_s=0.02).status == 408


def test_forms_and_documents_without_end_or_bottom(routes: FastAPI) -> None:
    """Starlette CVE-2024-47874 and GHSA-2c2j-9gv5-cj73: fields and parts without limit."""
    many = b"&".join(b"f%d=1" % number for number in range(50_000))
    assert post(routes, "/form", FORM, body=[many]).status in (400, 413, 422)
    boundary = ("content-type", "multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n1\r\n'
    assert post(routes, "/form", boundary, body=[part * 5000 + b"--x--\r\n"]).status in (400, 413, 422)
    large = part.replace(b"\r\n\r\n1", b"\r\n\r\n" + b"1" * (2 << 20))
    assert post(routes, "/form", boundary, body=[large + b"--x--\r\n"]).status in (400, 413, 422)
    document = ("content-type", "application/json")
    for body in (
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": "\\ud800"}',
        b"\xff",
    ):
        assert post(routes, "/v1/document", document, body=[body]).status in (200, 400, 422)


def test_many_small_ranges_are_one_whole_answer(app: FastAPI) -> None:
    """Starlette CVE-2025-62727."""
    (size,) = {len(send(app, "GET", "/static/app.css").body)}
    for ranges in (
        "bytes=" + ",".join(f"{i}-{i}" for i in range(500)),
        "bytes=0-0,-1",
        "bytes=a",
        "bytes=0-1;",
    ):
        answer = send(app, "GET", "/static/app.css", headers=[("range", ranges)])
        assert answer.status == 200 and len(answer.body) == size
    assert send(app, "GET", "/static/app.css", headers=[("range", "bytes=0-3")]).status == 206
