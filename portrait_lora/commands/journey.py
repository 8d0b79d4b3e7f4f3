"""The stages of a likeness, one command each, and `run` and `demo` for all of them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from portrait_lora import errors
from portrait_lora.commands.options import (
    START,
    FolderArg,
    ForceOpt,
    JsonOpt,
    SetOpt,
    SyntheticOpt,
    answer,
    collect_overrides,
    following,
)
from portrait_lora.commands.paths import need_folder, need_likeness
from portrait_lora.commands.readiness import ConsentOpt, OfflineOpt, SubjectOpt, YesOpt, get_ready, record_for


def demo(
    out: Annotated[Path, typer.Option("--out", help="folder for the likeness")] = Path("demo"),
    person_seed: Annotated[
        int, typer.Option("--person-seed", min=0, max=9999, help="seed of the made-up person")
    ] = 7,
    settings: SetOpt = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """The whole journey for a made-up person, on the embedded models; nothing is downloaded."""
    from portrait_lora import recipe, summaries

    result = recipe.demo(out, person_seed, overrides=collect_overrides(settings), force=force)
    browser = shlex.join(["portrait-lora", "web", "--likeness", str(out), "--open"])
    report = out / "reports" / "drift.html"
    answer(result, as_json, summaries.of_run(result, out), f"open {report}, or try everything: {browser}")


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="a likeness folder, or a folder of photos")
    ],
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Check every photo: face, identity, sharpness, duplicates; coverage of angles and expressions."""
    need_folder(folder, "such folder", "a likeness folder, or a folder of photos")
    from portrait_lora import recipe, summaries

    overrides = collect_overrides(settings, allow_synthetic)
    if subject or consent:
        record_for(folder, overrides, subject, consent)
    result = recipe.check(folder, overrides=overrides)
    answer(result, as_json, summaries.of_check(result), _after_check(folder, overrides, result.enough))
    if not result.enough:
        raise typer.Exit(errors.EXIT_PHOTOS)


def _after_check(folder: Path, overrides: list[str], enough: bool) -> str:
    """The next step: more photos, a likeness folder, or the next stage."""
    likeness = (folder / "photos").is_dir()
    if not enough:
        place = folder / "photos" if likeness else folder
        return f"add photos to {place}, then {following('check', folder, overrides)}"
    if not likeness:
        return shlex.join(["portrait-lora", "init", "my_likeness", "--photos", str(folder)])
    return following("prepare", folder, overrides)


def prepare(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Hold out some photos for scoring; crop and caption the others."""
    need_likeness(folder)
    from portrait_lora import recipe, summaries
    from portrait_lora.results import PrepareResult

    overrides = collect_overrides(settings, allow_synthetic)
    done = recipe.prepare(folder, overrides=overrides, force=force)
    lines = summaries.of_prepare(done.of(PrepareResult))
    answer(done, as_json, lines, following("train", folder, overrides))


def train(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    yes: YesOpt = False,
    offline: OfflineOpt = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only estimate memory and time")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Train the LoRA and select its checkpoint on held-out photos."""
    need_likeness(folder)
    from portrait_lora import recipe, summaries
    from portrait_lora.results import SelectResult, TrainingResult

    overrides = collect_overrides(settings, allow_synthetic)
    if dry_run:
        planned = recipe.plan_training(folder, overrides=overrides)
        then = following("train", folder, overrides) if planned.fits else ""
        answer(planned, as_json, summaries.of_plan(planned), then)
        raise typer.Exit(errors.EXIT_DONE if planned.fits else errors.EXIT_BAD_INPUT)
    get_ready(folder, overrides, subject=subject, consent=consent, yes=yes, offline=offline)
    done = recipe.train(folder, overrides=overrides, force=force)
    lines = summaries.of_train(done.of(TrainingResult), done.of(SelectResult))
    answer(done, as_json, lines, following("generate", folder, overrides))


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
    """Run all stages: check, prepare, train, select, generate, score.  Finished stages are skipped."""
    need_likeness(folder)
    from portrait_lora import recipe, summaries

    overrides = collect_overrides(settings, allow_synthetic)
    get_ready(folder, overrides, subject=subject, consent=consent, yes=yes, offline=offline, scores=True)
    result = recipe.run(folder, overrides=overrides, force=force)
    answer(result, as_json, summaries.of_run(result, folder), f"open {folder / 'reports' / 'drift.html'}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, check, prepare, train, run):
        app.command(rich_help_panel=START)(command)
