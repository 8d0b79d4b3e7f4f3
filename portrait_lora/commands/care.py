"""Models, machine and personal data: from `pull` and `convert` to `inspect` and `forget`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora import terminal
from portrait_lora.commands.options import (
    MODELS,
    RIGHTS,
    FolderArg,
    JsonOpt,
    SetOpt,
    answer,
    collect_overrides,
    confirm,
)
from portrait_lora.commands.paths import need_file, need_folder, need_likeness
from portrait_lora.commands.readiness import OfflineOpt, open_hub, show_downloads
from portrait_lora.errors import EXIT_FAILED, InputError


def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="base models, face packs, marigold, wan, ltx, trustmark, nsfw-text, nsfw-pictures; default: "
            "what --into needs",
        ),
    ] = None,
    into: Annotated[
        Path, typer.Option("--into", help="likeness folder in which to write portrait-lora.lock")
    ] = Path("."),
    archive: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="zip of a face pack, downloaded before")
    ] = None,
    offline: OfflineOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Download models, verify every byte, and lock the commit and sha256 of every file."""
    from portrait_lora.tasks import pull as pulling

    hub = open_hub(offline)
    wanted = names or list(dict.fromkeys(pulling.names_of(into)))
    if archive is None and not hub.offline:
        show_downloads(pulling.needs(wanted, into, hub))
    rows: list[dict[str, object]] = []
    for name in wanted:
        for model in pulling.pull(name, into, hub, archive=archive):
            rows.append(
                {
                    "name": name,
                    "source": model.source,
                    "commit": model.commit,
                    "files": len(model.files),
                    "bytes": model.size,
                }
            )
    lines = [
        f"{r['name']}: {r['source']}@{str(r['commit'])[:12]}, {r['files']} files, verified" for r in rows
    ]
    lines = lines or [f"{', '.join(wanted)}: nothing to download"]
    answer({"models": rows, "lock": str(into / "portrait-lora.lock")}, as_json, lines, _after_pull(into))


def _after_pull(into: Path) -> str:
    return f"portrait-lora run {into}" if (into / "photos").is_dir() else "portrait-lora doctor"


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="checkpoint of SD 1.x or SDXL (.safetensors)")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder to write, for `base: DIR`")],
    like: Annotated[
        str | None,
        typer.Option(
            "--like", metavar="NAME|DIR", help="base model with the same configuration; default: sd15 or sdxl"
        ),
    ] = None,
    into: Annotated[
        Path, typer.Option("--into", help="likeness folder whose portrait-lora.lock has the commit")
    ] = Path("."),
    offline: OfflineOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Convert a single-file checkpoint (A1111, ComfyUI) to diffusers format; once per checkpoint."""
    need_file(file, "checkpoint", "a .safetensors file")
    from portrait_lora.tasks.convert import convert as make

    family = make(file, out, open_hub(offline), like=like, into=into)
    lines = [f"{out}: {family}, all weights from {file.name}"]
    answer({"folder": str(out), "family": family}, as_json, lines, f"portrait-lora run DIR -s base={out}")


def gallery(
    pack: Annotated[
        str, typer.Argument(metavar="PACK", help="name of a downloaded face pack, or its folder")
    ],
    people: Annotated[
        Path, typer.Option("--people", help="folder with one subfolder of pictures per person")
    ],
    as_json: JsonOpt = False,
) -> None:
    """Build a face pack's gallery of other people, and derive the thresholds of both embedders.

    Pictures without exactly one face, of somebody else, and people who are there twice are left out by name.
    """
    need_folder(people, "such folder of people", "one subfolder of pictures per person")
    from portrait_lora.faces import resolve_pack
    from portrait_lora.tasks.gallery import lines_of, make_gallery

    resolved = resolve_pack(pack)
    if resolved.synthetic:
        raise InputError("a synthetic pack has its gallery already", where=pack)
    result = make_gallery(resolved, people)
    answer(
        {"face_pack": resolved.name, **result.json_value()},
        as_json,
        lines_of(result),
        f"portrait-lora run LIKENESS_DIR -s face_pack={pack}",
    )


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[LIKENESS_DIR]", help="also check this likeness folder")
    ] = None,
    offline: OfflineOpt = False,
    quick: Annotated[bool, typer.Option("--quick", help="skip the self-test")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Check Python, packages, GPU, disk, hub and models; run the embedded models for a few seconds."""
    need_folder(folder, "such folder", "a likeness folder")
    from portrait_lora.doctor import checks as doctors
    from portrait_lora.doctor.machine import probe
    from portrait_lora.doctor.selftest import checked_self_test

    hub = open_hub(offline)
    checks = [*doctors.judge_machine(probe(hub, network=not offline)), *doctors.judge_models(hub)]
    checks += doctors.judge_likeness(folder, hub) if folder else []
    checks += [] if quick else [checked_self_test()]
    summary = doctors.summary(checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<5} {check.name}: {check.observed}")
        lines += [f"      → {check.remedy}"] if check.remedy else []
    failed = sum(check.status == "fail" for check in checks)
    lines += ["", f"{failed} to fix first" if failed else "No problems."]
    following = f"portrait-lora run {folder}" if folder else "portrait-lora demo"
    answer(summary, as_json, lines, "" if failed else following)
    if not summary["healthy"]:
        raise typer.Exit(EXIT_FAILED)


def export(
    folder: FolderArg,
    tool: Annotated[
        Literal["comfy", "kohya", "diffusers"], typer.Option("--for", help="program that will load it")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="default: exports/ in the likeness folder")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="file name; never the person's name")] = "likeness",
    portraits: Annotated[
        bool, typer.Option("--with-portraits", help="include portraits in the model card")
    ] = False,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write the adapter in another program's format, with a sidecar or a model card."""
    need_likeness(folder)
    from portrait_lora.families import catalog, pinned
    from portrait_lora.likeness import open_likeness
    from portrait_lora.rights import consent
    from portrait_lora.tasks.export import export as write

    if Path(name).name != name or name.startswith("."):
        raise InputError("not a file name", where="--name", got=name)
    opened = open_likeness(folder, collect_overrides(settings))
    consent.require_purposes(folder, "training")
    base = pinned.locked(catalog.resolve_base(opened.config.base), folder)
    target = out or folder / "exports" / tool
    summary = write(opened, base, tool, target, name=name, portraits=portraits)
    files = ", ".join(map(str, summary["files"] if isinstance(summary["files"], list) else []))
    lines = [f"{files} in {target}: {summary['layers']} layers, trigger {summary['trigger']!r}"]
    lines.append(f"Put it into {summary['place']}; base model: {summary['base']}")
    lines.append(f"Try: {summary['example_prompt']}")
    answer(summary, as_json, lines, f"portrait-lora inspect {target / files.split(', ')[0]}")


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="a picture, a LoRA, or a folder written by this program")
    ],
    trust: Annotated[
        Path | None,
        typer.Option("--trust", metavar="PEM", help="certificates of trusted authorities (PEM)"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Show how a file was generated, whether it has changed since, and whether it is signed."""
    if not file.exists():
        raise InputError("no such file", where=file)
    need_file(trust, "file of certificates")
    from portrait_lora.tasks.inspect import in_words, inspect_file

    description = inspect_file(file, trust)
    full = [line for key, value in description.items() for line in _shown(key, value, 1)]
    answer(description, as_json, [*in_words(description), "", "in full:", *full], "")


def _shown(key: str, value: object, depth: int = 0) -> list[str]:
    if isinstance(value, dict) and value:
        inner = [line for k, v in value.items() for line in _shown(str(k), v, depth + 1)]
        return [f"{'  ' * depth}{key}:", *inner]
    return [f"{'  ' * depth}{key}: {'-' if value in (None, ()) else value}"]


def forget(
    folder: FolderArg,
    photos: Annotated[bool, typer.Option("--photos", help="also remove photos and settings")] = False,
    copies: Annotated[
        bool,
        typer.Option("--copies", help="also remove listed copies outside the folder, and resized copies"),
    ] = False,
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="DIR", help="also search this folder; repeatable")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="remove without asking")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Remove everything derived from the photos (or the photos too), search for copies, leave a receipt."""
    need_folder(folder, "such folder", "a likeness folder")
    from portrait_lora.tasks import forget as forgetting
    from portrait_lora.tasks.forget_words import after, before

    seen = forgetting.survey(folder, photos=photos, also=also or ())
    terminal.say("\n".join(before(folder, seen, copies=copies)), err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(
                "cannot prompt: stdin is not a terminal",
                where=folder,
                remedy="Add --yes to remove without asking.",
            )
        confirm("This cannot be undone. Continue?", "Nothing was removed.")
        if seen.copies and not copies:
            copies = typer.confirm("Also remove the copies outside and the similar pictures?", err=True)
    from portrait_lora.jobs.homes import forget_jobs

    if jobs := forget_jobs(folder):
        terminal.say(f"Jobs of this person removed from the queue: {jobs}", err=True)
    receipt = forgetting.forget(folder, photos=photos, copies=copies, seen=seen)
    following = "" if photos else f"portrait-lora forget {folder} --photos"
    answer(receipt, as_json, after(folder, receipt), following)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (doctor, pull, convert, gallery):
        app.command(rich_help_panel=MODELS)(command)
    for command in (export, inspect, forget):
        app.command(rich_help_panel=RIGHTS)(command)
