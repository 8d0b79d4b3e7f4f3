"""Measuring: `score` for a likeness or for pictures from any tool, `compare` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait_lora.commands.options import (
    MEASURE,
    ForceOpt,
    JsonOpt,
    SetOpt,
    SyntheticOpt,
    answer,
    collect_overrides,
)
from portrait_lora.commands.paths import need_file, need_folder, need_likeness
from portrait_lora.errors import InputError


def score(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[LIKENESS_DIR]", help="folder with photos/ and likeness.yaml")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option("--photos", help="real photos of the person, to score pictures of any tool")
    ] = None,
    portraits: Annotated[Path | None, typer.Option("--portraits", help="pictures to score")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="CSV with file,prompt and optionally meaning (for paraphrases)"),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option("--training", help="photos that the tool was trained on, other than --photos"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="output folder of the report (default: beside the portraits)")
    ] = None,
    face_pack: Annotated[str, typer.Option("--face-pack", help="a known pack, or a folder")] = "embedded",
    threshold: Annotated[
        Path | None,
        typer.Option("--threshold", help="threshold file written by `calibrate`"),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip", help="also measure prompt adherence with this CLIP model: a folder or hub name"
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            "--over", metavar="KEY=A,B,C", help="also measure drift over the values of a sampler setting"
        ),
    ] = None,
    adapter: Annotated[
        bool,
        typer.Option("--adapter/--no-adapter", help="without: what was drawn from reference photos alone"),
    ] = True,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Measure how well identity is preserved, prompt by prompt."""
    if folder is not None:
        _only_standalone(photos=photos, portraits=portraits, prompts=prompts, training=training)
        need_likeness(folder)
        from portrait_lora import recipe, summaries
        from portrait_lora.results import ScoreResult

        overrides = [*collect_overrides(settings, allow_synthetic), *([f"score.clip={clip}"] if clip else [])]
        if over and not adapter:
            raise typer.BadParameter("--over compares settings of the adapter: omit --no-adapter")
        done = recipe.score(folder, overrides=overrides, force=force, adapter=adapter)
        value, lines = done.json_value(), summaries.of_likeness(done.of(ScoreResult).likeness)
        if over:
            from portrait_lora.tasks import drift_over

            swept = drift_over.run(folder, over, overrides)
            value["sweep"] = swept.json_value()
            lines += [row.sentence for row in swept.rows]
        answer(value, as_json, lines, f"open {done.of(ScoreResult).report}")
        return
    if not adapter:
        raise typer.BadParameter("--no-adapter needs a LIKENESS_DIR")
    if photos is None or portraits is None:
        raise typer.BadParameter("pass a LIKENESS_DIR, or both --photos DIR and --portraits DIR")
    for place, what in ((photos, "folder of photos"), (portraits, "folder of portraits")):
        need_folder(place, what, "a folder of pictures")
    need_folder(training, "folder of training photos", "a folder of pictures")
    need_file(prompts, "table of prompts", "CSV with file,prompt")
    need_file(threshold, "threshold file")
    from portrait_lora.tasks import judge

    target = out or portraits.parent / f"{portraits.name}_report"
    result = judge.score_folders(
        photos,
        portraits,
        target,
        training=training,
        prompts_csv=prompts,
        face_pack=face_pack,
        threshold_file=threshold,
        allow_synthetic=allow_synthetic,
        clip=clip or "",
    )
    answer(result, as_json, judge.lines_of(result), f"open {result.report}")


def _only_standalone(**options: Path | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"--{name} is for pictures of other tools: omit LIKENESS_DIR")


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="a likeness folder or a drift.json")],
    b: Annotated[Path, typer.Argument(metavar="B", help="another, with the same held-out photos")],
    as_json: JsonOpt = False,
) -> None:
    """Compare the likeness of two adapters: difference and confidence interval."""
    _need_reports([a, b])
    from portrait_lora.tasks import compare as collating

    summary = collating.compare_reports(a, b)
    answer(summary, as_json, collating.comparison_lines(summary), f"portrait-lora report {a} {b}")


def _need_reports(places: list[Path]) -> None:
    """Raise `InputError` for the first path that is neither a file nor a folder."""
    for place in places:
        if not place.exists():
            raise InputError(
                "no report in this folder",
                where=place,
                got="no such file or folder",
                needed="a likeness folder or a drift.json",
                remedy=f"Score first: portrait-lora score {place}",
            )


def report(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="likeness folders or drift.json files")
    ],
    groups: Annotated[
        Path | None, typer.Option("--groups", help="CSV with name and group labels such as skin_tone,age,sex")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="also write a row per person to this CSV")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Compare several people side by side, with error rates by group if labels are provided."""
    _need_reports(reports)
    need_file(groups, "table of groups", "CSV with name and labels")
    from portrait_lora.tasks import compare as collating

    summary = collating.collate(reports, groups, out)
    worst = min(zip(reports, summary["people"], strict=True), key=lambda pair: pair[1]["mean"])[0]
    page = collating.report_file(worst).with_suffix(".html")
    answer(summary, as_json, collating.collation_lines(summary), f"open {page}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (score, compare, report):
        app.command(rich_help_panel=MEASURE)(command)
