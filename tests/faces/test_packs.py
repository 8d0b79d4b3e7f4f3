"""A pack is what its pack.json says, byte for byte, or it is refused before insightface sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import packs
from portrait_lora.faces.packs import LandmarkHead, resolve_pack
from tests.faces.tiny_pack import copy_pack


def edit(folder: Path, change: dict[str, Any]) -> None:
    file = folder / packs.PACK_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change), encoding="utf-8")


def test_a_pack_names_its_models_and_thresholds(tiny_pack: Path) -> None:
    pack = resolve_pack(str(tiny_pack))
    assert pack.synthetic
    assert pack.path(pack.embedder_select).is_file()
    assert pack.embedder_ids["select"] != pack.embedder_ids["report"]
    assert (pack.threshold("select"), pack.threshold()) == (0.4, 0.5)
    assert pack.digest == resolve_pack(str(tiny_pack)).digest


def test_digest_follows_the_files(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    edit(other, {"det_thresh": 0.31})
    assert resolve_pack(str(other)).digest != resolve_pack(str(tiny_pack)).digest


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such face pack"):
        resolve_pack(str(tmp_path / "nowhere"))


def test_a_folder_without_pack_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pack\.json"):
        resolve_pack(str(tmp_path))


def test_a_changed_file_is_an_error(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    file = other / "w_embedder_a.onnx"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match=r"w_embedder_a.onnx: .* modified: got sha256"):
        resolve_pack(str(other))


def test_a_missing_file_is_an_error(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    (other / "det_synthetic.onnx").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        resolve_pack(str(other))


def test_an_unnamed_model_is_refused(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    (other / "a_first.onnx").write_bytes(b"anything")
    with pytest.raises(ArtifactError, match="unlisted model"):
        resolve_pack(str(other))


def test_a_v2_manifest_is_refused(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    (other / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json"):
        resolve_pack(str(other))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format": 99}, InputError, "format 1"),
        ({"files": {}}, InputError, "lists no files"),
        ({"models": {}}, ArtifactError, "missing or malformed"),
        ({"thresholds": {}}, ArtifactError, "missing or malformed"),
        ({"det_size_px": "wide"}, ArtifactError, "missing or malformed"),
    ],
)
def test_a_wrong_pack_json_is_an_error(
    tiny_pack: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    edit(other, change)
    with pytest.raises(error, match=words):
        resolve_pack(str(other))


def test_broken_json_is_an_error(tiny_pack: Path, tmp_path: Path) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    (other / packs.PACK_FILE).write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        resolve_pack(str(other))


def test_a_head_survives_json(tiny_pack: Path) -> None:
    head = resolve_pack(str(tiny_pack)).pose_calibration
    assert head is not None
    assert LandmarkHead.from_json(json.loads(json.dumps(head.to_json()))) == head


@pytest.mark.parametrize("value", ["nose", 3])
def test_an_unknown_alignment_is_an_error(tiny_pack: Path, tmp_path: Path, value: object) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    edit(other, {"align": value})
    with pytest.raises(ArtifactError, match="align"):
        resolve_pack(str(other))


def test_the_former_name_of_the_embedded_pack_is_an_error_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="another name now") as caught:
        resolve_pack("synthetic")
    assert caught.value.needed == "'embedded'" and "face_pack: embedded" in str(caught.value.remedy)
