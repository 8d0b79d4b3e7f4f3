"""Downloads against a real server on its bad days: the right file, or nothing and the right words."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.hub import hub as hubs
from portrait_lora.hub.download import fetch_file
from portrait_lora.hub.hub import Hub
from tests.local_hub import LocalHub, serving

REPO = "maker/model"
SMALL, BIG = b'{"a": 1}', bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[LocalHub]:
    files = {"config.json": SMALL, "unet/weights.safetensors": BIG}
    with serving(LocalHub({REPO: files, "plain": {"pack.zip": BIG}})) as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda s: None)


def client(server: LocalHub, tmp_path: Path, **more: object) -> Hub:
    return Hub(server.address, tmp_path / "cache", wait_s=0.0, **more)  # type: ignore[arg-type]


def nothing_half_done(cache: Path) -> None:
    """No part files, and every file that is there is one of the two, whole."""
    files = [p for p in cache.rglob("*") if p.is_file() and "models--" in str(p) and ".locks" not in str(p)]
    for path in files:
        if "/blobs/" in str(path) or "/snapshots/" in str(path):
            assert path.read_bytes() in (SMALL, BIG), path
        assert ".incomplete" not in path.name


def test_a_branch_becomes_a_commit_and_every_file_is_verified(server: LocalHub, tmp_path: Path) -> None:
    hub = client(server, tmp_path)
    snapshot = hub.resolve(REPO)
    assert (snapshot.revision, snapshot.commit) == ("main", server.commit(REPO))
    folder, digests = hub.fetch(snapshot)
    assert (folder / "unet/weights.safetensors").read_bytes() == BIG
    assert digests == {
        "config.json": hashlib.sha256(SMALL).hexdigest(),
        "unet/weights.safetensors": hashlib.sha256(BIG).hexdigest(),
    }
    requests = len(server.log)
    assert hub.fetch(snapshot)[1] == digests
    assert len(server.log) == requests, "what is here is not asked for again"


def test_a_cut_connection_is_resumed(
    server: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    server.faults[f"{REPO}/unet/weights.safetensors"] = ["cut", "cut"]
    hub = client(server, tmp_path)
    folder, _ = hub.fetch(hub.resolve(REPO))
    assert (folder / "unet/weights.safetensors").read_bytes() == BIG
    ranges = [r for method, _, r in server.log if method == "GET" and r]
    assert ranges[0].startswith("bytes=") and ranges[0] != "bytes=0-"


@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_one_bad_response_is_retried(server: LocalHub, tmp_path: Path, fault: str) -> None:
    server.faults[f"{REPO}/unet/weights.safetensors"] = [fault]
    hub = client(server, tmp_path)
    folder, _ = hub.fetch(hub.resolve(REPO))
    assert (folder / "unet/weights.safetensors").read_bytes() == BIG


def test_bytes_that_stay_wrong_are_refused_and_removed(server: LocalHub, tmp_path: Path) -> None:
    server.faults[f"{REPO}/unet/weights.safetensors"] = ["wrong"] * 9
    hub = client(server, tmp_path)
    with pytest.raises(ArtifactError, match="not the one the hub announced") as caught:
        hub.fetch(hub.resolve(REPO))
    assert caught.value.exit_code == 1
    nothing_half_done(hub.cache)
    assert len(hub.missing(hub.resolve(REPO))) == 1


def test_a_file_that_stays_short_is_refused(server: LocalHub, tmp_path: Path) -> None:
    server.faults[f"{REPO}/unet/weights.safetensors"] = ["short"] * 40
    hub = client(server, tmp_path)
    with pytest.raises(PortraitError) as caught:
        hub.fetch(hub.resolve(REPO))
    assert caught.value.exit_code == 1
    nothing_half_done(hub.cache)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_trouble_passes(server: LocalHub, tmp_path: Path, status: int) -> None:
    server.faults[f"api:{REPO}"] = [status]
    server.faults[f"head:{REPO}/config.json"] = [status]
    server.faults[f"{REPO}/unet/weights.safetensors"] = [status]
    hub = client(server, tmp_path)
    folder, _ = hub.fetch(hub.resolve(REPO))
    assert (folder / "config.json").read_bytes() == SMALL


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 2, "hf auth login"),
        (403, 2, "hf auth login"),
        (404, 2, "no such model"),
        (429, 1, "fewer requests"),
        (500, 1, "complete files are kept"),
    ],
)
def test_a_lasting_failure_is_reported(
    server: LocalHub, tmp_path: Path, status: int, code: int, words: str
) -> None:
    server.faults[f"api:{REPO}"] = [status] * 9
    with pytest.raises(PortraitError, match=words) as caught:
        client(server, tmp_path).resolve(REPO)
    assert caught.value.exit_code == code
    server.faults.clear()
    hub = client(server, tmp_path)
    snapshot = hub.resolve(REPO)
    server.faults[f"{REPO}/unet/weights.safetensors"] = [status] * 40
    with pytest.raises(PortraitError) as caught:
        hub.fetch(snapshot)
    assert caught.value.exit_code in (1, 2)
    nothing_half_done(hub.cache)


def test_a_gated_model_names_the_page_and_the_command(server: LocalHub, tmp_path: Path) -> None:
    server.gated.add(REPO)
    hub = client(server, tmp_path)
    with pytest.raises(InputError, match=r"Accept it at http.*/maker/model, then .* hf auth login"):
        hub.fetch(hub.resolve(REPO))
    nothing_half_done(hub.cache)


def test_an_unknown_model_and_revision(server: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        client(server, tmp_path).resolve("maker/other")
    with pytest.raises(InputError, match="no such revision"):
        client(server, tmp_path).resolve(REPO, "v9")


def test_an_unreachable_hub_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="cannot be reached") as caught:
        Hub("http://127.0.0.1:9", tmp_path, wait_s=0.0).resolve(REPO)
    assert caught.value.exit_code == 1


def test_a_full_disk_is_seen_before_the_download(
    server: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = client(server, tmp_path)
    snapshot = hub.resolve(REPO)
    requests = len(server.log)
    usage = hubs.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(hubs.shutil, "disk_usage", lambda p: usage._replace(free=1000))
    with pytest.raises(PortraitError, match="not enough disk space"):
        hub.fetch(snapshot)
    assert len(server.log) == requests and not hub.cache.exists()


def test_names_that_lead_out_are_refused(server: LocalHub, tmp_path: Path) -> None:
    for name in ("../evil", "/etc/passwd", "a/../../b", "a\\..\\b"):
        server.repos["maker/evil"] = {name: SMALL}
        with pytest.raises(InputError, match="outside itself"):
            client(server, tmp_path).resolve("maker/evil")


def test_the_token_is_sent_and_never_shown(server: LocalHub, tmp_path: Path) -> None:
    hub = client(server, tmp_path, token="hf_secret")
    hub.fetch(hub.resolve(REPO))
    assert server.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in repr(hub)
    assert not any(b"hf_secret" in p.read_bytes() for p in hub.cache.rglob("*") if p.is_file())


def test_offline_opens_no_socket(server: LocalHub, tmp_path: Path) -> None:
    hub = client(server, tmp_path)
    snapshot = hub.resolve(REPO)
    hub.fetch(snapshot)
    code = f"""
import sys
sockets = []
sys.addaudithook(lambda event, args: sockets.append(event) if event.startswith("socket.") else None)
from pathlib import Path
from portrait_lora.errors import InputError
from portrait_lora.hub.hub import Hub, HubFile, Snapshot
hub = Hub.from_environment(offline=True)
hub = Hub({server.address!r}, Path({str(hub.cache)!r}), offline=hub.offline)
files = (HubFile("unet/weights.safetensors", {len(BIG)}, {hashlib.sha256(BIG).hexdigest()!r}, None),)
folder, _ = hub.fetch(Snapshot({REPO!r}, "main", {snapshot.commit!r}, files))
assert (folder / "unet/weights.safetensors").is_file()
for call in (lambda: hub.resolve({REPO!r}), lambda: hub.fetch(Snapshot({REPO!r}, "main", "0" * 40, files))):
    try:
        call()
    except InputError as error:
        assert "network is disabled" in str(error)
    else:
        raise SystemExit("not refused")
print(len(sockets))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr


def test_one_file_from_an_address(server: LocalHub, tmp_path: Path) -> None:
    url, sha = f"{server.address}/plain/pack.zip", hashlib.sha256(BIG).hexdigest()
    target = tmp_path / "pack.zip"
    target.with_name("pack.zip.part").write_bytes(BIG[:3000])
    server.faults["/plain/pack.zip"] = ["cut"]
    fetch_file(url, target, sha256=sha, size=len(BIG))
    assert target.read_bytes() == BIG
    assert server.log[0][2] == "bytes=3000-"
    target.unlink()
    server.faults["/plain/pack.zip"] = ["wrong"]
    with pytest.raises(ArtifactError, match="unexpected checksum"):
        fetch_file(url, target, sha256=sha, size=len(BIG))
    server.faults["/plain/pack.zip"] = ["short"]
    with pytest.raises(ArtifactError, match="unexpected size"):
        fetch_file(url, target, sha256=sha, size=len(BIG))
    assert list(tmp_path.iterdir()) == []
