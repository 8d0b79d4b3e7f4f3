"""Finishing portraits for delivery: `finish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait_lora import errors
from portrait_lora.commands.options import PORTRAITS, JsonOpt, SetOpt, SyntheticOpt, answer, collect_overrides

if TYPE_CHECKING:
    from portrait_lora.tasks.finish import FinishedPicture


def finish(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE|SERIES]", help="a picture, or the folder of a series")
    ] = None,
    look: Annotated[str, typer.Option("--look", help="a shipped look, or a YAML file")] = "",
    listed: Annotated[bool, typer.Option("--list", help="list the shipped looks and all steps")] = False,
    likeness: Annotated[
        Path | None,
        typer.Option("--likeness", help="likeness folder of the person, if the picture is not in it"),
    ] = None,
    layers: Annotated[
        Path | None,
        typer.Option("--from", help="layered file (.ora, .psd) that was edited in another program"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder for the finished pictures")] = None,
    limit: Annotated[
        float, typer.Option("--limit", min=0.0, max=1.0, help="likeness that one step may cost")
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of grain and other noise")] = 0,
    passport: Annotated[
        str,
        typer.Option(
            "--passport",
            metavar="COUNTRY",
            help="only check a photograph against a country's passport photo, or a document such as uk-visa",
        ),
    ] = "",
    allow_synthetic: SyntheticOpt = False,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Finish portraits by a look, and measure likeness before and after every step."""
    if passport:
        if path is None or look or listed:
            raise typer.BadParameter("--passport checks a photograph: name its file, and no look")
        _passport(path, passport, collect_overrides(settings, allow_synthetic), as_json)
        return
    if layers is not None:
        _from_layers(layers, likeness, out, collect_overrides(settings, allow_synthetic), as_json)
        return
    if listed or path is None or not look:
        if path is not None and not listed:
            raise typer.BadParameter("name a look with --look; --list shows them")
        _list(as_json)
        return
    from portrait_lora.tasks import finish as finishing

    overrides = collect_overrides(settings, allow_synthetic)
    result = finishing.finish(path, look, likeness, out, overrides, limit=limit, seed=seed)
    lines = [line for one in result.pictures for line in _lines(one, result.references)]
    done = [one for one in result.pictures if one.file]
    lines.append(f"{len(done)} of {len(result.pictures)} pictures in {result.folder}")
    following = f"open {result.page}"
    answer(result, as_json, lines, following)
    if len(done) < len(result.pictures):
        raise typer.Exit(errors.EXIT_FAILED)


def _passport(path: Path, wanted: str, overrides: list[str], as_json: bool) -> None:
    from portrait_lora.tasks import passport

    result = passport.check(path, wanted, overrides)
    words = {True: "passed", False: "FAILED", None: "not checked"}
    lines = [f"{result.document}: {'no objection measured' if result.passed else 'not as prescribed'}"]
    lines += [f"  {one.rule}: {words[one.passed]}: {one.got}; needed {one.needed}" for one in result.checks]
    lines += ["to be judged by eye:", *(f"  {one}" for one in result.by_eye)]
    answer(result, as_json, lines, "")
    if not result.passed:
        raise typer.Exit(errors.EXIT_FAILED)


def _from_layers(
    layers: Path, likeness: Path | None, out: Path | None, overrides: list[str], as_json: bool
) -> None:
    from portrait_lora.tasks import relayered

    result = relayered.from_layers(layers, likeness, out, overrides)
    lines = [f"edited: {', '.join(result.edited) or 'nothing'}"]
    lines += ["the steps above were carried out again"] if result.chain_again else []
    lines += [result.file + _change("A", result.before_a, result.after_a)]
    answer(result, as_json, lines, f"portrait-lora inspect {result.file}")


def _lines(one: FinishedPicture, references: str) -> list[str]:
    if one.refused:
        return [f"{Path(one.source).name}: refused: {one.refused}"]
    likeness = _change("A", one.before_a, one.after_a) + _change("B", one.before_b, one.after_b)
    measured = f"likeness to {references}{likeness}" if likeness else "likeness not measured: no face"
    lines = [f"{Path(one.file or '').name}: {measured}"]
    lines += [f"  {s.step}: {s.moving.words}" for s in one.steps if s.moving]
    return lines + [
        f"  {s.step}: weakened to {s.strength:.0%} to keep the likeness" for s in one.steps if s.strength < 1
    ]


def _change(name: str, before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f" {name} {before:.3f} -> {after:.3f}"


def _list(as_json: bool) -> None:
    from portrait_lora.finishing import formats, steps
    from portrait_lora.finishing import look as looks

    every = [looks.load_look(name) for name in looks.packaged_looks()]
    rows = [{"name": o.name, "about": o.about, "steps": [p.step.name for p in o.steps]} for o in every]
    width = max(len(o.name) for o in every)
    lines = [f"{o.name:<{width}}  {o.about}" for o in every]
    lines += ["", f"steps: {', '.join(steps.by_name())}", "", "presets of the step format:"]
    lines += [f"{name:<{width}}  {one.about}" for name, one in formats.PRESETS.items()]
    presets = {name: one.about for name, one in formats.PRESETS.items()}
    answer(
        {"looks": rows, "steps": list(steps.by_name()), "formats": presets},
        as_json,
        lines,
        f"portrait-lora finish FILE --look {every[0].name}",
    )


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=PORTRAITS)(finish)
