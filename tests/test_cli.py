"""Commands as a person meets them: messages, exit codes, JSON.

What a fresh process adds (the exit code itself, what an import would print) is looked at in one of each kind:
help, wrong use, an error in JSON, a heavy command in JSON.  The others run in this process: `here`.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from portrait_lora import cli
from tests.conftest import Journey

COMMANDS = (
    *("demo", "init", "check", "prepare", "train", "generate", "score", "run", "models", "config"),
    *("vary", "fix", "reproduce", "sweep", "team", "publish", "compare", "report", "prompts", "dataset"),
    *("pull", "convert", "gallery", "pack", "doctor", "export", "inspect", "sign", "forget", "detect"),
    *("calibrate", "verify-base", "web", "jobs", "fleet"),
)


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portrait_lora.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"})


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """`call` without a process of its own."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        words = [str(a) for a in arguments]
        code = cli._run(functools.partial(cli.app, words))
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


def refused(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """The exit code, every part of the message, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_help_lists_the_commands_and_stays_light():
    done = call("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    heavy = ("torch", "numpy", "pydantic")
    code = f"import sys; import portrait_lora.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_wrong_use_is_exit_code_2():
    refused(call("frobnicate"), 2, "No such command")
    refused(call("check"), 2, "FOLDER")


def test_config_show_and_schema(here: Here, tmp_path: Path):
    shown = here("config", "show", "-s", "training.rank=8")
    assert shown.returncode == 0 and "rank: 8" in shown.stdout
    schema = json.loads(here("config", "schema").stdout)
    assert schema["additionalProperties"] is False and "training" in schema["properties"]


def test_an_unknown_key_and_a_wrong_type(here: Here, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    file = tmp_path / "likeness.yaml"
    file.write_text("seed: 1\ntrainning:\n  rank: 3\n")
    refused(here("run", tmp_path), 2, "likeness.yaml:2", "trainning", "Did you mean 'training'?")
    file.write_text("training:\n  rank: many\n")
    refused(here("run", tmp_path), 2, "likeness.yaml:2", "training.rank", "'many'", "integer")


def test_an_empty_folder_and_a_missing_one(here: Here, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    refused(here("check", tmp_path), 3, "no photos in this folder", "got 0 files", "10-20 photos")
    refused(here("run", tmp_path / "absent"), 2, "not a likeness folder", "portrait-lora init")
    refused(here("check", tmp_path / "absent"), 2, "no such folder")


def test_a_folder_of_text_files(here: Here, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for i in range(6):
        (tmp_path / "photos" / f"note_{i}.txt").write_text("hello")
    refused(here("check", tmp_path), 3, "no photos in this folder", "6 files, none of them a picture")
    refused(here("run", tmp_path), 3, "no photos in this folder", "6 files, none of them a picture")


def test_an_unwritable_output_folder(here: Here, tmp_path: Path):
    (tmp_path / "file").write_text("")
    refused(here("demo", "--out", tmp_path / "file" / "demo"), 2, "cannot write into this folder")


def test_a_folder_that_is_not_a_demo_is_left_alone(here: Here, tmp_path: Path):
    (tmp_path / "precious.txt").write_text("keep")
    refused(here("demo", "--out", tmp_path), 2, "not empty", "--out")
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_errors_in_json(tmp_path: Path):
    done = call("run", tmp_path, "--json")
    value = json.loads(done.stdout)
    assert done.returncode == value["exit_code"] == 2 and "init" in value["remedy"]


def test_init_copies_and_never_touches_the_originals(here: Here, tmp_path: Path):
    photos = tmp_path / "holiday pictures"
    photos.mkdir()
    (photos / "a b.jpg").write_bytes(b"1")
    folder = tmp_path / "me"
    done = here("init", folder, "--photos", photos, "-s", "subject.kind=woman")
    assert done.returncode == 0 and "Next: portrait-lora check" in done.stdout
    assert (folder / "photos" / "a b.jpg").read_bytes() == b"1"
    assert "kind: woman" in (folder / "likeness.yaml").read_text()
    refused(here("init", folder, "--photos", photos), 2, "already")


@pytest.mark.journey
def test_photos_without_the_studio_mark_are_refused(here: Here, journey: Journey, tmp_path: Path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for photo in sorted((journey.folder / "photos").iterdir())[:6]:
        try:
            Image.open(photo).convert("RGB").save(tmp_path / "photos" / photo.name)  # the mark is lost
        except OSError:
            continue
    refused(here("check", tmp_path), 2, "synthetic studio", "--allow-synthetic-models")


@pytest.mark.journey
def test_check_prints_json_for_a_bare_folder_of_photos(journey: Journey):
    done = call("check", journey.folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["photos"] == journey.summary["photos"]
