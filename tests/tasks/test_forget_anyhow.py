"""`forget` comes to its end: after a kill, whatever lies in the folder, and never beside a run."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.families.catalog import resolve_base
from portrait_lora.likeness import open_likeness
from portrait_lora.rights import consent
from portrait_lora.tasks import outside
from portrait_lora.tasks.export import export
from portrait_lora.tasks.forget import PLAN, RECEIPT, forget
from tests.killed import killed_at
from tests.tasks.made_up import make_likeness
from tests.tasks.test_forget import remains, secrets


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def person(root: Path) -> Path:
    """A likeness folder with copies of photos and of portraits in it, and an export elsewhere."""
    folder = make_likeness(root / "anna")
    consent.write(folder, consent.of_subject("Anna", dt.date.today()))
    shutil.copytree(folder / "photos", folder / "backup")
    shutil.copytree(folder / "portraits", folder / "best", ignore=shutil.ignore_patterns("manifest.json"))
    export(open_likeness(folder), resolve_base("embedded"), "comfy", root / "ComfyUI", name="x")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_killed_at_every_step_the_second_run_finishes(tmp_path: Path, exhaustive: bool) -> None:
    """Or at every other one: what removes, what records and what moves is each done several times."""
    root, state, whole = tmp_path / "it", tmp_path / "state", tmp_path / "whole"
    folder = person(root)
    needles = secrets(folder)
    for part in (root, state):  # made once, put back before every kill
        shutil.copytree(part, whole / part.name)
    wanted: dict[str, object] = {}
    for step in range(1, 80, 1 if exhaustive else 2):
        for part in (root, state):
            shutil.rmtree(part)
            shutil.copytree(whole / part.name, part)
        assert [row for row in outside.everything() if not row.is_as_written] == [], step
        killed = killed_at(step, lambda: forget(folder, photos=True))
        if killed:
            receipt = forget(folder, photos=True)
        else:
            receipt = json.loads((folder / RECEIPT).read_text())
        assert remains([root], needles) == [], step
        assert files(folder) == [RECEIPT] and files(root / "ComfyUI") == []
        lasting = {k: v for k, v in receipt.items() if k not in ("on", "resumed")}
        wanted = wanted or lasting
        assert lasting == wanted, step
        assert forget(folder, photos=True) == forget(folder, photos=False) == receipt  # nothing left to do
        assert json.loads((folder / RECEIPT).read_text()) == receipt and outside.everything() == []
        if not killed:
            assert step > 20
            return
    raise AssertionError("there are more steps than were tried")


def test_an_interrupted_removal_of_photos_is_no_licence_to_remove_them(tmp_path: Path) -> None:
    folder = person(tmp_path)
    assert killed_at(6, lambda: forget(folder, photos=True))
    photos = {p.name for p in (folder / "photos").iterdir()}
    assert photos and (folder / PLAN).is_file()
    forget(folder, photos=False)
    assert {p.name for p in (folder / "photos").iterdir()} == photos
    assert len(list((folder / "backup").iterdir())) == 3


def hostile(folder: Path) -> None:
    """Files that stop a careless reader."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    for name, text in (("null", b'{"__metadata__": null}'), ("deep", b"[" * 200_000)):
        (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / "deep.json").write_bytes(b"[" * 200_000)
    (folder / "bad.json").write_bytes(b"\xff\xfe\x00")
    with (folder / "huge.bin").open("wb") as stream:
        stream.truncate(17 << 30)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/dev/zero")
    (folder / os.fsdecode(b"m\xfcller.png")).write_bytes(b"\x89PNG\r\n")
    nested = folder / "deep"
    nested.mkdir()
    here = os.getcwd()
    os.chdir(nested)
    for _ in range(30):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.chdir(here)


@pytest.mark.parametrize("where", [".", "reports", "adapters/main", "photos"])
def test_no_file_stops_it(tmp_path: Path, where: str) -> None:
    folder = make_likeness(tmp_path / "anna")
    needles = secrets(folder)
    hostile(folder / where)
    receipt = forget(folder, photos=True)
    assert remains([folder / n for n in ("photos", "adapters", "reports", "portraits")], needles) == []
    assert (folder / RECEIPT).is_file() and receipt["residual_files"] == 0
    if where == ".":
        assert int(str(receipt["not_searched"])) >= 2
        assert (folder / "bomb.png").is_file(), "what is not the person's stays"
        shutil.rmtree(folder / "deep", ignore_errors=True)
    else:
        assert files(folder) == [RECEIPT]


def test_it_is_refused_while_a_run_holds_the_folder_and_keeps_runs_out(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna")
    opened = open_likeness(folder)
    second = open_likeness(folder)  # runs share it
    with pytest.raises(InputError, match="is working in this folder"):
        forget(folder, photos=True)
    assert (folder / "photos" / "anna_0.png").is_file()
    del opened, second
    from portrait_lora.tasks.forget import survey

    seen = survey(folder, photos=False)
    with pytest.raises(InputError, match="being forgotten"):
        open_likeness(folder)
    seen.held.release()
    forget(folder, photos=True)


def test_a_run_of_another_process_holds_it(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna")
    read, write = os.pipe()
    done, stop = os.pipe()
    child = os.fork()
    if not child:
        held = open_likeness(folder)
        os.write(write, b"x" if held else b"")
        os.read(done, 1)
        os._exit(0)
    os.read(read, 1)
    with pytest.raises(InputError, match="is working in this folder"):
        forget(folder, photos=True)
    os.write(stop, b"x")
    os.waitpid(child, 0)
    forget(folder, photos=True)


def test_marks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    """The one-pass search against the plain one, at every alignment and over the borders of its chunks."""
    from portrait_lora.tasks import remains as searching

    draw = random.Random(1)
    stretches = [draw.randbytes(searching.WINDOW) for _ in range(40)]
    index = searching._Index([searching.Mark((s,)) for s in stretches])
    path = tmp_path / "f"
    border = searching._CHUNK
    for place in (0, 1, 2, 3, 17, border - 47, border - 20, border - 1, border, border + 5):
        data = bytearray(draw.randbytes(256)) * ((border + 4096) // 256)
        stretch = stretches[place % 40]
        data[place : place + len(stretch)] = stretch
        path.write_bytes(data)
        assert index.betrays(path, True), place
        data[place + 5] ^= 1
        path.write_bytes(data)
        assert not index.betrays(path, True), place
