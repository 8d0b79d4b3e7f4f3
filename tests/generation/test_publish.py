"""Copies for others: the mark stays, nothing else comes along without a request."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.generation import save
from portrait_lora.generation.publish import Format, publish
from portrait_lora.records import Portrait, Shot
from portrait_lora.rights import marks
from tests.killed import killed_at
from tests.sampling import sampled

WORDS = "frontal headshot of ohwx man, navy suit"


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "secret person" / "01-classic.png"
    path.parent.mkdir()
    pixels = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    shot = Shot("01-classic", WORDS, "", (64, 64), 7, (("subject", "ohwx man"),))
    drawn = Portrait(path, shot, 2, 3.0, 1.0, "a" * 64)
    save.save(Image.fromarray(pixels), drawn, save.record_of(drawn, "embedded", "b" * 64, "ohwx"))
    return path


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_the_mark_stays_and_nothing_leaks(portrait: Path, tmp_path: Path, kind: Format) -> None:
    (copy,) = publish([portrait], tmp_path / "out", kind)
    assert provenance.source_type(copy) == "trainedAlgorithmicMedia"
    data = copy.read_bytes()
    for word in (b"ohwx", b"navy", b"classic", b"secret", b"likeness", b"a" * 12, b"Steps"):
        assert word not in data and word.decode() not in copy.name
    with Image.open(copy) as shown, Image.open(portrait) as before:
        assert shown.format == kind.upper() and not shown.getexif()
        off = np.abs(np.asarray(shown.convert("RGB")).astype(int) - np.asarray(before.convert("RGB")))
    assert off.mean() < 4
    with pytest.raises(ArtifactError, match="no generation record"):
        provenance.read_record(copy)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_the_recipe_is_published_on_request(portrait: Path, tmp_path: Path, kind: Format) -> None:
    (copy,) = publish([portrait], tmp_path / "out", kind, keep_names=True, with_record=True)
    assert copy.stem == portrait.stem and provenance.source_type(copy) == "trainedAlgorithmicMedia"
    with Image.open(copy) as shown:
        comment = shown.getexif().get_ifd(0x8769).get(0x9286, b"") or b""
        parameters = shown.info.get("parameters") or comment.removeprefix(b"UNICODE\0").decode("utf-16-be")
    assert parameters.startswith(WORDS) and "Seed: 7" in parameters
    assert str(tmp_path).encode() not in copy.read_bytes()


def test_names_are_numbered_and_never_replaced(portrait: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert [p.name for p in publish([portrait] * 2, out)] == ["portrait-001.jpg", "portrait-002.jpg"]
    (out / "portrait-002.jpg").write_bytes(b"changed since")
    names = ["portrait-001.jpg", "portrait-003.jpg"]
    assert [p.name for p in publish([portrait] * 2, out)] == names
    assert (out / "portrait-002.jpg").read_bytes() == b"changed since"
    (copy,) = publish([portrait], out, keep_names=True)
    copy.write_bytes(b"changed since")
    with pytest.raises(InputError, match="name is taken"):
        publish([portrait], out, keep_names=True)


KINDS = [("jpeg", False), ("webp", True), ("png", True)]


@pytest.mark.parametrize(("kind", "keep_names"), sampled(KINDS, kept=lambda case: case[0] != "png"))
def test_killed_anywhere_and_rerun_it_ends_as_if_nothing_had_been(
    portrait: Path, tmp_path: Path, kind: Format, keep_names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark is laid once for the same pixels: it is most of the work, and writes nothing."""
    monkeypatch.setattr(marks, "marked_picture", once(marks.marked_picture))
    second = portrait.with_name("02-second.png")
    second.write_bytes(portrait.read_bytes())

    def work(out: Path) -> list[str]:
        return [p.name for p in publish([portrait, second], out, kind, keep_names=keep_names)]

    expected = work(tmp_path / "whole")
    step, killed = 1, True
    while killed:
        out = tmp_path / f"killed-{step}"
        killed = killed_at(step, lambda out=out: work(out))
        assert work(out) == expected == work(out)  # also when it was through already
        assert tree(out) == tree(tmp_path / "whole")
        step += 1
    assert step > 4


def once(lay: Callable[[Image.Image, str], Image.Image]) -> Callable[[Image.Image, str], Image.Image]:
    known: dict[tuple[object, ...], Image.Image] = {}

    def marked(picture: Image.Image, recipe: str) -> Image.Image:
        key = (picture.mode, picture.size, picture.tobytes(), recipe)
        if key not in known:
            known[key] = lay(picture, recipe)
        return known[key].copy()

    return marked


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_what_is_not_ours_is_refused_before_anything_is_written(portrait: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "holiday.png"
    Image.new("RGB", (8, 8)).save(foreign)
    with pytest.raises(InputError, match="not marked as generated"):
        publish([portrait, foreign], tmp_path / "out")
    with pytest.raises(InputError, match="no such picture"):
        publish([portrait, tmp_path / "none.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_published_whole_and_an_empty_one_is_refused(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import functools
    import shutil

    from portrait_lora import cli

    def call(*words: object) -> int:
        return cli._run(functools.partial(cli.app, ["publish", *map(str, words)]))

    shutil.copyfile(portrait, portrait.with_name("02-second.png"))
    (portrait.parent / "contact_sheet.jpg").write_bytes(b"a sheet")
    out, empty = tmp_path / "out", tmp_path / "empty"
    assert call(portrait.parent, "--out", out, "--keep-names") == 0
    assert sorted(p.name for p in out.iterdir()) == ["01-classic.jpg", "02-second.jpg"]
    empty.mkdir()
    assert call(empty, "--out", tmp_path / "none") == 2
    assert "no portraits in this folder" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_a_full_disk_leaves_none_of_the_copies(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish([portrait], tmp_path / "out")
    sync, count = os.fsync, []

    def full(descriptor: int) -> None:
        count.append(descriptor)
        if len(count) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PortraitError, match="the disk is full"):
        publish([portrait] * 5, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["portrait-001.jpg"]


def test_copies_of_two_commands_at_once_do_not_replace_each_other(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out = manifest.write_bytes_new, tmp_path / "out"

    def late(path: Path, data: bytes, *, shared: bool) -> bool:
        if path.name == "portrait-001.jpg" and not path.exists():
            path.write_bytes(b"of another command, a moment ago")
        return write(path, data, shared=shared)

    monkeypatch.setattr(manifest, "write_bytes_new", late)
    assert [p.name for p in publish([portrait], out)] == ["portrait-002.jpg"]
    assert (out / "portrait-001.jpg").read_bytes() == b"of another command, a moment ago"
