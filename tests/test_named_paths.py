"""Words of users and files of strangers that name other places: refused, and every file is still there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.hub import lock
from portrait_lora.hub.hub import Hub, HubFile, Snapshot, as_locked
from portrait_lora.likeness import open_likeness, series_name
from tests.tasks.made_up import make_likeness
from tests.test_nothing_lost import photograph


@pytest.mark.parametrize("run", ["..", ".", "", "a/b", "/tmp", ".hidden", "a b", "x" * 101])
def test_a_run_is_a_folder_below_adapters(tmp_path: Path, run: str) -> None:
    folder = make_likeness(tmp_path / "anna")
    before = photograph(tmp_path)
    with pytest.raises(ConfigError):
        open_likeness(folder, [f"run={run}"])
    assert photograph(tmp_path) == before


@pytest.mark.parametrize("file", ["...yaml", "....yaml", ".hidden.yaml"])
def test_a_series_is_a_folder_below_portraits(tmp_path: Path, file: str) -> None:
    opened = open_likeness(make_likeness(tmp_path / "anna"))
    with pytest.raises(InputError, match="not a name"):
        opened.portraits(series_name(file))


def test_a_strangers_lock_names_nothing_outside_the_cache(tmp_path: Path) -> None:
    mine = tmp_path / "mine.bin"
    mine.write_bytes(b"12345")
    folder, cache = tmp_path / "theirs", tmp_path / "cache"
    folder.mkdir()
    for name in (str(mine), "../../../../mine.bin", "a/../../mine.bin", "..\\mine.bin", "C:mine.bin", ""):
        one = {"sha256": "0" * 64, "size": 5}
        model = {"asked": "main", "commit": "0" * 40, "files": {name: one}}
        (folder / lock.NAME).write_text(json.dumps({"format": 1, "models": {"a/b": model}}))
        with pytest.raises(ArtifactError, match="lock"):
            lock.read(folder)
        snapshot = Snapshot("a/b", "main", "0" * 40, (HubFile(name, 5, "0" * 64, None),))
        with pytest.raises(InputError, match="outside itself"):
            Hub("http://localhost:9", cache, offline=True).fetch(snapshot)
    assert mine.read_bytes() == b"12345"


@pytest.mark.parametrize("offline", [True, False])
def test_a_wrong_lock_takes_no_whole_file_out_of_the_shared_cache(tmp_path: Path, offline: bool) -> None:
    import hashlib

    data = b"weights of another program"
    sha256 = hashlib.sha256(data).hexdigest()
    hub = Hub("http://localhost:9", tmp_path, offline=offline)
    blob = tmp_path / "models--a--b" / "blobs" / sha256
    link = hub.folder("a/b", "0" * 40) / "w.safetensors"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    blob.write_bytes(data)
    link.symlink_to(blob)
    locked = lock.LockedModel(
        "a/b", "main", "0" * 40, {"w.safetensors": lock.LockedFile("f" * 64, len(data))}
    )
    with pytest.raises(ArtifactError, match="It was kept"):
        hub.fetch(as_locked(locked))
    assert link.read_bytes() == data
