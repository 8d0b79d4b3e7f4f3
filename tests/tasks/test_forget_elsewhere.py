"""Outside its folder `forget` removes only what the user's own record says was written there."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portrait_lora.cli import app
from portrait_lora.errors import InputError
from portrait_lora.families.catalog import resolve_base
from portrait_lora.likeness import open_likeness
from portrait_lora.rights import consent
from portrait_lora.tasks import outside
from portrait_lora.tasks.export import export
from portrait_lora.tasks.forget import forget, survey
from tests.tasks import made_up
from tests.tasks.made_up import noise

RUN = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def make_likeness(root: Path) -> Path:
    """One whose person has agreed: what is published and exported needs that."""
    folder = made_up.make_likeness(root)
    consent.write(folder, consent.of_subject("Anna", dt.date.today()))
    return folder


def export_to(folder: Path, out: Path, name: str = "likeness") -> None:
    export(open_likeness(folder), resolve_base("embedded"), "kohya", out, name=name)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_strangers_note_removes_nothing(tmp_path: Path) -> None:
    folder, mine = make_likeness(tmp_path / "theirs"), tmp_path / "mine"
    mine.mkdir()
    shutil.copy(folder / "adapters/main/adapter.safetensors", mine / "a.safetensors")
    shutil.copy(folder / "photos/anna_0.png", mine)
    for value in ([str(mine)], {"id": "0" * 32, "folders": [str(mine)]}):
        (folder / outside.NOTED).write_text(json.dumps(value))
        assert str(mine) in RUN.invoke(app, ["forget", str(folder), "--yes"]).output
        assert names(mine) == ["a.safetensors", "anna_0.png"]
        shutil.rmtree(folder)
        make_likeness(folder)


def test_originals_stay_where_copies_were_published(tmp_path: Path) -> None:
    folder, originals = make_likeness(tmp_path / "anna"), tmp_path / "originals"
    shutil.copytree(folder / "photos", originals)
    before = {p.name: p.read_bytes() for p in originals.iterdir()}
    portraits = [str(p) for p in sorted((folder / "portraits/headshots").glob("*.png"))]
    result = RUN.invoke(app, ["publish", *portraits, "--out", str(originals)])
    assert result.exit_code == 0 and len(names(originals)) == 5
    shown = RUN.invoke(app, ["forget", str(folder), "--photos", "--yes"])
    assert {p.name: p.read_bytes() for p in originals.iterdir()} == before
    assert str(originals / "portrait-001.jpg") in shown.output, "what was written there is listed, and goes"
    assert "anna_0.png" in shown.output and "unless --copies" in shown.output
    assert "base64" in shown.output and "git objects" in shown.output


def test_exports_go_as_written_and_stay_when_changed(tmp_path: Path) -> None:
    folder, out = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    export_to(folder, out, "one")
    export_to(folder, out, "two")
    with (out / "two.json").open("a") as stream:
        stream.write("\n")
    seen = survey(folder, photos=False)
    assert sorted(r.path.name for r in seen.written) == ["one.json", "one.safetensors", "two.safetensors"]
    del seen
    receipt = forget(folder, photos=False)
    assert names(out) == ["two.json"] and receipt["changed_elsewhere"] == 1
    assert [row.path.name for row in outside.everything()] == ["two.json"]


def test_a_folder_that_was_moved_still_finds_its_exports(tmp_path: Path) -> None:
    folder, out = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    export_to(folder, out)
    shutil.copytree(folder, tmp_path / "copy")
    forget(tmp_path / "copy", photos=True)
    assert names(out) == ["likeness.json", "likeness.safetensors"], "those of the other folder, still there"
    forget(folder.rename(tmp_path / "moved"), photos=True)
    assert names(out) == []


def test_an_export_replaces_nothing_of_others(tmp_path: Path) -> None:
    folder, out = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    out.mkdir()
    (out / "likeness.safetensors").write_text("somebody's")
    with pytest.raises(InputError, match="name is taken"):
        export_to(folder, out)
    assert (out / "likeness.safetensors").read_text() == "somebody's" and names(out) == [
        "likeness.safetensors"
    ]
    export_to(folder, out, "mine")
    export_to(folder, out, "mine")
    inside = folder / "exports" / "kohya"
    inside.mkdir(parents=True)
    (inside / "likeness.json").write_text("notes")
    export_to(folder, inside)
    assert (inside / "likeness.json.kept-1").read_text() == "notes"


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    folder, out = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    export_to(folder, out)
    for text in ("[" * 200_000, "{}", '[{"file": 3}]', "\x00"):
        outside.state_file().write_text(text)
        assert outside.everything() == []
    forget(folder, photos=True)
    assert names(out) == ["likeness.json", "likeness.safetensors"]


def test_a_resized_and_resaved_copy_is_found_and_needs_confirmation(tmp_path: Path) -> None:
    from PIL import Image, ImageFilter

    folder = make_likeness(tmp_path / "anna")
    for i in range(3):  # pictures with shapes: noise has nothing that survives
        smooth = noise(40 + i, 24).resize((480, 600)).filter(ImageFilter.GaussianBlur(12))
        smooth.save(folder / "photos" / f"anna_{i}.png")
    other, mine = noise(99, 24).resize((480, 600)).filter(ImageFilter.GaussianBlur(12)), tmp_path / "mine"
    mine.mkdir()
    other.save(mine / "other.jpg")
    with Image.open(folder / "photos" / "anna_1.png") as photo:
        photo.convert("RGB").resize((240, 300)).save(mine / "small.jpg", quality=80)
        photo.convert("RGB").save(folder / "again.webp", quality=85)
    seen = survey(folder, photos=True, also=[mine])
    assert sorted(p.name for p in seen.alike) == ["again.webp", "small.jpg"]
    del seen
    receipt = forget(folder, photos=True, also=[mine])
    assert (
        receipt["copies_left"] == 2 and (mine / "small.jpg").is_file() and (folder / "again.webp").is_file()
    )


def test_copies_of_kept_photos_need_no_confirmation(tmp_path: Path) -> None:
    from PIL import Image, ImageFilter

    folder, mine = make_likeness(tmp_path / "anna"), tmp_path / "mine"
    mine.mkdir()
    smooth = noise(40, 24).resize((480, 600)).filter(ImageFilter.GaussianBlur(12))
    smooth.save(folder / "photos" / "anna_0.png")
    smooth.save(folder / "dataset" / "train" / "crop.png")
    smooth.resize((240, 300)).save(mine / "small.jpg")
    assert survey(folder, photos=False, also=[mine]).alike == []
    assert len(survey(folder, photos=True, also=[mine]).alike) == 1
    with Image.open(mine / "small.jpg") as kept:
        assert kept.size == (240, 300)
