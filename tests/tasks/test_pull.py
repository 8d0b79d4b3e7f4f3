"""A base from a hub, locked at first sight; then used without a connection, or not at all when changed."""

from __future__ import annotations

import errno
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.families import catalog, open_family
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.pinned import locked, pinned
from portrait_lora.families.rows import ROWS, row_of
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub
from portrait_lora.tasks import pull as pulling
from tests.local_hub import LocalHub, etag, serving
from tests.sampling import sampled
from tests.tiny_models import make_tiny_sd

REPO, FAST = "maker/tiny", "maker/tiny-fast"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository in the hub's layout, with what must not be taken beside it."""
    folder = make_tiny_sd(tmp_path_factory.mktemp("hub") / "tiny")
    contents = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    contents = {name: data for name, data in contents.items() if not name.startswith("source_tokenizer")}
    contents["unet/diffusion_pytorch_model.bin"] = b"pickle" * 1000
    contents["unet/diffusion_pytorch_model.fp16.safetensors"] = b"half" * 1000
    contents["README.md"] = b"# model"
    return contents


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """The tiny repository as a row of the catalogue."""
    family = row_of("sd15")
    sd15 = next(b for b in family.bases if b.name == "sd15")
    row = replace(sd15, name="tiny", repo=REPO, generate_repo=FAST, download_gb=0.001)
    monkeypatch.setitem(ROWS, "sd15", replace(family, bases=(*family.bases, row)))
    monkeypatch.setattr(time, "sleep", lambda s: None)
    return row


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[LocalHub]:
    with serving(LocalHub({REPO: dict(files), FAST: dict(files)})) as running:
        yield running


def client(server: LocalHub, tmp_path: Path) -> Hub:
    return Hub(server.address, tmp_path / "cache", wait_s=0.0)


def test_both_repositories_are_fetched_verified_and_locked(
    server: LocalHub, base: BaseModel, tmp_path: Path, files: dict[str, bytes]
) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    me.mkdir()
    assert [n.name for n in pulling.needs(["tiny"], me, hub)] == ["tiny"]
    assert server.log == [], "asking what is missing needs no connection"
    models = pulling.pull("tiny", me, hub)
    assert [m.source for m in models] == [REPO, FAST]
    lock = locks.read(me)
    assert lock.models[REPO].commit == server.commit(REPO)
    assert lock.models[REPO].revision == "main"
    taken = set(lock.models[REPO].files)
    assert taken == {n for n in files if not n.endswith((".bin", ".md")) and ".fp16." not in n}
    assert not any("fp16" in path or path.endswith(".bin") for _, path, _ in server.log)
    assert pulling.needs(["tiny"], me, hub) == []
    resolved = locked(base, me, hub)
    assert (resolved.revision, resolved.generate_revision) == (server.commit(REPO), server.commit(FAST))
    assert resolved.digest != base.digest


def test_a_moved_branch_changes_nothing(
    server: LocalHub, base: BaseModel, tmp_path: Path, files: dict[str, bytes]
) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    pulling.pull("tiny", me, hub)
    before = (me / locks.NAME).read_bytes()
    server.repos[REPO]["unet/config.json"] = b"{}"
    requests = len(server.log)
    pulling.pull("tiny", me, hub)
    assert (me / locks.NAME).read_bytes() == before
    assert len(server.log) == requests


def test_what_is_locked_is_used_offline_and_loads(server: LocalHub, base: BaseModel, tmp_path: Path) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    pulling.pull("tiny", me, hub)
    offline = replace(hub, offline=True, endpoint="http://127.0.0.1:9")
    pulling.pull("tiny", me, offline)
    model = locks.read(me).models[REPO]
    folder = hub.folder(REPO, model.commit)
    family = open_family(catalog.resolve_base(folder))
    family.load("encoders")
    assert family.encode_prompts(["a"]).embeds_BLD.shape[0] == 1
    with pytest.raises(InputError, match="network is disabled"):
        pulling.pull("tiny", tmp_path / "other", offline)


def test_changed_weights_are_refused_before_training(
    server: LocalHub, base: BaseModel, tmp_path: Path
) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    pulling.pull("tiny", me, hub)
    weights = hub.folder(REPO, server.commit(REPO)) / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.resolve().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="differs from the locked one"):
        locked(base, me, hub)
    pulling.pull("tiny", me, hub)  # mends it
    assert weights.read_bytes() == data
    locked(base, me, hub)


@pytest.mark.parametrize(
    ("trouble", "words"),
    {
        "gated": "must be accepted",
        "wrong": "not the one the hub announced",
        "no safetensors": "no safetensors weights",
        "remote code": "code of its own",
        "half": "file cut short",
    }.items(),
)
def test_a_failed_pull_locks_nothing(
    server: LocalHub, base: BaseModel, tmp_path: Path, trouble: str, words: str
) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    weights = "unet/diffusion_pytorch_model.safetensors"
    if trouble == "gated":
        server.gated.add(FAST)
    elif trouble == "wrong":
        server.faults[f"{FAST}/{weights}"] = ["wrong"] * 9
    elif trouble == "no safetensors":
        del server.repos[FAST][weights], server.repos[FAST]["unet/diffusion_pytorch_model.fp16.safetensors"]
    elif trouble == "remote code":
        index = server.repos[FAST]["model_index.json"]
        server.repos[FAST]["model_index.json"] = index.replace(b'"diffusers"', b'"my_code"', 1)
    else:
        server.repos[FAST][weights] = server.repos[FAST][weights][:-100]
    with pytest.raises(PortraitError, match=words):
        pulling.pull("tiny", me, hub)
    assert locks.read(me).models == {}


WEIGHTS, INDEX = f"{REPO}/unet/diffusion_pytorch_model.safetensors", f"{REPO}/model_index.json"
TROUBLES: dict[str, tuple[str, str | int, int, str]] = {
    "repository 401": (f"api:{REPO}", 401, 2, "hf auth login"),
    "repository 403": (f"api:{REPO}", 403, 2, "hf auth login"),
    "repository 404": (f"api:{REPO}", 404, 2, "no such model"),
    "repository 429": (f"api:{REPO}", 429, 1, "fewer requests"),
    "repository 500": (f"api:{REPO}", 500, 1, "internal error"),
    "index 403": (f"head:{INDEX}", 403, 2, "hf auth login"),
    "index 500": (f"head:{INDEX}", 500, 1, "internal error"),
    "weights' head 401": (f"head:{WEIGHTS}", 401, 2, "hf auth login"),
    "weights' head 404": (f"head:{WEIGHTS}", 404, 2, "no such model"),
    "weights' head 429": (f"head:{WEIGHTS}", 429, 1, "fewer requests"),
    "weights 401": (WEIGHTS, 401, 2, "hf auth login"),
    "weights 403": (WEIGHTS, 403, 2, "hf auth login"),
    "weights 404": (WEIGHTS, 404, 2, "no such model"),
    "weights 429": (WEIGHTS, 429, 1, "fewer requests"),
    "weights 500": (WEIGHTS, 500, 1, "internal error"),
    "weights always cut": (WEIGHTS, "cut", 1, "cannot be reached"),
    "weights always wrong": (WEIGHTS, "wrong", 1, "not the one the hub announced"),
    "weights always short": (WEIGHTS, "short", 1, "size of the downloaded file differs"),
}
SAMPLED_TROUBLES = {
    "repository 401", "repository 404", "repository 429", "repository 500", "index 403", "weights' head 404",
    "weights 403", "weights 500", "weights always cut", "weights always wrong", "weights always short",
}  # fmt: skip
"""Every place, every status and every kind of damage once; `--exhaustive` has them all."""


def whole(hub: Hub, files: dict[str, bytes]) -> None:
    """What is in the cache is whole files of this model, or nothing."""
    for path in hub.cache.rglob("*"):
        assert not path.name.endswith(".incomplete"), path
        if path.is_file() and {"blobs", "snapshots"} & set(path.parts):
            assert path.read_bytes() in files.values(), path


@pytest.mark.parametrize("trouble", sampled(TROUBLES, kept=lambda trouble: trouble in SAMPLED_TROUBLES))
def test_every_trouble_ends_in_words_and_whole_files_and_passes(
    trouble: str, server: LocalHub, base: BaseModel, tmp_path: Path, files: dict[str, bytes]
) -> None:
    hub, me = client(server, tmp_path), tmp_path / "me"
    where, what, code, words = TROUBLES[trouble]
    server.faults[where] = [what] * 60
    with pytest.raises(PortraitError, match=words) as caught:
        pulling.pull("tiny", me, hub)
    assert caught.value.exit_code == code
    assert not (me / locks.NAME).exists()
    whole(hub, files)
    server.faults.clear()
    pulling.pull("tiny", me, hub)
    model = locks.read(me).models[REPO]
    folder = hub.folder(REPO, model.commit)
    assert {n: (folder / n).read_bytes() for n in model.files} == {n: files[n] for n in model.files}


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    server: LocalHub,
    base: BaseModel,
    tmp_path: Path,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    hub, me, real = client(server, tmp_path), tmp_path / "me", huggingface_hub.hf_hub_download

    def full(repo: str, name: str, **options: Any) -> str:
        if not name.endswith(".safetensors"):
            return real(repo, name, **options)
        blobs = hub.cache / f"models--{repo.replace('/', '--')}" / "blobs"
        (blobs / f"{etag(files[name])}.0.incomplete").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(blobs))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(PortraitError, match="the disk is full") as caught:
        pulling.pull("tiny", me, hub)
    assert caught.value.exit_code == 1 and not (me / locks.NAME).exists()
    whole(hub, files)


def test_a_mirror_and_a_token_come_from_the_environment(
    server: LocalHub, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    pulling.pull("tiny", tmp_path / "me", Hub.from_environment())
    assert server.tokens == {"Bearer hf_mine"}
    assert (tmp_path / "elsewhere" / "models--maker--tiny").is_dir()
    assert "hf_mine" not in (tmp_path / "me" / locks.NAME).read_text()


def test_a_captioning_model_is_a_download_too(tmp_path: Path) -> None:
    hub = Hub("https://hub", tmp_path / "cache")
    assert pulling.captioner_need("attributes", "", hub) == []
    (need,) = pulling.captioner_need("blip", "", hub)
    assert need.name == "Salesforce/blip-image-captioning-base" and need.gigabytes == 1.0
    (own,) = pulling.captioner_need("florence2", "me/mine", hub)
    assert own.name == "me/mine" and math.isnan(own.gigabytes)
    assert pulling.captioner_need("blip", str(tmp_path), hub) == []
    snapshot = hub.folder(need.name, "0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert pulling.captioner_need("blip", "", hub) == []


def test_names_that_need_no_download(base: BaseModel, tmp_path: Path) -> None:
    hub = Hub("http://127.0.0.1:9", tmp_path / "cache")
    for name in ("embedded", str(tmp_path)):
        assert pulling.pull(name, tmp_path, hub) == []
    with pytest.raises(InputError, match="Did you mean 'tiny'"):
        pulling.pull("tinny", tmp_path, hub)
    with pytest.raises(InputError, match="face_pack: embedded"):
        pulling.pull("synthetic", tmp_path, hub)
    assert pinned(catalog.resolve_base("embedded"), locks.Lock()) == catalog.resolve_base("embedded")


def test_the_command_says_gated_with_page_and_exit_code(server: LocalHub, tmp_path: Path) -> None:
    server.repos["stabilityai/stable-diffusion-3.5-medium"] = {"model_index.json": b"{}"}
    server.gated.add("stabilityai/stable-diffusion-3.5-medium")
    env = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin"}
    command = [sys.executable, "-m", "portrait_lora.cli", "pull", "sd35-medium", "--into", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2, done.stderr
    assert "To be downloaded:" in done.stderr and "  sd35-medium: about " in done.stderr
    page = f"{server.address}/stabilityai/stable-diffusion-3.5-medium"
    assert page in done.stderr and "hf auth login" in done.stderr
    assert not (tmp_path / locks.NAME).exists()
    offline = subprocess.run([*command, "--offline"], capture_output=True, text=True, env=env)
    assert offline.returncode == 2 and "network is disabled" in offline.stderr
    assert "To be downloaded" not in offline.stderr
