"""Preconditions of a run: consent, rights and models, checked before the work starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait_lora import terminal
from portrait_lora.commands.options import confirm
from portrait_lora.errors import InputError

if TYPE_CHECKING:
    from portrait_lora.config import CaptionConfig, LikenessConfig
    from portrait_lora.hub.hub import Hub
    from portrait_lora.tasks.pull import Need

OfflineOpt = Annotated[bool, typer.Option("--offline", help="use only local files; open no connection")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="download what is needed without asking")]
SubjectOpt = Annotated[
    bool,
    typer.Option("--i-am-the-subject", help="the photos show me and I consent; recorded in consent.json"),
]
ConsentOpt = Annotated[
    Path | None,
    typer.Option(
        "--consent", metavar="FILE", help="YAML with the person's consent: who, purposes, until, statement"
    ),
]


def record_consent(folder: Path, subject: bool, file: Path | None, name: str) -> None:
    """Write consent.json if one of the two options was used."""
    from portrait_lora.rights import consent

    if stated := consent.stated(subject, file, name):
        consent.write(folder, stated)


def record_for(folder: Path, overrides: list[str], subject: bool, file: Path | None) -> None:
    """`record_consent` under the name in the settings.  Raises `InputError` for no likeness folder."""
    from portrait_lora import config

    if not (folder / "photos").is_dir():
        raise InputError(
            "consent is recorded in a likeness folder", where=folder, needed="photos/ in it",
            remedy="Make one: portrait-lora init FOLDER --photos PHOTOS.",
        )  # fmt: skip
    settings = folder / config.FILE_NAME
    name = config.load(settings if settings.is_file() else None, overrides).subject.name
    record_consent(folder, subject, file, name)


def get_ready(
    folder: Path,
    overrides: list[str],
    *,
    subject: bool,
    consent: Path | None,
    yes: bool,
    offline: bool,
    scores: bool = False,
) -> None:
    """Record consent, show rights, download models; raises `InputError` for an unmet precondition.

    A folder that is not a likeness folder is reported by the run itself.
    """
    from portrait_lora import config

    if offline:
        from portrait_lora.hub.hub import go_offline

        go_offline()
    if not (folder / "photos").is_dir():
        return
    file = folder / config.FILE_NAME
    settings = config.load(file if file.is_file() else None, overrides)
    record_consent(folder, subject, consent, settings.subject.name)
    if not (folder / "adapters" / settings.run / "adapter.safetensors").is_file():
        _refuse_what_does_not_fit(folder, overrides)
    names = [n for n in (settings.base, settings.face_pack) if n != "embedded"]
    captioner = settings.dataset.captions.captioner
    if names or captioner in ("florence2", "blip"):
        fetch_missing(names, folder, yes=yes, offline=offline, captions=settings.dataset.captions)
    show_rights(settings)
    if scores:
        _name_the_floor(settings.face_pack)


def _refuse_what_does_not_fit(folder: Path, overrides: list[str]) -> None:
    """Refuse a base too large for this machine, or without what is asked of it, before it is downloaded;
    training checks again."""
    from portrait_lora import likeness
    from portrait_lora.stages import Context, limits, referring

    ctx = Context(likeness.open_likeness(folder, overrides))
    referring.refuse_to_train_with(ctx)
    if not ctx.base.synthetic:
        limits.require_fit_at_all(ctx)


def _name_the_floor(name: str) -> None:
    """If the face pack has no impostor gallery, report before training which impostor figure will be used."""
    from portrait_lora.faces.packs import resolve_pack

    pack = resolve_pack(name)
    if pack.impostors is not None:
        return
    published = pack.published("report")
    what = "published figures are used instead" if published else "the share of ceiling will not be reported"
    terminal.say(
        f"Face pack {pack.name} has no impostor gallery: {what}.  For a better figure, at any time: "
        f"portrait-lora gallery {name} --people DIR\n",
        err=True,
    )


def fetch_missing(
    names: list[str], folder: Path, *, yes: bool, offline: bool, captions: CaptionConfig | None = None
) -> None:
    """Download missing models, after showing size and time and asking for confirmation.

    A captioning model is included in the question; its library downloads it at the first caption.
    """
    from portrait_lora.hub.hub import Hub
    from portrait_lora.tasks import pull

    hub = Hub.from_environment(offline=offline)
    needs = pull.needs(names, folder, hub)
    words = pull.captioner_need(captions.captioner, captions.model, hub) if captions else []
    if not needs and not words:
        return
    show_downloads([*needs, *words])
    if hub.offline:
        first = [*needs, *words][0].name
        how = f"portrait-lora pull {first} --into {folder}" if needs else f"hf download {first}"
        raise InputError(
            "this model is not on this machine, and the network is disabled",
            where=first,
            remedy=f"Run without --offline and HF_HUB_OFFLINE: {how}",
        )
    if not yes:
        _ask(needs, words, folder)
    for need in needs:
        pull.pull(need.name, folder, hub)


def show_downloads(needs: list[Need]) -> None:
    """Size, time, licence and page of each download, on stderr; nothing where there is none."""
    if not needs:
        return
    terminal.say("To be downloaded:", err=True)
    for line in download_lines(needs):
        terminal.say(line, err=True)


def download_lines(needs: list[Need]) -> list[str]:
    """Print size, time, licence and page of each download."""
    import math

    from portrait_lora.tasks.pull import MEGABYTES_PER_SECOND

    lines: list[str] = []
    for need in needs:
        gated = "; accept its licence on that page first" if need.gated else ""
        time = f"about {need.minutes:.0f} min at {MEGABYTES_PER_SECOND:.0f} MB/s"
        size = f"about {need.gigabytes:.1f} GB, {time if need.minutes >= 1 else 'under a minute'}"
        lines.append(f"  {need.name}: {'size not known' if math.isnan(need.gigabytes) else size}")
        lines.append(f"    {need.licence}, {need.page}{gated}")
    return lines


def _ask(needs: list[Need], words: list[Need], folder: Path) -> None:
    if not sys.stdin.isatty():
        names = " ".join(need.name for need in needs)
        first = [f"portrait-lora pull {names} --into {folder}"] if needs else []
        fetch = " && ".join([*first, *(f"hf download {need.name}" for need in words)])
        raise InputError(
            "a download is needed; cannot prompt: stdin is not a terminal",
            where=folder,
            got=f"{' '.join(need.name for need in [*needs, *words])} not on this machine",
            remedy=f"Add --yes, or download first: {fetch}",
        )
    confirm("Continue?", "Nothing was downloaded.")


def show_rights(settings: LikenessConfig) -> None:
    """Print the rights table on stderr; `InputError` when commercial use is requested and not allowed."""
    from portrait_lora.rights import table as rights
    from portrait_lora.tasks.rights_of import rights_of

    rows = rights_of(settings)
    terminal.say("\n".join(rights.lines(rows)) + "\n", err=True)
    if settings.commercial:
        rights.refuse_commercial(rows)


def open_hub(offline: bool) -> Hub:
    """The hub of this environment."""
    from portrait_lora.hub.hub import Hub

    return Hub.from_environment(offline=offline)
