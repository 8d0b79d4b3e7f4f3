import io
import json
import re
import sys
import time
from pathlib import Path

import pytest

from portrait_lora import log


def test_metrics_truncate_and_survive_a_torn_line(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    with log.MetricsWriter(path) as writer:
        for step in range(1, 6):
            writer.write(step=step, loss=1 / step)
    with path.open("a") as stream:
        stream.write('{"step": 6, "lo')  # killed while writing
    with log.MetricsWriter(path) as writer:
        writer.truncate_after(3)
        writer.write(step=4, loss=0.5)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4]


def test_progress_is_plain_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]):
    log.configure()
    with log.progress("train", 100) as advance:
        for _ in range(100):
            advance(loss=0.25)
    err = capsys.readouterr().err.splitlines()
    assert 5 <= len(err) <= 12
    assert "train 100/100" in err[-1] and "loss 0.25" in err[-1]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]):
    log.configure(quiet=True)
    with log.progress("train", 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
    log.configure()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, 80, 120])
def test_name_count_and_time_left_are_seen_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields beside them are cut, never the count or the time."""
    screen = Terminal()
    for name, value in (("COLUMNS", str(width)), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", screen)
    fields = {"loss": 0.123456, "s/step": 1.23456, "samples/s": 3.24, "left": "12 min"}
    with log.progress("probe step 400", 1200) as advance:
        for _ in range(4):
            time.sleep(0.02)
            advance(0.25, **fields)
        for _ in range(36):
            time.sleep(0.005)
            advance(1, **fields)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert max(map(len, lines)) <= width
    assert all(line.startswith("probe step 400") and "/1200" in line for line in lines)
    assert "37/1200" in lines[-1] and re.search(r"\d:\d\d:\d\d", lines[-1])
    assert "loss" in lines[-1] or width < 70


def test_a_line_of_parts_ends_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", screen)
    with log.progress("portraits", 2) as advance:
        for _ in range(2 * 7):
            time.sleep(0.002)
            advance(1 / 7)
    last = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).strip())[-1]
    assert "2/2 0:00:00" in last and "╸" not in last


def test_parts_of_a_step_move_plain_lines_and_add_up(capsys: pytest.CaptureFixture[str]):
    log.configure()
    with log.progress("portraits", 8) as advance:
        for _ in range(8 * 7):
            advance(1 / 7)
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("portraits 0/8") and "left" in err[0]
    assert err[-1].startswith("portraits 8/8") and len(err) <= 10


def test_events_beside_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, dict[str, object]]] = []
    log.configure()
    log.send_events(lambda kind, data: seen.append((kind, dict(data))))
    try:
        log.configure()
        with log.progress("train", 8) as advance:
            advance(4)
            time.sleep(0.1)
            advance(1, loss=0.5, left="3 s")
        log.get("x").info("a line")
        log.event("metric", name="probe", step=4)
        log.configure(quiet=True)
        with log.progress("quiet", 1) as advance:
            advance()
    finally:
        log.send_events(None)
        log.configure()
    log.get("x").info("another")
    bars = [data for kind, data in seen if kind == "progress" and data["label"] == "train"]
    assert [bar["done"] for bar in bars] == [0, 4, 5] and bars[-1]["loss"] == 0.5
    left_s = bars[-1]["left_s"]
    assert isinstance(left_s, float) and 0 < left_s < 5 and bars[1]["left_s"] is None
    assert [data for kind, data in seen if kind == "log"] == [{"level": "info", "text": "a line"}]
    assert ("metric", {"name": "probe", "step": 4}) in seen
    assert [d["done"] for k, d in seen if d.get("label") == "quiet"] == [0, 1]
    assert "train 5/8" in capsys.readouterr().err
