"""Nothing is sent or looked up: onnxruntime's usage data, which no offline switch of Python sees."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.silence import STORE, Watch

ROOT = Path(__file__).parents[1]


def test_the_watch_sees_what_a_program_asks(watch: Watch) -> None:
    assert watch.requests("talking"), "the two tests below would pass whatever we do"


@pytest.mark.parametrize("store", ["empty", "full"])
def test_half_a_minute_with_a_face_pack_open_asks_nothing(watch: Watch, store: str) -> None:
    assert watch.requests(store) == []


def test_the_full_store_was_one(watch: Watch) -> None:
    assert watch.requests("full") == []
    (store,) = (watch.folder / "full" / STORE).rglob("onnxruntime.db")
    with sqlite3.connect(store) as opened:
        assert opened.execute("SELECT COUNT(*) FROM events").fetchone()[0] > 0
    assert not (watch.folder / "empty" / STORE).exists()


def _import(code: str, home: Path, **more: str) -> str:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **more}
    command = [sys.executable, "-W", "always", "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stderr


@pytest.mark.parametrize("switch", ["", "0"])
@pytest.mark.parametrize("module", ["portrait_lora", "portrait_lora.faces.analyzer"])
def test_usage_data_are_not_even_collected(tmp_path: Path, module: str, switch: str) -> None:
    code = f"import {module}, onnxruntime, os; os._exit(0)"
    assert "usage data" not in _import(code, tmp_path, ORT_DISABLE_TELEMETRY=switch)
    assert not (tmp_path / STORE).exists()


def test_an_import_that_comes_too_late_says_so(tmp_path: Path) -> None:
    code = "import sys; sys.modules['onnxruntime'] = sys; import portrait_lora"
    assert "import portrait_lora first" in _import(code, tmp_path)
    assert "import portrait_lora first" not in _import(code, tmp_path, ORT_DISABLE_TELEMETRY="1")
