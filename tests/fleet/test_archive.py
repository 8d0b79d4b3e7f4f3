"""Archives that people send, and those that nobody should unpack."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.fleet import archive
from portrait_lora.fleet.enrol import enrol
from tests.fleet.folders import SETTINGS, listed, picture, pictures

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return path


def tarred(path: Path, members: Mapping[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as opened:  # pyright: ignore
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
            opened.addfile(info, io.BytesIO(data if isinstance(data, bytes) else b""))
    return path


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(path: Path) -> list[str]:
    folder = path.parent / "out"
    folder.mkdir()
    archive.extract(path, folder)
    return sorted(p.name for p in folder.iterdir())


MEMBERS = {"Photos of Anna/1.png": PNG, "Photos of Anna/2.PNG": PNG, "Photos of Anna/1.txt": b"a woman"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "A.TAR.GZ", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("top", ["", "Photos of Anna/"])
def test_one_folder_inside_is_taken(tmp_path: Path, name: str, top: str) -> None:
    clutter = {
        "__MACOSX/Photos of Anna/._1.png": PNG,
        ".DS_Store": b"x",
        f"{top}.hidden.png": PNG,
        "readme.pdf": b"x",
    }
    members = {key.replace("Photos of Anna/", top): data for key, data in MEMBERS.items()} | clutter
    modes = {"tar": "w", "tgz": "w:gz", "gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}
    ending = name.lower().rpartition(".")[2]
    path = tmp_path / name
    made_of = zipped(path, members) if ending == "zip" else tarred(path, members, modes[ending])
    assert unpacked(made_of) == ["1.png", "1.txt", "2.PNG"]


BAD_NAMES = ("../1.png", "/1.png", "a/../../1.png", "C:\\1.png", "..\\1.png")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_nothing_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    for path in (
        zipped(tmp_path / "a.zip", {"0.png": PNG, name: PNG}),
        tarred(tmp_path / "a.tgz", {"0.png": PNG, name: PNG}),
    ):
        folder = tmp_path / path.suffix
        folder.mkdir()
        with pytest.raises(InputError, match="outside its folder"):
            archive.extract(path, folder)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(InputError, match="a link or a device"):
        unpacked(tarred(tmp_path / "a.tgz", {"0.png": PNG, "x": link("1.png", kind)}))


def test_bombs_are_refused(tmp_path: Path) -> None:
    bomb = {"0.png": PNG, "1.png": bytes(20 << 20)}
    for path in (zipped(tmp_path / "a.zip", bomb), tarred(tmp_path / "a.tar.xz", bomb, "w:xz")):
        folder = tmp_path / path.suffix
        folder.mkdir()
        with pytest.raises(InputError, match="ratio is implausible"):
            archive.extract(path, folder)
        assert list(folder.iterdir()) == []


def test_too_many_members_and_two_of_one_name(tmp_path: Path) -> None:
    many = tarred(tmp_path / "a.tar", {f"{n}.png": b"" for n in range(10_001)}, "w")
    with pytest.raises(InputError, match="too many files"):
        archive.extract(many, tmp_path)
    with pytest.raises(InputError, match="names a file twice"):
        archive.extract(tarred(tmp_path / "b.tar", {"a.png": PNG, "A.PNG": PNG}, "w"), tmp_path)


def test_what_is_announced_too_small_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {"1.png": PNG})
    whole = archive.Member
    monkeypatch.setattr(archive, "Member", lambda name, size: whole(name, size - 1))
    with pytest.raises(InputError, match="larger than announced"):
        unpacked(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "a.tar"])
def test_a_damaged_archive_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04 not an archive at all" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        unpacked(path)


def test_a_cut_off_archive_leaves_nobody_half_enrolled(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 20)
    whole = zipped(tmp_path / "b.zip", {p.name: p.read_bytes() for p in sorted((tmp_path / "a").iterdir())})
    tarred(tmp_path / "c.tgz", {p.name: p.read_bytes() for p in sorted((tmp_path / "a").iterdir())})
    for file in (whole, tmp_path / "c.tgz"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    home = tmp_path / "home"
    people = enrol(listed(tmp_path, [f"B,b.zip,,{SETTINGS}", f"C,c.tgz,,{SETTINGS}"]), home)
    assert [one.problem is not None and "cannot be read" in one.problem.what for one in people] == [
        True,
        True,
    ]
    assert not any((home / "people").iterdir())
    assert [p.name for p in home.iterdir() if p.name.startswith(".unpacked")] == []


def test_no_photos_or_several_folders_of_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photos in this archive"):
        archive.extract(zipped(tmp_path / "a.zip", {"x.pdf": PNG}), tmp_path)
    with pytest.raises(InputError, match=r"several folders: got a: 1, b: 1"):
        archive.extract(zipped(tmp_path / "b.zip", {"a/1.png": PNG, "b/2.png": PNG}), tmp_path)


def test_an_archive_is_followed_like_a_folder(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    members = {p.name: p.read_bytes() for p in sorted((tmp_path / "a").iterdir())}
    zipped(tmp_path / "a.zip", members)
    roster, home = listed(tmp_path, [f"A,a.zip,,{SETTINGS}"]), tmp_path / "home"
    assert len(enrol(roster, home)[0].added) == 3
    assert enrol(roster, home)[0].added == ()
    del members["p0.png"]
    zipped(tmp_path / "a.zip", members | {"new.png": picture(tmp_path / "n.png", 77).read_bytes()})
    (one,) = enrol(roster, home)
    assert (one.added, one.put_aside) == (("new.png",), ("p0.png",))
