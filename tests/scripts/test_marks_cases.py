from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from scripts.evaluate import marks, marks_cases
from scripts.evaluate.marks_cases import Case, Cases
from scripts.rows import load


def test_a_stopped_measurement_goes_on_and_names_what_failed(tmp_path: Path):
    first = Cases(tmp_path / "rows.json", 3)
    first.add("marked", Case("noise", 128, 7, 5.0, 41.0, [1.0], missed=["WebP 60"]))
    first.add("unmarked", Case("texture", 99, 8, 0.0, 0.0, [1.0]))
    file = tmp_path / "rows.cases.jsonl"
    with file.open("a") as opened:
        opened.write('{"lot": "marked", "kind"')  # killed while it wrote
    again = Cases(tmp_path / "rows.json", 3)
    assert again.has("marked", 7)
    assert again.has("unmarked", 8)
    assert not again.has("marked", 8)
    again.add("marked", Case("noise", 128, 9, 5.0, 41.0, [1.0], wrong=["JPEG 75"]))
    assert [case.number for case in Cases(tmp_path / "rows.json", 3).of("marked")] == [7, 9]
    failed = (tmp_path / "rows.failed.txt").read_text()
    assert failed == "noise 128 px 7: WebP 60\nnoise 128 px 9: JPEG 75 (another mark)\n"


def test_cases_of_other_code_or_another_seed_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Cases(tmp_path / "rows.json", 3)
    with pytest.raises(InputError, match="other code or another seed"):
        Cases(tmp_path / "rows.json", 4)
    monkeypatch.setattr(marks_cases, "code_digest", lambda: "other")
    with pytest.raises(InputError, match="other code or another seed"):
        Cases(tmp_path / "rows.json", 3)


def test_a_run_notes_every_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(marks, "SIDES", (64,))
    monkeypatch.setattr(marks, "_RENDERS", 0.0)
    monkeypatch.setattr(marks, "EVERY", {False: 1})
    monkeypatch.setattr(marks, "MARKED", {False: 2})
    monkeypatch.setattr(marks, "UNMARKED", {False: 3})
    monkeypatch.setattr(marks, "unmarked", lambda seed, count: ((i, 64, "noise") for i in range(count)))
    few = {name: marks.spoiling.MEASURED[name] for name in ("untouched", "WebP 60")}
    monkeypatch.setattr(marks.spoiling, "MEASURED", few)
    monkeypatch.setattr(marks, "likeness", lambda *_: [])
    file = tmp_path / "rows.json"
    monkeypatch.setattr("sys.argv", ["marks", "--json", str(file), "--minutes", "0"])
    marks.main()
    assert {row["n"] for row in load(file) if str(row["name"]).startswith("all: recovered")} == {1}
    monkeypatch.setattr("sys.argv", ["marks", "--json", str(file)])
    marks.main()
    rows = {row["name"]: row for row in load(file)}
    assert rows["all: recovered, WebP 60"]["n"] == 2
    assert rows["64 px texture: recovered, untouched"]["n"] == 2
    assert rows["unmarked pictures read as marked"]["n"] == 3
    assert "2 marked" in capsys.readouterr().out
    monkeypatch.setattr(marks, "measured", None)  # a third run has nothing left to measure
    marks.main()
    assert len((tmp_path / "rows.cases.jsonl").read_text().splitlines()) == 1 + 2 + 3
