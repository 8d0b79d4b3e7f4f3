"""Only what this program wrote goes, and only below the folder that owns it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from portrait_lora import manifest, removal, replacing
from portrait_lora.errors import InputError
from tests.killed import killed_at


def sealed(folder: Path, **files: str) -> Path:
    with manifest.writing(folder, kind="test", inputs={}) as part:
        for name, text in files.items():
            (part / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    "word",
    [
        "",
        ".",
        "..",
        "...",
        ".a",
        "a/b",
        "/a",
        "a\\b",
        "a\0",
        "a\n",
        " a",
        "a ",
        "a.",
        "c:",
        "NUL",
        "x" * 201,
        "*",
    ],
)
def test_words_that_are_no_names(word: str) -> None:
    with pytest.raises(InputError, match="not a name"):
        removal.plain_name(word, where="run")


@pytest.mark.parametrize("word", ["main", "a.b", "Müller", "zwei Worte", "v1.5", "console", "x" * 200])
def test_words_that_are_names(word: str) -> None:
    assert removal.plain_name(word, where="run") == word


@pytest.mark.parametrize(
    "path",
    ["own", "own/.", "own/..", "own/../other/f", "other/f", "own/link/f", "own/link/../f", "/etc/passwd"],
)
def test_what_is_not_below_the_owner_is_refused(tmp_path: Path, path: str) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "f").write_text("mine")
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other")
    for remove in (removal.remove_whole, removal.remove_file):
        with pytest.raises(InputError, match="left alone"):
            remove(tmp_path / path, owner=tmp_path / "own")
    with pytest.raises(InputError, match="left alone"):
        removal.remove_recorded(tmp_path / path, owner=tmp_path / "own", names=("*",))
    assert (tmp_path / "other" / "f").read_text() == "mine"


def test_an_owner_may_be_reached_through_a_link_and_a_link_itself_may_go(tmp_path: Path) -> None:
    (tmp_path / "disk" / "own").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "f").write_text("mine")
    (tmp_path / "home" / "own" / "link").symlink_to(tmp_path / "disk" / "f")
    assert removal.remove_file(tmp_path / "home" / "own" / "link", owner=tmp_path / "home" / "own")
    assert (tmp_path / "disk" / "f").read_text() == "mine"
    assert not removal.remove_file(tmp_path / "home" / "own" / "link", owner=tmp_path / "home" / "own")


def test_what_nobody_recorded_stays(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "out", ours="1", edited="2", gone="3")
    (folder / "edited.txt").write_text("retouched for an hour")
    (folder / "mine.txt").write_text("mine")
    (folder / "cache").mkdir()
    (folder / "cache" / "latents-1.bin").write_text("x")
    (folder / "gone.txt").unlink()
    left = removal.remove_recorded(folder, owner=tmp_path, names=("cache/latents-*.bin",))
    assert [p.name for p in left] == ["edited.txt", "mine.txt"]
    assert [p.name for p in removal.files_below(folder)] == ["edited.txt", "mine.txt"]
    assert not (folder / "cache").exists()


def test_a_sidecar_is_a_record(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
        record = {"recipe": {}, "sha256": manifest.sha256_file(tmp_path / f"{name}.png")}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "b.png").write_bytes(b"changed")
    assert removal.recorded(tmp_path) == {"a.png", "a.json"}


def test_a_forged_record_reaches_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    folder = tmp_path / "own" / "out"
    folder.mkdir(parents=True)
    (folder / "up").symlink_to(tmp_path)
    sha256 = manifest.sha256_file(tmp_path / "mine.txt")
    names = ["../../mine.txt", str(tmp_path / "mine.txt"), "up/mine.txt"]
    value = {"kind": "test", "inputs": {}, "files": dict.fromkeys(names, sha256)}
    (folder / "manifest.json").write_text(json.dumps(value))
    removal.remove_recorded(folder, owner=tmp_path / "own")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_trees_of_any_depth_go(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.getcwd()
    try:
        os.chdir(deep)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("f").write_text("x")
    finally:
        os.chdir(here)
    removal.remove_whole(deep, owner=tmp_path)
    assert not deep.exists()


def test_a_rewritten_folder_keeps_the_files_of_others(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "out", a="1", b="1")
    (folder / "b.txt").write_text("my edit")
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    sealed(folder, a="2", b="2")
    contents = {p.relative_to(folder).as_posix(): p.read_text() for p in removal.files_below(folder)}
    contents.pop("manifest.json")
    assert contents == {"a.txt": "2", "b.txt": "2", "b.txt.kept-1": "my edit", "notes/mine.txt": "mine"}
    assert list(manifest.verify(folder).files) == ["a.txt", "b.txt"], "what is not ours is not sealed as ours"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_swap_that_was_killed_is_put_right(tmp_path: Path) -> None:
    for step in range(1, 40):
        base = tmp_path / str(step)
        folder = sealed(base / "out", a="old")
        (folder / "mine.txt").write_text("mine")
        killed = killed_at(step, lambda folder=folder: sealed(folder, a="new"))
        replacing.clean_leftovers(base)
        assert (folder / "mine.txt").read_text() == "mine", step
        assert manifest.verify(folder) and (folder / "a.txt").read_text() in ("old", "new")
        assert [p.name for p in base.iterdir()] == ["out"], step
        if not killed:
            assert step > 8 and (folder / "a.txt").read_text() == "new"
            return
    raise AssertionError("the swap has more steps than were tried")


def test_a_swap_that_was_killed_leaves_no_empty_folders(tmp_path: Path) -> None:
    def written(folder: Path, text: str) -> None:
        with manifest.writing(folder, kind="test", inputs={}) as part:
            (part / "cache" / "deep").mkdir(parents=True)
            (part / "cache" / "deep" / "a.txt").write_text(text)

    for step in range(1, 40):
        base = tmp_path / str(step)
        written(base / "out", "old")
        killed = killed_at(step, lambda base=base: written(base / "out", "new"))
        replacing.clean_leftovers(base)
        assert [p.name for p in base.iterdir()] == ["out"] and manifest.verify(base / "out"), step
        if not killed:
            return
    raise AssertionError("the swap has more steps than were tried")


def test_nobody_cleans_what_is_being_written(tmp_path: Path) -> None:
    with manifest.writing(tmp_path / "out", kind="test", inputs={}) as part:
        (part / "a.txt").write_text("1")
        replacing.clean_leftovers(tmp_path)
        assert (part / "a.txt").is_file()
    assert manifest.verify(tmp_path / "out")


def test_a_writer_whose_folder_was_removed_seals_nothing(tmp_path: Path) -> None:
    from portrait_lora.errors import ArtifactError

    with (
        pytest.raises(ArtifactError, match="removed meanwhile"),
        manifest.writing(tmp_path / "out", kind="test", inputs={}) as part,
    ):
        removal.remove_whole(part, owner=tmp_path)
        manifest.write_text_atomic(part / "late.txt", "x")
    assert not (tmp_path / "out").exists()


def test_leftovers_are_known_by_their_mark_not_by_their_name(tmp_path: Path) -> None:
    mine = tmp_path / ".writing-a-novel"
    mine.mkdir()
    (mine / "chapter1.txt").write_text("mine")
    stale = tmp_path / ".writing-out-abc"
    stale.mkdir()
    (stale / replacing.UNFINISHED).touch()
    (stale / "half.txt").write_text("x")
    replacing.clean_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [mine.name] and (mine / "chapter1.txt").is_file()


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="a link where"):
        sealed(tmp_path / "out", a="1")
    assert list((tmp_path / "precious").iterdir()) == []


def test_what_is_set_aside_keeps_its_bytes(tmp_path: Path) -> None:
    for text in ("1", "2"):
        (tmp_path / "a.png").write_text(text)
        removal.set_aside(tmp_path / "a.png")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.png.kept-1": "1", "a.png.kept-2": "2"}


def test_cleaning_up_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    for step in range(1, 20):
        base = tmp_path / str(step)
        (base / "sub").mkdir(parents=True)
        with replacing.temporary_folder(base, "out") as part:
            shutil.copytree(part, base / "killed")
        stale = (base / "killed").rename(base / ".writing-out-12345678")
        (stale / "deep").mkdir()
        for name in ("a.png", "z.png", "deep/b.png"):
            (stale / name).write_text("of a person")
        killed = killed_at(step, lambda base=base: replacing.clean_leftovers(base))
        replacing.clean_leftovers(base)
        assert [p.name for p in base.iterdir()] == ["sub"], step
        if not killed:
            assert step > 4
            return
    raise AssertionError("there are more steps than were tried")


def test_new_folders_killed_anywhere_end_alike(tmp_path: Path) -> None:
    def written(folder: Path) -> None:
        with manifest.new_folder(folder) as part:
            (part / "a.png").write_text("a")
            (part / "b.png").write_text("b")

    for step in range(1, 30):
        base = tmp_path / str(step)
        killed = killed_at(step, lambda base=base: written(base / "photos"))
        written(base / "photos")
        assert [p.name for p in base.iterdir()] == ["photos"], step
        assert sorted(p.name for p in (base / "photos").iterdir()) == ["a.png", "b.png"], step
        if not killed:
            assert step > 4
            return
    raise AssertionError("there are more steps than were tried")
