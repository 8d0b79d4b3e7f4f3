"""Signed content credentials: `sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait_lora.commands.options import RIGHTS, JsonOpt, answer
from portrait_lora.commands.paths import need_file, need_files


def sign(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="generated PNG, JPEG or WebP pictures")
    ],
    certificate: Annotated[
        Path, typer.Option("--certificate", metavar="PEM", help="PEM certificate chain, yours first")
    ],
    key: Annotated[Path, typer.Option("--key", metavar="PEM", help="private key of your certificate (PEM)")],
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
    as_json: JsonOpt = False,
) -> None:
    """Write signed copies of pictures, with C2PA content credentials that declare them generated."""
    need_files(files, "picture")
    need_file(certificate, "certificate")
    need_file(key, "private key")
    from portrait_lora.rights.signer import load_signer
    from portrait_lora.tasks.sign import sign_files

    signer = load_signer(certificate, key)
    signed = sign_files(files, signer, out, title=title, timestamp_authority=timestamp)
    rows = [{"file": str(m.source), "signed": str(m.path), "sha256": m.sha256} for m in signed]
    summary = {"signer": signer.subject, "algorithm": signer.algorithm, "pictures": rows}
    lines = [f"{m.path}: signed by {m.credentials.signer} ({m.credentials.algorithm})" for m in signed]
    answer(summary, as_json, lines, f"portrait-lora inspect {signed[0].path}" if signed else "")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel=RIGHTS)(sign)
