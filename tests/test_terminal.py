"""Nothing of a stranger's file steers the terminal, or is calculated by a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from portrait_lora import cli, csv_file, errors, log, provenance, terminal
from portrait_lora.dataset.caption import read_captions, write_captions

ROOT = Path(cli.__file__).parent
EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\nNext: rm -rf ~\udcff"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.text())
@settings(max_examples=300)
def test_what_is_printed_is_harmless_and_json_keeps_its_value(text: str) -> None:
    assert not STEERING.search(terminal.block(text))
    assert "\n" not in terminal.plain(text)
    shown = terminal.json_text({"a": text})
    assert not STEERING.search(shown) and json.loads(shown) == {"a": text}


def test_ordinary_writing_is_left_alone() -> None:
    text = "Zoë 山田 👩‍👩‍👧 naïve – 3 × 4 “quoted” C:\\x"
    assert terminal.plain(text) == terminal.block(text) == text
    assert terminal.plain("\udcff\x1b") == "\\xff\\x1b"


def test_errors_log_and_progress_are_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = errors.InputError("no such file", where=EVIL, got=EVIL, needed=EVIL)
    assert not STEERING.search(str(error)) and str(error).startswith("a\\x1b[2J")
    assert "\n" not in str(error).split(": no such file")[0]
    log.configure()
    logging.getLogger("portrait_lora.x").warning("%s is odd", EVIL)
    with log.progress(EVIL, 2) as advance:
        advance(2, name=EVIL)
    shown = capsys.readouterr().err
    assert "is odd" in shown and "2/2" in shown and not STEERING.search(shown)
    log.configure(quiet=True)


def test_the_terminal_bar_shows_words_and_no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with log._rich("[bold]" + EVIL, 2) as advance:
        advance(2, name="[red]x")
    shown = stream.getvalue()
    assert "[bold]a\\x1b[2J" in shown and "\x1b]0;" not in shown and "\x9b" not in shown


@pytest.mark.parametrize("as_json", [False, True])
def test_inspect_of_a_strangers_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    path = tmp_path / "x\x1b[31m.png"
    words = EVIL.removesuffix("\udcff")
    Image.new("RGB", (8, 8)).save(path, pnginfo=provenance.png_info({"prompt": words, "seed": 1}))
    monkeypatch.setattr("sys.argv", ["portrait-lora", "inspect", str(path), *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and not STEERING.search(shown) and "gnp.exe" in shown
    assert not as_json or json.loads(shown)["recipe"]["prompt"] == words


def test_wrong_use_is_escaped_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["portrait-lora", "inspect", "a", "b\x1b[31m\u202e"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr().err
    assert stop.value.code == 2 and "\\x1b[31m" in shown and not STEERING.search(shown)


def test_everything_printed_goes_through_one_door() -> None:
    """And every table through one writer."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "terminal.py":
            assert not re.search(r"\btyper\.echo\(|(?<![\w.])print\(|\bsys\.std(out|err)\.write", text), path
        if path.name != "csv_file.py":
            assert not re.search(r"\bcsv\.(DictW|w)riter\(", text), path


FORMULAS = ["=HYPERLINK(1)", "+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "＝1", "''-x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_file.text_of([text], []), newline=""))
    assert row == ["'" + text] and csv_file.uncell(row[0]) == text


@given(st.text())
@settings(max_examples=300)
def test_every_text_comes_back(text: str) -> None:
    cell = csv_file.cell(text)
    assert csv_file.uncell(str(cell)) == text and not re.match(r"\s*[=+\-@]", str(cell))


def test_numbers_stay_numbers_and_lists_are_words() -> None:
    text = csv_file.text_of(["a", "b", "c", "d"], [[-0.5, None, (1, "x"), True]])
    assert text == "a,b,c,d\n-0.5,,1; x,True\n"


def test_captions_survive_the_spreadsheet(tmp_path: Path) -> None:
    captions = {"-a.png": "=HYPERLINK(1) woman", "b.png": "plain"}
    write_captions(tmp_path / "captions.csv", captions)
    assert "'=HYPERLINK" in (tmp_path / "captions.csv").read_text()
    assert read_captions(tmp_path / "captions.csv") == captions
