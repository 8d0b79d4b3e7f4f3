"""The stages of a likeness, one command each, and `run` and `demo` for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait_lora import errors
from portrait_lora.commands.options import (
    FolderArg,
    ForceOpt,
    JsonOpt,
    SetOpt,
    SyntheticOpt,
    answer,
    overrides,
)
from portrait_lora.commands.readiness import ConsentOpt, OfflineOpt, SubjectOpt, YesOpt, get_ready


def demo(
    out: Annotated[Path, typer.Option("--out", help="folder to make the likeness in")] = Path("demo"),
    person_seed: Annotated[
        int, typer.Option("--person-seed", min=0, max=9999, help="which made-up person")
    ] = 7,
    settings: SetOpt = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """The whole journey for a made-up person, on the embedded models; nothing is downloaded."""
    from portrait_lora import recipe, summaries

    summary = recipe.demo(out, person_seed, overrides=overrides(settings), force=force)
    answer(summary, as_json, summaries.of_run(summary, out), f"open {out / 'reports' / 'drift.html'}")


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="a likeness folder, or a folder of photos")
    ],
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Look at every photo: face, sharpness, sameness, angle and expression coverage."""
    from portrait_lora import recipe, summaries

    summary = recipe.check(folder, overrides=overrides(settings, allow_synthetic))
    answer(summary, as_json, summaries.of_check(summary), f"portrait-lora prepare {folder}")
    if not summary["enough"]:
        raise typer.Exit(errors.EXIT_PHOTOS)


def prepare(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Hold photos out, crop and caption the others."""
    from portrait_lora import recipe, summaries

    summary = recipe.prepare(folder, overrides=overrides(settings, allow_synthetic), force=force)
    answer(summary, as_json, summaries.of_prepare(summary), f"portrait-lora train {folder}")


def train(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    yes: YesOpt = False,
    offline: OfflineOpt = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what training would need and take, and stop")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Train the LoRA and choose its checkpoint on held-out photos."""
    from portrait_lora import recipe, summaries

    given = overrides(settings, allow_synthetic)
    if dry_run:
        planned = recipe.plan_training(folder, overrides=given)
        answer(planned, as_json, summaries.of_plan(planned), f"portrait-lora train {folder}")
        raise typer.Exit(errors.EXIT_DONE if planned["fits"] else errors.EXIT_BAD_INPUT)
    get_ready(folder, given, subject=subject, consent=consent, yes=yes, offline=offline)
    summary = recipe.train(folder, overrides=given, force=force)
    answer(summary, as_json, summaries.of_train(summary), f"portrait-lora generate {folder}")


def run(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    yes: YesOpt = False,
    offline: OfflineOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Everything: check, prepare, train, select, generate, score.  Done stages are skipped."""
    from portrait_lora import recipe, summaries

    given = overrides(settings, allow_synthetic)
    get_ready(folder, given, subject=subject, consent=consent, yes=yes, offline=offline, scores=True)
    summary = recipe.run(folder, overrides=given, force=force)
    answer(summary, as_json, summaries.of_run(summary, folder), f"open {folder / 'reports' / 'drift.html'}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, check, prepare, train, run):
        app.command()(command)
