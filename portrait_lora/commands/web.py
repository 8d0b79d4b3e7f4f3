"""The studio in a browser: `web`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from portrait_lora import terminal
from portrait_lora.commands.options import START
from portrait_lora.commands.paths import need_file
from portrait_lora.errors import require_extra


def web(
    home: Annotated[
        Path, typer.Argument(metavar="[HOME]", help="folder of the studio, made when it is not there")
    ] = Path("studio"),
    opens: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
    port: Annotated[int, typer.Option("--port", help="0 takes a free one")] = 7860,
    likenesses: Annotated[
        list[Path] | None,
        typer.Option("--likeness", metavar="DIR", help="also show a likeness folder from elsewhere"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="where jobs run: auto, cpu, cuda, or several, as cuda:0,cuda:1")
    ] = "auto",
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="users and roles of a team (YAML)")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; any but this machine's needs TLS and users")
    ] = "127.0.0.1",
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="a name under which others reach it"),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="PEM", help="certificate chain of this server")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="its private key")] = None,
    webhooks: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-webhook",
            metavar="HOST[:PORT]",
            help="a host of your own network that webhooks may go to",
        ),
    ] = None,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="only print the hash of a password, for --users")
    ] = False,
) -> None:
    """Open the studio in a browser: photos, training, portraits and figures without a terminal.

    It serves this machine alone, under a link with a random token.
    """
    if hash_password:
        from portrait_lora.web.users import hash_password as hashed

        terminal.say(hashed(_password()))
        return
    for module in ("fastapi", "uvicorn", "python_multipart"):
        require_extra(module, "web")
    need_file(users, "file of users")
    need_file(certificate, "certificate")
    need_file(key, "private key")
    from portrait_lora.web.serve import Listen, serve
    from portrait_lora.web.web_settings import WebSettings

    devices = tuple(one.strip() for one in device.split(","))
    settings = WebSettings(
        users=users,
        devices=devices,
        likenesses=tuple(likenesses or ()),
        webhook_hosts=tuple(webhooks or ()),
    )
    serve(home, Listen(host, port, certificate, key, tuple(names or ())), settings, opens=opens)
    terminal.say("The studio is closed. What was running goes on when it is opened again.")


def _password() -> str:
    if sys.stdin.isatty():
        return typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return sys.stdin.readline().rstrip("\r\n")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel=START)(web)
