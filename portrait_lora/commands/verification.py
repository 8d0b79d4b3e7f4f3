"""Checks with material that only the user has: `verify-base` with real weights, `calibrate` with photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora.commands.options import MEASURE, MODELS, JsonOpt, answer
from portrait_lora.commands.paths import need_folder
from portrait_lora.errors import EXIT_FAILED


def verify_base(
    base: Annotated[str, typer.Argument(metavar="BASE", help="a name of `models`, or a folder")],
    into: Annotated[
        Path, typer.Option("--into", help="folder whose portrait-lora.lock names the fetched files")
    ] = Path("."),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")] = "auto",
    weights: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--weights", help="number format of the weights (default: as in training)"),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="side in pixels (default: half of the base's)")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="training steps on two pictures")] = 20,
    rate: Annotated[float, typer.Option("--rate", help="learning rate of that training")] = 1e-3,
    as_json: JsonOpt = False,
) -> None:
    """Check a fetched base end to end with its real weights: predictions, training, export, one picture.

    The base's predictions must be those of diffusers' own pipeline; only adapter weights learn, and the loss
    falls; the exported adapter loads whole and predicts the same; a picture is drawn.  Exit code 1 if a check
    fails.
    """
    from portrait_lora.tasks.verify.base import verify

    done = verify(base, into, device=device, weights=weights, size_px=size, steps=steps, rate=rate)
    lines = [
        f"{done.base}: {done.family}, {done.weights} on {done.device}, {done.licence}",
        *(row.line(32) for row in done.figures),
    ]
    answer(done.summary(), as_json, lines, "")
    if not done.met:
        raise typer.Exit(EXIT_FAILED)


def calibrate(
    pack: Annotated[str, typer.Argument(metavar="PACK", help="a face pack, or the folder of one")],
    people: Annotated[Path, typer.Option("--people", help="folder with one subfolder of photos per person")],
    out: Annotated[Path, typer.Option("--out", help="threshold file to write")] = Path("threshold.json"),
    references: Annotated[
        int,
        typer.Option("--references", min=1, help="photos per person to compare with; others are probes"),
    ] = 3,
    false_match_rate: Annotated[
        float, typer.Option("--false-match-rate", help="share of other people who may pass, 0 to 1")
    ] = 1e-3,
    as_json: JsonOpt = False,
) -> None:
    """Calibrate the verification threshold of a face pack on photos of other people.

    None of them may be the person whose portraits will be scored.  `score --threshold FILE` uses the result.
    """
    need_folder(people, "such folder of people", "a subfolder of photos each")
    from dataclasses import asdict

    from portrait_lora.tasks.calibrate import calibrate as derive

    done = derive(pack, people, out, references=references, false_match_rate=false_match_rate)
    threshold = done.threshold
    counted = f"{threshold.people} people, {threshold.impostor_scores} impostor comparisons"
    lines = [
        f"{counted} (the rule of three needs {done.scores_needed:.0f})",
        f"threshold {threshold.similarity:.4f} at a false-match rate of {threshold.false_match_rate:g}; "
        f"{done.accepted:.1%} of the same people's photos reach it",
    ]
    summary = {"file": str(out), **asdict(threshold), "accepted": done.accepted}
    judged = "portrait-lora score --photos PHOTOS --portraits PORTRAITS"
    following = f"{judged} --face-pack {pack} --threshold {out}"
    answer(summary, as_json, lines, following)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("verify-base", rich_help_panel=MODELS)(verify_base)
    app.command(rich_help_panel=MEASURE)(calibrate)
