"""`pack make|test|show|schema`: face packs of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora.commands.options import MODELS, JsonOpt, answer
from portrait_lora.commands.paths import need_file, need_folder
from portrait_lora.errors import EXIT_FAILED

PackArg = Annotated[str, typer.Argument(metavar="PACK", help="name of a face pack, or its folder")]
AcceptOpt = Annotated[bool, typer.Option("--accept", help="use the pack although it fails the sanity test")]
_INPUT = "preprocessing, such as 'side=112 colour=RGB mean=127.5 std=127.5'"


def make(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new folder of the pack")],
    detector: Annotated[Path, typer.Option("--detector", help="ONNX: SCRFD layout or YuNet")],
    select: Annotated[Path, typer.Option("--select", help="ONNX: embedder that curates and selects")],
    report: Annotated[Path, typer.Option("--report", help="ONNX: another embedder, that measures")],
    name: Annotated[str, typer.Option("--name", help="name of the pack in reports")],
    licence: Annotated[str, typer.Option("--licence", help="licence of the networks, in words")],
    commercial: Annotated[
        Literal["yes", "no", "unknown"], typer.Option("--commercial", help="may portraits be sold?")
    ],
    landmarks: Annotated[Path | None, typer.Option("--landmarks", help="ONNX: 68 landmarks (SCRFD)")] = None,
    select_input: Annotated[str, typer.Option("--select-input", metavar="TEXT", help=_INPUT)] = "",
    report_input: Annotated[str, typer.Option("--report-input", metavar="TEXT", help=_INPUT)] = "",
    select_threshold: Annotated[
        float | None, typer.Option("--select-threshold", min=-1, max=1, help="same person from this cosine")
    ] = None,
    report_threshold: Annotated[
        float | None, typer.Option("--report-threshold", min=-1, max=1, help="same person from this cosine")
    ] = None,
    people: Annotated[
        Path | None, typer.Option("--people", help="one subfolder of pictures per person, to test on")
    ] = None,
    accept: AcceptOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Make a face pack from ONNX files of your own, after a sanity test.

    With --people both thresholds are derived where there are enough; nothing of them is stored.
    """
    for file, what in (
        (detector, "detector"),
        (select, "embedder"),
        (report, "embedder"),
        (landmarks, "model"),
    ):
        need_file(file, what, "an ONNX file")
    need_folder(people, "such folder of people", "one subfolder of pictures per person")
    from portrait_lora.tasks import own_pack

    chosen = own_pack.Network(select, own_pack.parse_preprocessing(select_input), select_threshold)
    measuring = own_pack.Network(report, own_pack.parse_preprocessing(report_input), report_threshold)
    plan = own_pack.Plan(name, licence, commercial, detector, chosen, measuring, landmarks, people, accept)
    done = own_pack.make(folder, plan)
    following = f"portrait-lora gallery {folder} --people {people or 'FOLDER'}"
    answer(done, as_json, [*done.lines, *own_pack.show(str(folder))], following)


def test(
    pack: PackArg,
    people: Annotated[
        Path | None, typer.Option("--people", help="one subfolder of pictures per person")
    ] = None,
    accept: AcceptOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Run the sanity test of a face pack: on people, else on its gallery.  Exit code 1 if it fails."""
    need_folder(people, "such folder of people", "one subfolder of pictures per person")
    from portrait_lora.tasks import own_pack

    done = own_pack.test(pack, people, accept=accept)
    answer(done, as_json, done.lines, "")
    if done.outcome == "failed" and not accept:
        raise typer.Exit(EXIT_FAILED)


def show(pack: PackArg, as_json: JsonOpt = False) -> None:
    """Show a face pack: networks, preprocessing, thresholds and where they come from."""
    from portrait_lora.faces import resolve_pack
    from portrait_lora.faces.packs import read_pack_file
    from portrait_lora.tasks import own_pack

    lines = own_pack.show(pack)
    answer(read_pack_file(resolve_pack(pack).folder), as_json, lines, "")


def schema() -> None:
    """Print the JSON Schema of pack.json."""
    from portrait_lora import terminal
    from portrait_lora.faces import pack_file

    terminal.say(json.dumps(pack_file.schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Make, test and show face packs of your own.", no_args_is_help=True)
    for command in (make, test, show, schema):
        group.command(command.__name__)(command)
    app.add_typer(group, name="pack", rich_help_panel=MODELS)
