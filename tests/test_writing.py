"""Whole files or none: modes, full disks, limits, names, several writers at once."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portrait_lora import beside, errors, holding, manifest
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.likeness import Journal
from tests.killed import killed_at
from tests.sample_results import CHECKED, GENERATED, PREPARED, TRAINED

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, limits and signals")
ONE, OTHER = (CHECKED, TRAINED), (PREPARED, GENERATED)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_what_is_written_is_its_owners_alone_unless_it_is_shared(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        manifest.write_text_atomic(tmp_path / "own/deep/a.txt", "x")
        manifest.write_text_atomic(tmp_path / "out/deep/a.txt", "x", shared=True)
        assert manifest.write_bytes_new(tmp_path / "out/b.txt", b"x", shared=True)
        for name, shared in (("sealed", False), ("given", True)):
            with manifest.writing(tmp_path / name, kind="t", inputs={}, shared=shared) as part:
                (part / "sub").mkdir()
                (part / "sub/f").write_text("x")
    finally:
        os.umask(old)
    for place, private in (("own", True), ("sealed", True), ("out", False), ("given", False)):
        for path in (tmp_path / place, *(tmp_path / place).rglob("*")):
            ours = 0o700 if path.is_dir() else 0o600
            theirs = (0o777 if path.is_dir() else 0o666) & ~umask
            assert mode(path) == (ours if private else theirs), path


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    manifest.write_json_atomic(path, {"old": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PortraitError, match=r"a\.json: the disk is full.*Make room"):
        manifest.write_json_atomic(path, {"new": 1})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@posix
def test_a_limit_on_file_sizes_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom portrait_lora import errors, manifest\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    manifest.write_bytes_atomic(Path(sys.argv[1]) / 'big', bytes(9000))\n"
        "except errors.PortraitError as error:\n    print(error)\n"
        "with manifest.writing(Path(sys.argv[1]) / 'folder', kind='t', inputs={}) as part:\n"
        "    try:\n        (part / 'big').write_bytes(bytes(9000))\n"
        "    except OSError as error:\n        print(errors.of_system(error))\n        raise SystemExit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("larger than programs may write here") == 2 and "ulimit -f" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_not_the_machines_are_left_alone() -> None:
    assert errors.of_system(FileNotFoundError(errno.ENOENT, "gone")) is None
    with pytest.raises(FileNotFoundError), errors.system_errors("x"):
        raise FileNotFoundError(errno.ENOENT, "gone")
    translated = errors.of_system(PermissionError(errno.EACCES, "denied", "file.txt"))
    assert translated is not None and translated.where == "file.txt" and translated.remedy


def test_long_names_and_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".txt", "ü" * 120 + ".txt"):
        manifest.write_text_atomic(tmp_path / name, "x")
    value = {"photo": "Ren\udce9e.jpg", "half": "\ud83d"}
    manifest.write_json_atomic(tmp_path / "names.json", value)
    assert json.loads((tmp_path / "names.json").read_text(encoding="utf-8")) == value
    manifest.write_text_atomic(tmp_path / "page.html", "Ren\udce9e")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "Ren?e"
    assert manifest.digest(value) != manifest.digest({"photo": "Ren\udceae.jpg", "half": "\ud83d"})


def test_a_folder_is_sealed_only_with_what_was_meant(tmp_path: Path) -> None:
    folder = tmp_path / "portraits"
    folder.mkdir()
    for name in ("a.png", "mine.txt"):
        (folder / name).write_text(name)
    sealed = manifest.finish(folder, kind="t", inputs={}, names=["a.png"])
    assert list(sealed.files) == ["a.png"]
    (folder / "mine.txt").write_text("changed by its owner")
    assert manifest.verify(folder).digest == sealed.digest
    with pytest.raises(ArtifactError, match=r"b\.png: a file went away"):
        manifest.finish(folder, kind="t", inputs={}, names=["a.png", "b.png"])
    with pytest.raises(ArtifactError, match="went away"):
        manifest.finish(tmp_path / "gone", kind="t", inputs={})
    assert not (tmp_path / "gone").exists()


def test_two_writers_of_the_journal_lose_nothing(tmp_path: Path) -> None:
    first, second = Journal.open(tmp_path), Journal.open(tmp_path)
    first.record({"a": "1"}, 1.0, PREPARED)
    second.record({"b": "2"}, 2.0, TRAINED)
    first.record({"c": "3"}, 3.0, GENERATED)
    second.forget("train")
    assert set(Journal.open(tmp_path).stages) == {"prepare", "generate"}
    assert set(first.stages) == {"prepare", "generate"} and second.stages == {}


def test_a_row_of_another_version_outlives_the_writing_of_others(tmp_path: Path) -> None:
    newer = {"inputs": {"a": "1"}, "seconds": 1.0, "summary": {"crops": 6, "of_a_later_version": 1}}
    manifest.write_json_atomic(tmp_path / "stages.json", {"prepare": newer, "retouch": {"x": 1}})
    journal = Journal.open(tmp_path)
    assert not journal.is_done("prepare", {"a": "1"}), "it cannot be read here, and is done anew"
    journal.record({"b": "2"}, 2.0, TRAINED)
    there = json.loads((tmp_path / "stages.json").read_text())
    assert there["prepare"] == newer and there["retouch"] == {"x": 1} and "train" in there


def test_writers_of_the_journal_take_turns(tmp_path: Path) -> None:
    """What one has written stands until it writes the stage anew, whatever the other does meanwhile."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom portrait_lora.likeness import Journal\n"
        "from tests import test_writing as here\n"
        "mine = here.ONE if sys.argv[2] == 'a' else here.OTHER\n"
        "for i in range(20):\n"
        "    for result in mine:\n"
        "        Journal.open(Path(sys.argv[1])).record({'i': str(i)}, 0.0, result)\n"
        "    there = Journal.open(Path(sys.argv[1]))\n"
        "    assert [there.inputs(r.STAGE) for r in mine] == [{'i': str(i)}] * len(mine), i\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(Journal.open(tmp_path).stages) == 4


def test_a_name_that_is_taken_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    assert manifest.write_bytes_new(path, b"first")
    assert not manifest.write_bytes_new(path, b"second")

    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", none)
    assert not manifest.write_bytes_new(path, b"third") and path.read_bytes() == b"first"
    assert manifest.write_bytes_new(tmp_path / "b.jpg", b"other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "b.jpg"]


@posix
def test_what_a_killed_writer_left_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    path, mine = tmp_path / "stages.json", tmp_path / ".stages.json.mine.part"
    mine.write_text("the user's")
    assert killed_at(2, lambda: manifest.write_bytes_atomic(path, b"first"))  # 1: the folder
    left = [p for p in tmp_path.iterdir() if p != mine]
    assert len(left) == 1 and left[0].read_bytes() == b"first"
    manifest.write_bytes_atomic(tmp_path / "other.json", b"")
    assert left[0].exists()
    manifest.write_bytes_atomic(path, b"second")
    assert sorted(p.name for p in tmp_path.iterdir()) == [mine.name, "other.json", "stages.json"]
    assert path.read_bytes() == b"second"


@posix
def test_the_part_of_a_writer_at_work_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stages.json"
    with beside.written(path, b"slow", 0o600) as part:
        manifest.write_bytes_atomic(path, b"quick")
        assert part.read_bytes() == b"slow"
    assert [p.name for p in tmp_path.iterdir()] == ["stages.json"]
    monkeypatch.setattr(holding, "fcntl", None)  # a system without locks: nobody knows who is at work
    with beside.written(path, b"slow", 0o600) as part:
        manifest.write_bytes_atomic(path, b"quick")
        assert part.read_bytes() == b"slow"


@posix
def test_a_part_that_is_taken_for_a_leftover_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, swept = holding.hold, []

    def late(path: Path, *, alone: bool) -> holding.Hold | None:
        if not swept:
            swept.append(path)
            path.unlink()
        return hold(path, alone=alone)

    monkeypatch.setattr(holding, "hold", late)
    manifest.write_bytes_atomic(tmp_path / "a", b"whole")
    assert swept and [p.name for p in tmp_path.iterdir()] == ["a"]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_says_so_and_tidies_up(tmp_path: Path, number: int) -> None:
    code = (
        f"import signal\nsignal.signal({int(number)}, signal.SIG_DFL)\n"  # under nohup it is ignored
        "import sys, time\nfrom pathlib import Path\nfrom portrait_lora import cli, manifest, recipe\n"
        "def slow(folder, **_):\n"
        "    with manifest.writing(folder / 'dataset', kind='t', inputs={}) as part:\n"
        "        (part / 'half').write_text('half')\n"
        "        print('begun', flush=True)\n        time.sleep(60)\n"
        "recipe.prepare = slow\n"
        "sys.argv = ['portrait-lora', 'prepare', sys.argv[1]]\ncli.main()\n"
    )
    (tmp_path / "photos").mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "begun\n"
    time.sleep(0.1)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 130 and "run the same command again to continue" in stderr
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_files_that_belong_together_take_their_names_together(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a person's own")
    with manifest.new_files(tmp_path) as part:
        for name in ("a.json", "b.html"):
            (part / name).write_text("first")
        assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["notes.txt"]
    with pytest.raises(PortraitError, match="stopped"), manifest.new_files(tmp_path) as part:
        (part / "a.json").write_text("second")
        raise PortraitError("stopped")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "a.json": "first", "b.html": "first", "notes.txt": "a person's own",
    }  # fmt: skip
    assert mode(tmp_path / "b.html") == 0o600


@posix
def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom portrait_lora import manifest\n"
        "with manifest.new_files(Path(sys.argv[1])) as part:\n"
        "    (part / 'a.json').write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert [p.is_dir() for p in tmp_path.iterdir()] == [True]
    with manifest.new_files(tmp_path) as part:
        (part / "b.json").write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]
