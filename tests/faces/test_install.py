"""Known packs: fetched from where they lie, verified, in place at once; other bytes are no such pack."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.faces import catalog, packs, resolve_pack, table
from portrait_lora.faces import install as installing
from portrait_lora.faces.catalog import Embedder, KnownPack, Network, Source, packs_home
from portrait_lora.faces.install import install, installed
from portrait_lora.hub.hub import Hub
from tests.faces.tiny_opencv import write_embedder, write_yunet
from tests.local_hub import LocalHub, serving


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(time, "sleep", lambda s: None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalHub]:
    det = write_yunet(tmp_path / "det.onnx").read_bytes()
    one = write_embedder(tmp_path / "one.onnx", 1).read_bytes()
    two = write_embedder(tmp_path / "two.onnx", 2).read_bytes()
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.write(tmp_path / "two.onnx", "pack/two.onnx")
    repos = {"cv/det": {"det.onnx": det}, "maker/one": {"one.onnx": one}}
    repos["plain"] = {"pack.zip": (tmp_path / "pack.zip").read_bytes(), "two": two}
    with serving(LocalHub(repos)) as running:
        yield running


def network(data: bytes, source: Source, path: str) -> Network:
    return Network(source, path, hashlib.sha256(data).hexdigest(), len(data), "MIT", "yes")


@pytest.fixture
def pack(server: LocalHub, monkeypatch: pytest.MonkeyPatch) -> KnownPack:
    """A known pack of tiny networks: two on the hub, one in a zip at an address."""
    archive = server.repos["plain"]["pack.zip"]
    zipped = Source(f"{server.address}/plain/pack.zip", hashlib.sha256(archive).hexdigest(), len(archive))
    monkeypatch.setattr(Source, "is_archive", property(lambda s: s.where.startswith("http")))
    on_hub = {repo: Source(repo, server.commit(repo)) for repo in ("cv/det", "maker/one")}
    det = network(server.repos["cv/det"]["det.onnx"], on_hub["cv/det"], "det.onnx")
    one = network(server.repos["maker/one"]["one.onnx"], on_hub["maker/one"], "one.onnx")
    two = network(server.repos["plain"]["two"], zipped, "pack/two.onnx")
    known_pack = KnownPack(
        "tiny",
        "opencv",
        det,
        None,
        Embedder(one, "one", "sface", 0.4, "made up"),
        Embedder(two, "two", "arcface", 0.5, "made up"),
    )
    for module in (catalog, packs, table):
        monkeypatch.setattr(module, "KNOWN", {"tiny": known_pack})
    return known_pack


def client(server: LocalHub, tmp_path: Path) -> Hub:
    return Hub(server.address, tmp_path / "cache", wait_s=0.0)


def test_a_pack_is_fetched_once_and_locked(server: LocalHub, pack: KnownPack, tmp_path: Path) -> None:
    assert installed(pack) is None
    with pytest.raises(InputError, match="portrait-lora pull tiny"):
        resolve_pack("tiny")
    locked = install(pack, client(server, tmp_path))
    assert [m.source for m in locked] == [n.source.where for n in (pack.detector, pack.select.network)] + [
        pack.report.network.source.where
    ]
    resolved = resolve_pack("tiny")
    assert (resolved.backend, resolved.calibrated, resolved.threshold("select")) == ("opencv", False, 0.4)
    assert resolved.folder == packs_home() / "tiny"
    requests = len(server.log)
    install(pack, client(server, tmp_path))
    assert len(server.log) == requests
    assert sorted(p.name for p in packs_home().iterdir()) == ["tiny"]


@pytest.mark.parametrize(
    "trouble",
    [
        {"/plain/pack.zip": ["wrong"] * 9},
        {"/plain/pack.zip": ["short"] * 9},
        {"/plain/pack.zip": [404] * 9},
        {"maker/one/one.onnx": ["wrong"] * 9},
        {"head:cv/det/det.onnx": [500] * 40},
    ],
)
def test_a_failed_fetch_leaves_no_pack(
    server: LocalHub, pack: KnownPack, tmp_path: Path, trouble: dict[str, list[str | int]]
) -> None:
    server.faults.update(trouble)
    with pytest.raises(PortraitError):
        install(pack, client(server, tmp_path))
    assert installed(pack) is None
    assert [p for p in packs_home().iterdir() if not p.name.endswith(".part")] == []
    server.faults.clear()
    install(pack, client(server, tmp_path))
    assert installed(pack)


def test_an_archive_fetched_by_hand_is_taken_when_its_bytes_are_right(
    server: LocalHub, pack: KnownPack, tmp_path: Path
) -> None:
    by_hand = tmp_path / "pack.zip"
    install(pack, client(server, tmp_path), by_hand)
    assert not any("/plain/" in path for _, path, _ in server.log)
    assert by_hand.is_file()


def test_offline_names_the_way_out(server: LocalHub, pack: KnownPack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="network is disabled"):
        install(pack, replace(client(server, tmp_path), offline=True))
    assert server.log == []


def test_other_bytes_under_a_known_name_are_refused(
    server: LocalHub, pack: KnownPack, tmp_path: Path
) -> None:
    install(pack, client(server, tmp_path))
    folder = packs_home() / "tiny"
    other = write_embedder(folder / installing.REPORT, 9)
    with pytest.raises(ArtifactError, match="modified"):
        resolve_pack("tiny")
    description = json.loads((folder / "pack.json").read_text())
    description["files"][installing.REPORT] = hashlib.sha256(other.read_bytes()).hexdigest()
    (folder / "pack.json").write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match="not the face pack tiny"):
        resolve_pack("tiny")


def test_a_folder_of_that_name_in_the_working_directory_is_refused(
    server: LocalHub, pack: KnownPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(pack, client(server, tmp_path))
    (tmp_path / "work" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(InputError, match="working directory"):
        resolve_pack("tiny")


def test_one_network_may_not_both_choose_and_judge(server: LocalHub, pack: KnownPack, tmp_path: Path) -> None:
    install(replace(pack), client(server, tmp_path))
    folder = packs_home() / "tiny"
    description = json.loads((folder / "pack.json").read_text())
    (folder / installing.REPORT).write_bytes((folder / installing.SELECT).read_bytes())
    description["files"][installing.REPORT] = description["files"][installing.SELECT]
    (folder / "pack.json").write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match="same network"):
        resolve_pack("tiny")


def test_the_table_says_what_each_pack_can_check() -> None:
    rows = {str(r["name"]): r for r in table.pack_table()}
    assert set(rows) == {"embedded", "auraface", "sface", "buffalo_l", "antelopev2"}
    assert rows["auraface"]["commercial"] == rows["sface"]["commercial"] == "yes"
    assert rows["buffalo_l"]["commercial"] == rows["antelopev2"]["commercial"] == "no"
    assert "pose" in rows["buffalo_l"]["can_check"] and "pose" not in rows["auraface"]["can_check"]
    lines = table.pack_lines(list(rows.values()))
    cells = {line.split()[0]: line.split()[5:] for line in lines[1:6]}  # after name, with, sell?, MB, here
    heads = lines[0].split()[-len(cells["auraface"]) :]
    assert dict(zip(heads, cells["auraface"], strict=True))["pose"] == "-"
    assert dict(zip(heads, cells["buffalo_l"], strict=True))["pose"] == "yes"
    assert dict(zip(heads, cells["sface"], strict=True))["strangers"] == "*"


def test_the_known_packs_pair_two_networks_and_pin_every_byte() -> None:
    for known_pack in catalog.KNOWN.values():
        assert known_pack.select.network.sha256 != known_pack.report.network.sha256
        assert known_pack.select.id != known_pack.report.id
        for one in known_pack.networks:
            assert len(one.sha256) == 64 and len(one.source.commit) in (40, 64) and one.size > 0
        assert {n.commercial for n in known_pack.networks} == {known_pack.commercial}
