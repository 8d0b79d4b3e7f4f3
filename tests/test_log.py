import json
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
