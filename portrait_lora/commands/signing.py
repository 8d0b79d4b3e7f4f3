"""Marks of generated media: `sign` and `detect`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from portrait_lora.commands.options import RIGHTS, JsonOpt, answer
from portrait_lora.commands.paths import need_file, need_files
from portrait_lora.errors import InputError


def sign(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="generated PNG, JPEG or WebP pictures")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="PEM",
            help="PEM certificate chain, yours first (default: this machine's, as the policy says)",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PEM", help="private key of your certificate (PEM)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="output folder (default: signed/ beside the picture)"),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="title to put into the credentials")] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            "--timestamp", metavar="URL", help="URL of a time-stamp authority; without it no network is used"
        ),
    ] = None,
    new_certificate: Annotated[
        bool,
        typer.Option(
            "--new-certificate", help="make a new local certificate; the old one stays known here as yours"
        ),
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Write signed copies of pictures, with C2PA content credentials that declare them generated.

    Everything that this program writes is signed with the certificate of this machine already; this adds the
    signature of another one, such as that of a real authority.
    """
    from portrait_lora.rights import identity

    if new_certificate:
        place = identity.make(anew=True)
        answer({"certificate": str(place)}, as_json, [f"a new local certificate lies in {place}"], "")
        if not files:
            return
    need_files(files or [], "picture")
    if (certificate is None) != (key is None):
        raise InputError("half of a signer", needed="both --certificate and --key, or neither")
    if certificate is not None and key is not None:
        need_file(certificate, "certificate")
        need_file(key, "private key")
    from portrait_lora.rights.signer import load_signer
    from portrait_lora.tasks.sign import sign_files

    signer = load_signer(certificate, key) if certificate and key else identity.current()
    signed = sign_files(files or [], signer, out, title=title, timestamp_authority=timestamp)
    rows = [{"file": str(m.source), "signed": str(m.path), "sha256": m.sha256} for m in signed]
    summary = {"signer": signer.subject, "algorithm": signer.algorithm, "pictures": rows}
    lines = [f"{m.path}: signed by {m.credentials.signer} ({m.credentials.algorithm})" for m in signed]
    answer(summary, as_json, lines, f"portrait-lora inspect {signed[0].path}" if signed else "")


def detect(
    place: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="a picture, or a folder of them")],
    trust: Annotated[
        Path | None,
        typer.Option("--trust", metavar="PEM", help="certificates of trusted authorities (PEM)"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Tell which marks of generated media pictures carry: XMP, signed credentials, watermark.

    Nothing is sent anywhere.  That no mark was found does not mean that a picture is a photograph.
    """
    need_file(trust, "file of certificates")
    from portrait_lora.tasks.detect import detect as look
    from portrait_lora.tasks.detect import in_words, rate_in_words

    detection = look(place, trust.read_bytes() if trust else None)
    lines = [line for row in detection.files for line in in_words(row)]
    if len(detection.files) > 1:
        counts = Counter(row.verdict for row in detection.files)
        lines += ["", f"{len(detection.files)} files: " + ", ".join(f"{n} {v}" for v, n in counts.items())]
    lines += ["", rate_in_words(detection.false_positive_rate)]
    answer(detection, as_json, lines, "")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=RIGHTS)(sign)
    app.command(rich_help_panel=RIGHTS)(detect)
