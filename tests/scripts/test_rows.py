import json
from pathlib import Path

import pytest

from scripts.rows import Row, Table, finish


def test_a_missed_target_fails_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [Row("a", 0.9, "share", 3, 0.8), Row("b", 2.0, "s", 1), Row("c", 5.0, "s", 1, 6.0, at_most=True)]
    assert finish(rows, tmp_path / "rows.json") == 0
    assert [r["met"] for r in json.loads((tmp_path / "rows.json").read_text())] == [True, None, True]
    assert finish([*rows, Row("d", 0.1, "share", 3, 0.2)], None) == 1
    assert "MISSED" in capsys.readouterr().out


def test_rows_are_printed_and_kept_as_they_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = Table(tmp_path / "rows.json")
    table.add([Row("first", 0.9, "share", 3, 0.8)])
    assert "first" in capsys.readouterr().out
    assert [r["name"] for r in json.loads((tmp_path / "rows.json").read_text())] == ["first"]
    assert table.code() == 0
    table.add([Row("second", 0.1, "share", 3, 0.2), Row("third", 1.0, "s", 1)])
    assert "MISSED" in capsys.readouterr().out and table.code() == 1
    assert [r["met"] for r in json.loads((tmp_path / "rows.json").read_text())] == [True, False, None]
