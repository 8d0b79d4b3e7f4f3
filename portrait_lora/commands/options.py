"""Arguments that commands share, and their output."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from portrait_lora import terminal


class Result(Protocol):
    """What a command can show to a program."""

    def json_value(self) -> Mapping[str, object]: ...


START, PORTRAITS, MEASURE = "Start here", "Portraits", "Measure"
MODELS, DATA, RIGHTS = "Models and this machine", "Data and settings", "Rights and exchange"
PANELS = (START, PORTRAITS, MEASURE, MODELS, DATA, RIGHTS)
"""The headings of `--help`, in order."""

FolderArg = Annotated[
    Path, typer.Argument(metavar="LIKENESS_DIR", help="folder with photos/ and likeness.yaml")
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="override one configuration value"),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="print a machine-readable summary on stdout")]
ForceOpt = Annotated[bool, typer.Option("--force", help="repeat the stage even if nothing has changed")]
SyntheticOpt = Annotated[
    bool,
    typer.Option("--allow-synthetic-models", help="allow the embedded synthetic models on real photographs"),
]


def collect_overrides(pairs: list[str] | None, allow_synthetic: bool = False) -> list[str]:
    """The `KEY=VALUE` overrides of a command, including its own switches."""
    return [*(pairs or []), *(["allow_synthetic_models=true"] if allow_synthetic else [])]


def answer(
    result: Result | Mapping[str, object], as_json: bool, lines: Sequence[str], following: str
) -> None:
    """Print the result on stdout: JSON, or a few lines and the next command."""
    if as_json:
        value = result if isinstance(result, Mapping) else result.json_value()
        terminal.say(terminal.json_text(value, indent=2))
        return
    for line in lines:
        terminal.say(terminal.plain(line))
    if following:
        terminal.say(f"\nNext: {terminal.plain(following)}")


def following(command: str, folder: Path, overrides: list[str]) -> str:
    """The next command for the same folder, with the same overrides."""
    words = ["portrait-lora", command, str(folder), *(part for pair in overrides for part in ("-s", pair))]
    return shlex.join(words)


def confirm(question: str, declined: str) -> None:
    """Ask on the terminal.  Raises `typer.Abort` with the sentence `declined` if the answer is no."""
    if not typer.confirm(terminal.block(question), err=True):
        raise typer.Abort(declined)
