"""Before a journey: consent, rights, and models, each asked for before it matters, never an hour later."""

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

OfflineOpt = Annotated[
    bool, typer.Option("--offline", help="open no connection; use only what is on this machine")
]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="do not ask; download what is needed")]
SubjectOpt = Annotated[
    bool, typer.Option("--i-am-the-subject", help="the photos show me, and I agree: recorded in consent.json")
]
ConsentOpt = Annotated[
    Path | None,
    typer.Option("--consent", metavar="FILE", help="YAML: who, purposes, until, statement (of the person)"),
]


def record_consent(folder: Path, subject: bool, file: Path | None, name: str) -> None:
    """Write consent.json when one of the two options was given."""
    from portrait_lora.rights import consent

    if stated := consent.stated(subject, file, name):
        consent.write(folder, stated)


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
    """Consent recorded, rights shown, models on this machine; raises `InputError` for what is in the way.

    A folder that is no likeness folder is left to the journey's own message.
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
    names = [n for n in (settings.base, settings.face_pack) if n not in ("embedded", "synthetic")]
    captioner = settings.dataset.captions.captioner
    if names or captioner in ("florence2", "blip"):
        fetch_missing(names, folder, yes=yes, offline=offline, captions=settings.dataset.captions)
    show_rights(settings)
    if scores:
        _name_the_floor(settings.face_pack)


def _refuse_what_does_not_fit(folder: Path, overrides: list[str]) -> None:
    """A base too large for this machine is refused before it is downloaded; training looks once more."""
    from portrait_lora import likeness
    from portrait_lora.stages import Context, limits

    ctx = Context(likeness.open_likeness(folder, overrides))
    if not ctx.base.synthetic:
        limits.require_fit_at_all(ctx)


def _name_the_floor(name: str) -> None:
    """Say now, not after training, what the figure of other people will be where there is no gallery."""
    from portrait_lora.faces.packs import resolve_pack

    pack = resolve_pack(name)
    if pack.impostors is not None:
        return
    published = pack.published("report")
    what = "published figures stand in for it" if published else "the share of ceiling will not be measured"
    terminal.say(
        f"Face pack {pack.name} has no gallery of other people: {what}.  A sharper figure, any time later: "
        f"portrait-lora gallery {name} --people DIR\n",
        err=True,
    )


def fetch_missing(
    names: list[str], folder: Path, *, yes: bool, offline: bool, captions: CaptionConfig | None = None
) -> None:
    """Pull what is missing, after showing size and time and asking.

    A captioning model is asked about like the others; its library fetches it at the first caption.
    """
    from portrait_lora.hub.hub import Hub
    from portrait_lora.tasks import pull

    hub = Hub.from_environment(offline=offline)
    needs = pull.needs(names, folder, hub)
    words = pull.captioner_need(captions.captioner, captions.model, hub) if captions else []
    if not needs and not words:
        return
    _show([*needs, *words])
    if hub.offline:
        first = [*needs, *words][0].name
        how = f"portrait-lora pull {first} --into {folder}" if needs else f"hf download {first}"
        raise InputError(
            "this model is not on this machine, and the network is switched off",
            where=first,
            remedy=f"Run without --offline and HF_HUB_OFFLINE: {how}",
        )
    if not yes:
        _ask(needs, words, folder)
    for need in needs:
        pull.pull(need.name, folder, hub)


def _show(needs: list[Need]) -> None:
    terminal.say("To be downloaded:", err=True)
    for line in download_lines(needs):
        terminal.say(line, err=True)


def download_lines(needs: list[Need]) -> list[str]:
    """Size, time, licence and page of each download, for people."""
    import math

    from portrait_lora.tasks.pull import MEGABYTES_PER_SECOND

    lines: list[str] = []
    for need in needs:
        gated = "; its licence has to be accepted on the page first" if need.gated else ""
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
            "a download is needed, and nobody can be asked",
            where=folder,
            got=f"{' '.join(need.name for need in [*needs, *words])} not on this machine",
            remedy=f"Add --yes, or fetch first: {fetch}",
        )
    confirm("Go on?", "Nothing was downloaded.")


def show_rights(settings: LikenessConfig) -> None:
    """The rights table on stderr; `InputError` when commercial use is asked for and not allowed."""
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
