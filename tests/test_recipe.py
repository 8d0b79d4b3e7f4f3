from pathlib import Path

import pytest

from portrait_lora import recipe
from portrait_lora.errors import InputError, PhotosError
from portrait_lora.likeness import Journal
from portrait_lora.synthetic import photos


def test_an_interrupted_photo_session_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make, calls = photos.make_reference_set, []

    def interrupted(seed: int, folder: Path) -> photos.ReferenceSet:
        calls.append(seed)
        folder.mkdir()
        (folder / "photo_01.jpg").write_bytes(b"half")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return make(seed, folder, good=1, bad=("unreadable",))

    monkeypatch.setattr(photos, "make_reference_set", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe._studio_photos(tmp_path, 3)
    assert recipe._studio_photos(tmp_path, 3) in ("man", "woman")
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["photo_01.jpg", "photo_02.jpg"]
    recipe._studio_photos(tmp_path, 3)
    assert calls == [3, 3]  # whole: not taken again


def test_init_refuses_an_empty_folder(tmp_path: Path):
    (tmp_path / "none").mkdir()
    with pytest.raises(PhotosError, match="0 files"):
        recipe.init(tmp_path / "me", tmp_path / "none")
    with pytest.raises(InputError, match="no such folder"):
        recipe.init(tmp_path / "me", tmp_path / "absent")
    assert not (tmp_path / "me").exists()


def test_the_journal_survives_damage(tmp_path: Path):
    journal = Journal.open(tmp_path)
    journal.record("check", {"a": "1"}, 2.0, {"x": 1})
    assert Journal.open(tmp_path).is_done("check", {"a": "1"})
    assert not Journal.open(tmp_path).is_done("check", {"a": "2"})
    (tmp_path / "stages.json").write_text('{"check": ')
    assert not Journal.open(tmp_path).is_done("check", {"a": "1"})
