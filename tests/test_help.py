"""`--help`, wanted stops, the next command, and paths that are refused at once."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from portrait_lora import cli, errors
from portrait_lora.commands import journey
from portrait_lora.commands.options import PANELS, confirm, following
from tests.test_cli import COMMANDS
from tests.test_readiness import Person

HEAVY = ("torch", "numpy", "diffusers", "transformers", "PIL", "scipy", "onnxruntime", "rich")


def run(*arguments: object) -> int:
    return cli._run(functools.partial(cli.app, [str(a) for a in arguments]))


def every_command() -> list[tuple[str, ...]]:
    group = typer.main.get_command(cli.app)
    inner = {name: getattr(command, "commands", {}) for name, command in group.commands.items()}  # type: ignore[attr-defined]
    return [(), *((name,) for name in inner), *((name, sub) for name, subs in inner.items() for sub in subs)]


def test_the_commands_stand_under_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-h") == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{panel}:\n") for panel in PANELS]
    assert places == sorted(places) and "\nCommands:" not in text
    groups = [text[a:b] for a, b in zip(places, [*places[1:], len(text)], strict=True)]
    for name, group in (("init", 0), ("run", 0), ("generate", 1), ("score", 2), ("doctor", 3), ("forget", 5)):
        assert [f"\n  {name} " in part for part in groups].index(True) == group
    assert all(sum(f"\n  {name} " in part for part in groups) == 1 for name in COMMANDS)
    assert "..." not in text.replace("ARGS]...", ""), "no sentence is cut"
    assert "--install-completion" in text


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_line_of_help_fits_80_columns(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*words, "-h" if len(words) < 2 else "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and [line for line in lines if len(line) > 80] == []
    assert not any("…" in line for line in lines)


def test_completion_knows_the_commands() -> None:
    variables = {
        "_PORTRAIT_LORA_COMPLETE": "complete_bash",
        "COMP_WORDS": "portrait-lora ge",
        "COMP_CWORD": "1",
    }
    program = "import sys; sys.argv[0] = 'portrait-lora'; from portrait_lora import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | variables
    )
    assert done.stdout.split() == ["generate"], done.stderr


REFUSED = (
    *("generate nope", "run nope", "train nope", "prepare nope", "check nope", "sweep nope", "score nope"),
    *(
        "team nope nope2",
        "export nope --for comfy",
        "forget nope",
        "doctor nope",
        "dataset export nope --out x",
    ),
    *("vary nope.png", "fix nope.png --region eyes", "reproduce nope.png", "publish nope.png --out x"),
    *("score --photos nope --portraits nope", "compare a b", "report a", "sign a --certificate b --key c"),
    *("convert nope --out x", "gallery embedded --people nope", "dataset import nope x", "inspect nope"),
    *("init x --photos nope", "config show nope", "dataset export nope --out x"),
)


def test_a_path_that_is_not_there_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys, functools\nfrom portrait_lora import cli\n"
        f"for line in {REFUSED!r}:\n"
        "    code = cli._run(functools.partial(cli.app, line.split()))\n"
        f"    print(code, *(m for m in {HEAVY!r} if m in sys.modules), sep=',')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["2"] * len(REFUSED), done.stderr
    messages = [line for line in done.stderr.splitlines() if line]
    assert len(messages) == len(REFUSED) and all(m.startswith("Error: ") for m in messages)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_that_was_wanted_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: object) -> None:
        raise errors.Interrupted("stopped at step 30", remedy="Run the same command again.")

    assert cli._run(interrupted) == errors.EXIT_INTERRUPTED
    text = capsys.readouterr().err
    assert text.startswith("Stopped: stopped at step 30") and "Error" not in text


def test_a_no_is_answered_with_what_was_not_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Person("n"))
    assert cli._run(lambda **_: confirm("Go on?", "Nothing was downloaded.")) == errors.EXIT_INTERRUPTED
    text = capsys.readouterr().err
    assert text.endswith("Nothing was downloaded.\n") and "saved" not in text
    monkeypatch.setattr("sys.stdin", Person("y"))
    assert cli._run(lambda **_: confirm("Go on?", "Nothing was downloaded.")) == 0


def test_the_next_command_after_a_check_is_one_that_works(tmp_path: Path) -> None:
    plain, likeness = tmp_path / "my photos", tmp_path / "me"
    plain.mkdir()
    (likeness / "photos").mkdir(parents=True)
    assert journey._after_check(plain, [], True) == f"portrait-lora init my_likeness --photos '{plain}'"
    assert journey._after_check(likeness, [], True) == f"portrait-lora prepare {likeness}"
    for folder, photos in ((plain, plain), (likeness, likeness / "photos")):
        text = journey._after_check(folder, [], False)
        assert text.startswith(f"add photos to {photos}, then portrait-lora check ") and "prepare" not in text


def test_the_next_command_keeps_the_overrides() -> None:
    text = following("score", Path("my dir"), ["generate.series=drift", "subject.name=A B"])
    assert text == "portrait-lora score 'my dir' -s generate.series=drift -s 'subject.name=A B'"


def test_removing_without_a_question_says_so_in_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("forget", "-h") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "remove without asking" in text and "download" not in text
