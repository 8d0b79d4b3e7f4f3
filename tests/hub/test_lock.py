"""The lock says which bytes; other bytes are an error."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError
from portrait_lora.hub import lock as locks
from portrait_lora.hub.lock import Lock, LockedFile, LockedModel


def model(data: bytes = b"weights") -> LockedModel:
    file = LockedFile(hashlib.sha256(data).hexdigest(), len(data))
    return LockedModel("maker/model", "main", "a" * 40, {"unet/w.safetensors": file})


def test_what_is_written_is_read_back_in_the_same_bytes(tmp_path: Path) -> None:
    lock = Lock().with_model(model())
    first = locks.write(tmp_path, lock).read_bytes()
    assert locks.read(tmp_path) == lock
    assert locks.write(tmp_path, locks.read(tmp_path)).read_bytes() == first
    assert locks.read(tmp_path / "elsewhere") == Lock()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 9, "models": {}}',
        '{"format": 1, "models": {"m": {"asked": "main", "commit": "main", "files": {}}}}',
        '{"format": 1, "models": {"m": {"asked": "x", "commit": "%s", "files": {"f": {"size": 1}}}}}'
        % ("a" * 40),
    ],
)
def test_a_damaged_lock_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / locks.NAME).write_text(text)
    with pytest.raises(ArtifactError, match="lock cannot be read"):
        locks.read(tmp_path)


def test_changed_short_and_missing_files_are_reported(tmp_path: Path) -> None:
    path, memory = tmp_path / "unet" / "w.safetensors", tmp_path / "memory.json"
    with pytest.raises(ArtifactError, match="missing"):
        locks.verify(model(), tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"weights")
    locks.verify(model(), tmp_path, memory=memory)
    assert memory.is_file()
    for data in (b"weighty", b"weight", b"weights and more"):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match="differs from the locked one"):
            locks.verify(model(), tmp_path, memory=memory)


def test_a_file_is_hashed_once_per_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "unet" / "w.safetensors", tmp_path / "memory.json"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    locks.verify(model(), tmp_path, memory=memory)
    monkeypatch.setattr(locks.manifest, "sha256_file", lambda p: pytest.fail("hashed again"))
    locks.verify(model(), tmp_path, memory=memory)
