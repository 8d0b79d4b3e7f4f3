"""The browser of the tests: what goes wrong on a page fails its test, and none is skipped where CI runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import Window
from tests.lacking import lacking

NARROW = Window(390, scheme="dark")
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("browser_page", [NARROW, Window()], indirect=True, ids=str)
def test_the_window_is_as_asked(browser_page, request):
    window = request.node.callspec.params["browser_page"]
    browser_page.set_content(
        "<style>@media (prefers-color-scheme: dark) { p { color: red } }</style><p>x</p>"
    )
    assert browser_page.evaluate("innerWidth") == window.width_px
    color = browser_page.eval_on_selector("p", "e => getComputedStyle(e).color")
    assert (color == "rgb(255, 0, 0)") is (window.scheme == "dark")


def test_what_goes_wrong_is_kept(browser_page, page_troubles, tmp_path):
    (tmp_path / "page.html").write_text(
        "<img src='absent.png'><script>console.log('fine'); console.error('bad'); undefinedName()</script>"
    )
    browser_page.goto((tmp_path / "page.html").as_uri())
    kinds = sorted(trouble.split(":")[0] for trouble in page_troubles)
    assert kinds == ["console", "error", "net"]
    page_troubles.clear()


def test_asyncio_is_free_after_a_page():
    async def answer() -> int:
        return 1

    assert asyncio.run(answer()) == 1


def test_a_page_with_an_error_fails_its_test(chromium_session):
    with (
        pytest.raises(AssertionError, match="undefinedName"),
        chromium_session.watched(Window(), []) as page,
    ):
        page.set_content("<script>undefinedName()</script>")


def test_without_a_browser_ci_fails(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.browser import *\n")
    text = "def test_page(browser_page): ...\n"
    (tmp_path / "test_one.py").write_text(text)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true", "PATH": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "1 error" in done.stdout and "Chromium is missing" in done.stdout


def test_a_missing_program_is_a_failure_in_ci_only(monkeypatch):
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="strace is missing"):
        lacking("strace")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="strace is missing"):
        lacking("strace")
