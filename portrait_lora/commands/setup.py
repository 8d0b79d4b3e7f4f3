"""Setup: `init`, `models` and `config show|schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portrait_lora import terminal
from portrait_lora.commands.options import (
    DATA,
    MODELS,
    START,
    FolderArg,
    JsonOpt,
    SetOpt,
    answer,
    collect_overrides,
)
from portrait_lora.commands.paths import need_folder
from portrait_lora.commands.readiness import (
    ConsentOpt,
    SubjectOpt,
    download_lines,
    record_consent,
)

if TYPE_CHECKING:
    from portrait_lora.tasks.pull import Need


def init(
    folder: FolderArg,
    photos: Annotated[Path, typer.Option("--photos", help="folder with 10-20 pictures of one person")],
    settings: SetOpt = None,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="the portraits will be used commercially")
    ] = False,
    subject: SubjectOpt = False,
    consent: ConsentOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Create a likeness folder: copy the photos, choose a base for this machine, write likeness.yaml."""
    need_folder(photos, "such folder of photos", "a folder with 10-20 pictures")
    from portrait_lora import likeness, recipe, summaries
    from portrait_lora.rights import consent as consents
    from portrait_lora.tasks.propose import proposed_settings

    overrides, left_out = collect_overrides(settings), likeness.left_out(photos)
    proposed, reasons = proposed_settings(photos, overrides, commercial=commercial)
    consents.stated(subject, consent, "")  # refused before anything is copied
    created = recipe.init(folder, photos, overrides=[*proposed, *overrides])
    record_consent(folder, subject, consent, "")
    cost, needs = recipe.plan_training(folder), _downloads(folder)
    lines = [
        f"{created.photos} files copied to {folder / 'photos'}; settings in {folder / 'likeness.yaml'}",
        *([f"  {created.captions} captions copied with them"] if created.captions else []),
        *(f"  not copied: subfolder {name}; move its photos up to use them" for name in left_out),
        *(f"  {reason}" for reason in reasons),
        *_open_consent(folder, commercial),
        *summaries.of_cost(cost),
        *(["  downloads needed first:", *(f"  {line}" for line in download_lines(needs))] if needs else []),
    ]
    following = f"portrait-lora check {folder}"
    chosen: dict[str, object] = {"chosen": proposed, "reasons": reasons, "subfolders": left_out}
    chosen |= {"training": cost.json_value()}
    chosen |= {"downloads": [{"name": n.name, "gigabytes": n.gigabytes} for n in needs]}
    answer({**created.json_value(), **chosen}, as_json, lines, following)


def _downloads(folder: Path) -> list[Need]:
    """The configured models that are not on this machine; uses no network."""
    from portrait_lora.hub.hub import Hub
    from portrait_lora.likeness import open_likeness
    from portrait_lora.tasks import pull

    settings = open_likeness(folder).config
    return pull.needs([settings.base, settings.face_pack], folder, Hub.from_environment(offline=True))


def _open_consent(folder: Path, commercial: bool) -> list[str]:
    """The preconditions of training, reported early."""
    from portrait_lora import errors
    from portrait_lora.rights import consent

    try:
        consent.require(folder, folder / "photos", commercial=commercial)
    except errors.PortraitError as error:
        return [f"  before training: {error.what}. {error.remedy}"]
    return []


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="all details of one base model or face pack")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """List the supported base models and face packs, with licence and memory needs."""
    from portrait_lora import summaries
    from portrait_lora.faces.table import pack_lines, pack_table

    if name is not None:
        _one_model(name, as_json)
        return
    rows, packs = _base_rows(), pack_table()
    lines = [*summaries.of_models(rows), "", *pack_lines(packs)]
    following = "portrait-lora models NAME, or portrait-lora init DIR --photos PHOTOS -s base=NAME"
    answer({"models": rows, "face_packs": packs}, as_json, lines, following)


def _base_rows() -> list[dict[str, Any]]:
    """The catalogue, each row with the planner's estimate of GPU memory in GB: least and quickest."""
    from portrait_lora.families import catalog
    from portrait_lora.stages.usual import memory_range_gb

    ranges = {b.name: [round(v, 1) for v in memory_range_gb(b)] for b in catalog.bases()}
    return [{**row, "training_memory_gb": ranges[str(row["name"])]} for row in catalog.table()]


def _one_model(name: str, as_json: bool) -> None:
    """One row in full; `embedded` means the base of that name."""
    from portrait_lora import config, summaries
    from portrait_lora.faces.table import pack_details, pack_table
    from portrait_lora.families import catalog

    base = next((r for r in _base_rows() if r["name"] == name), None)
    pack = next((r for r in pack_table() if r["name"] == name), None)
    if base is not None:
        lines = summaries.of_model(base, config.load(None, [f"base={name}"]))
        answer({"model": base}, as_json, lines, f"portrait-lora init DIR --photos PHOTOS -s base={name}")
    elif pack is not None:
        answer({"face_pack": pack}, as_json, pack_details(pack), f"portrait-lora pull {name}")
    else:
        catalog.resolve_base(name)  # raises with the nearest name


def config_show(
    folder: Annotated[Path | None, typer.Argument(metavar="[LIKENESS_DIR]")] = None, settings: SetOpt = None
) -> None:
    """Print the resolved configuration as YAML."""
    from portrait_lora import config

    file = None if folder is None else folder / config.FILE_NAME
    terminal.say(config.dump(config.load(file, collect_overrides(settings))), nl=False)


def config_schema() -> None:
    """Print the JSON Schema of likeness.yaml."""
    from portrait_lora import config

    terminal.say(json.dumps(config.LikenessConfig.model_json_schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=START)(init)
    app.command(rich_help_panel=MODELS)(models)
    config_app = typer.Typer(help="Show the resolved configuration or its JSON Schema.", no_args_is_help=True)
    config_app.command("show")(config_show)
    config_app.command("schema")(config_schema)
    app.add_typer(config_app, name="config", rich_help_panel=DATA)
