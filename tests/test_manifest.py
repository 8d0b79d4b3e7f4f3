import json
from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError


def make(folder: Path, text: str = "x", inputs: dict[str, str] | None = None) -> None:
    with manifest.writing(folder, kind="test", inputs=inputs or {"a": "1"}, extra={"note": 3}) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "f.txt").write_text(text)


def test_round_trip(tmp_path: Path):
    make(tmp_path / "out")
    verified = manifest.verify(tmp_path / "out")
    assert verified.kind == "test" and verified.extra == {"note": 3}
    assert list(verified.files) == ["sub/f.txt"]
    assert manifest.is_current(tmp_path / "out", {"a": "1"})
    assert not manifest.is_current(tmp_path / "out", {"a": "2"})
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_writer_leaves_the_old_folder_and_no_litter(tmp_path: Path):
    make(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), manifest.writing(tmp_path / "out", kind="test", inputs={}) as temporary:
        (temporary / "half").write_text("half")
        raise RuntimeError
    assert (tmp_path / "out" / "sub" / "f.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_rewriting_replaces(tmp_path: Path):
    make(tmp_path / "out", "old")
    make(tmp_path / "out", "new")
    assert (tmp_path / "out" / "sub" / "f.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_damage_is_seen(tmp_path: Path):
    make(tmp_path / "out")
    (tmp_path / "out" / "sub" / "f.txt").write_text("y")
    with pytest.raises(ArtifactError, match="was changed"):
        manifest.verify(tmp_path / "out")
    (tmp_path / "out" / "sub" / "f.txt").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        manifest.verify(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text('{"kind": ')
    with pytest.raises(ArtifactError, match="cannot be read"):
        manifest.verify(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="never finished"):
        manifest.verify(tmp_path / "out")
    assert not manifest.is_current(tmp_path / "out", {"a": "1"})


def test_the_digest_follows_content(tmp_path: Path):
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        make(tmp_path / name, text)
    a, b, c = (manifest.verify(tmp_path / n).digest for n in "abc")
    assert a == b != c


def test_an_unwritable_folder_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        manifest.make_folder(tmp_path / "file" / "below")


def test_json_is_atomic_and_strict(tmp_path: Path):
    path = tmp_path / "v.json"
    manifest.write_json_atomic(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.write_json_atomic(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["v.json"]
