"""Two processes fetch one model into one cache: neither takes the other's half-done files away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portrait_lora.errors import InputError
from portrait_lora.hub import cache_locks as hub_locks
from portrait_lora.hub.hub import Hub
from tests import local_hub
from tests.local_hub import LocalHub, etag, serving

REPO = "maker/model"
PARTS = {f"unet/part{i}.safetensors": os.urandom(60_000) for i in range(3)}
FILES = PARTS | {"model_index.json": b"{}", "scheduler/scheduler_config.json": b'{"a": 1}'}
FETCH = """
import json, sys
from pathlib import Path
from portrait_lora.hub.hub import Hub
hub = Hub(sys.argv[1], Path(sys.argv[2]), wait_s=0.05)
snapshot = hub.resolve(sys.argv[3])
snapshot = snapshot.only(sys.argv[4:]) if sys.argv[4:] else snapshot
print(json.dumps(hub.fetch(snapshot)[1]))
"""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Every large file takes about 0.8 s."""

    def trickle(self: Any, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self._head(status, len(data), headers)
        for start in range(0, len(data) if body else 0, step := max(1, len(data) // 8)):
            self.wfile.write(data[start : start + step])
            self.wfile.flush()
            time.sleep(0.1 if len(data) > 1000 else 0.0)

    monkeypatch.setattr(local_hub._Handler, "_bytes", trickle)
    with serving(LocalHub(repos={REPO: dict(FILES)})) as hub:
        yield hub


def start(hub: LocalHub, cache: Path, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, hub.address, str(cache), REPO, *names], text=True,
        env=os.environ | {"HF_HUB_DISABLE_XET": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_both_end_with_whole_files_and_each_is_fetched_once(slow: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "models--maker--model" / "blobs").mkdir(parents=True)
    left = tmp_path / "models--maker--model" / "blobs" / f"{etag(next(iter(PARTS.values())))}.9.incomplete"
    left.write_bytes(b"of a download that was killed")
    runs = [
        start(slow, tmp_path),
        start(slow, tmp_path),
        start(slow, tmp_path, "scheduler/scheduler_config.json"),
    ]
    answers = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], answers
    assert json.loads(answers[0][0]) == json.loads(answers[1][0]) and len(json.loads(answers[0][0])) == 5
    downloads = [path for kind, path, _ in slow.log if kind == "GET" and path.endswith(".safetensors")]
    assert len(downloads) == len(set(downloads)) == len(PARTS)
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_half_that_somebody_is_writing_stays(tmp_path: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    lock = tmp_path / ".locks" / "abc.lock"
    lock.parent.mkdir()
    own, other = tmp_path / "abc.1.incomplete", tmp_path / "another.2.incomplete"
    own.write_bytes(b"half"), other.write_bytes(b"half")
    with WeakFileLock(lock):
        hub_locks.sweep(tmp_path, "abc", lock)
        assert own.exists()
    hub_locks.sweep(tmp_path, "abc", lock)
    assert not own.exists() and other.exists()


@pytest.mark.parametrize(
    "address", ["huggingface.co", "hf-mirror.example:8080/x", "htps://a", "", "https://"]
)
def test_an_endpoint_without_a_scheme_is_refused_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda s: pytest.fail("tried again"))
    with pytest.raises(InputError, match="HF_ENDPOINT is not a URL"):
        Hub(address, tmp_path).resolve(REPO)
