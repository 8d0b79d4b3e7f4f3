"""The guide is followed from top to bottom, as a new user would, on the shared journey."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from portrait_lora import cli
from tests.conftest import PERSON_SEED, Journey

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"


def commands(kind: str) -> list[list[str]]:
    """The lines of all blocks of one kind, as argument lists."""
    opening = (
        kind if " " not in kind else f"{{ .{' .'.join(kind.split())} }}"
    )  # as the site's builder reads it
    blocks = re.findall(
        rf"^```{re.escape(opening)}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S
    )
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.journey
def test_every_command_of_the_guide_runs(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(journey.folder, tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    lines = commands("bash")
    assert len(lines) >= 12
    assert ["portrait-lora", "demo", "--out", "demo", "--person-seed", str(PERSON_SEED)] in lines
    for program, *arguments in lines:
        assert program == "portrait-lora"
        code = cli._run(functools.partial(cli.app, arguments))
        output = capsys.readouterr()
        assert code == 0, f"{arguments}: {output.err}"
        assert "Traceback" not in output.err
        assert output.out.strip(), f"{arguments} said nothing"
        if arguments[:2] == ["run", "demo"]:
            assert "portraits in" in output.out
    assert not (tmp_path / "me" / "photos").exists(), "forgotten with its photos"
    assert (tmp_path / "demo" / "photos").is_dir() and not (tmp_path / "demo" / "adapters").exists()


def elsewhere() -> list[list[str]]:
    """Commands of the container and of the notebook cell: what stands behind `portrait-lora`."""
    lines = [*commands("text container"), *commands("text notebook")]
    stripped = [[w.removeprefix("!") for w in line] for line in lines]
    starts = [line for line in stripped if "portrait-lora" in line and line[:2] != ["docker", "build"]]
    return [line[line.index("portrait-lora") :] for line in starts]


def test_the_notebook_cell_makes_a_likeness_from_nothing_but_photos() -> None:
    names = [line[1] for line in elsewhere() if "/content/me" in line or line[1] in ("doctor", "gallery")]
    assert names == ["doctor", "doctor", "init", "pull", "run"]
    pips = [line for line in commands("text notebook") if line[0] == "!pip"]
    installs = [line for line in pips if line[1] == "install"]
    assert installs and all("constraints.txt" in line for line in installs)
    removed = {w for line in pips if line[1] == "uninstall" for w in line if w.startswith("opencv")}
    assert removed == {"opencv-python-headless", "opencv-contrib-python"}


@pytest.mark.parametrize("line", [*commands("bash hub"), *elsewhere()], ids=" ".join)
def test_commands_that_need_a_hub_are_at_least_well_formed(line: list[str]) -> None:
    group = typer.main.get_command(cli.app)
    with group.make_context("portrait-lora", line[1:]) as outer:
        name, command, rest = group.resolve_command(outer, [*outer._protected_args, *outer.args])  # type: ignore[attr-defined]
        assert command is not None
        command.make_context(name, rest, parent=outer)
