"""The server: on this machine alone unless TLS and users say otherwise, one for a home at a time.

Its address with a random token is printed and, when asked for, opened.  Ctrl-C ends it: the running job saves
its state and is queued as interrupted.
"""

from __future__ import annotations

import contextlib
import html
import ipaddress
import socket
import ssl
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from portrait_lora import holding, manifest, terminal
from portrait_lora.errors import InputError, PortraitError, of_system
from portrait_lora.web import uploads
from portrait_lora.web.app import create_app
from portrait_lora.web.protocol import TimedHeaders
from portrait_lora.web.web_settings import LOOPBACK, WebSettings

LINK: Final = "open-studio.html"
"""In the home while the server runs: a page that leads to the link with the token, which `--open` opens.  A
token among the arguments of a browser could be read by others on this machine."""
_LOCK: Final = ".server.lock"
_GRACE_S: Final = 10
_SSL_MINIMUM: Final = ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens, and its TLS certificate; `port` 0 is a free one."""

    host: str = "127.0.0.1"
    port: int = 7860
    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    """Names under which others reach it, beside the address itself."""


def serve(home: Path, listen: Listen, settings: WebSettings, *, opens: bool = False) -> None:
    """Serve the studio in `home` until it is stopped.

    Raises `InputError` for a port in use, a home that another server has, an address open to others without
    TLS and users, a certificate that is none, and what `create_app` raises.
    """
    _refuse_open_door(listen, settings)
    with _listening(listen) as listener, _alone(home):
        port = int(listener.getsockname()[1])
        settings = replace(
            settings, port=port, secure=listen.certificate is not None, hosts=_hosts(listen, settings)
        )
        app = create_app(home, settings)
        uploads.clean_leftovers(app.state.studio.home / "uploads")
        address = _address(listen, port, settings)
        with _link_in(home, address) as page:
            _print_address(address, settings)
            server = _Server(_config(app, listen), app)
            if opens:
                server.when_started = lambda: webbrowser.open(page.as_uri())
            _run(server, listener)


def _run(server: _Server, listener: socket.socket) -> None:
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once everything has ended
        server.run(sockets=[listener])
    if not server.started:
        raise PortraitError("the server could not start", remedy="The reason stands above.")


class _Server(uvicorn.Server):
    """Tells streams of events that the end has come, which would keep the server waiting."""

    def __init__(self, config: uvicorn.Config, app: FastAPI):
        super().__init__(config)
        self._app = app
        self.when_started: Callable[[], object] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            threading.Thread(target=self.when_started, daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.stopping.set()
        super().handle_exit(sig, frame)


def _config(app: FastAPI, listen: Listen) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=TimedHeaders,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,  # addresses may carry the token; `audit.jsonl` knows who did what
        server_header=False,
        proxy_headers=False,
        limit_concurrency=1000,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=32 << 10,
        ssl_certfile=listen.certificate,
        ssl_keyfile=listen.key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        needed = "a PEM certificate chain and its private key without a passphrase"
        raise InputError(
            "this certificate cannot be used", where=listen.certificate, needed=needed
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = _SSL_MINIMUM
    return config


def _refuse_open_door(listen: Listen, settings: WebSettings) -> None:
    if (listen.certificate is None) != (listen.key is None):
        raise InputError("half a certificate", where="--tls-cert", needed="--tls-cert and --tls-key together")
    if not 0 <= listen.port <= 65535:
        raise InputError("not a port", where="--port", got=listen.port, needed="0 to 65535; 0 is a free one")
    if is_loopback(listen.host):
        return
    lacking = [] if settings.users else ["--users FILE"]
    lacking += [] if listen.certificate else ["--tls-cert and --tls-key"]
    if lacking:
        raise InputError(
            "an address that others can reach, without protection",
            where="--host",
            got=listen.host,
            needed=" and ".join(lacking),
            remedy="Leave --host out to serve this machine alone; docs/web.md says how a team does it.",
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _hosts(listen: Listen, settings: WebSettings) -> frozenset[str]:
    own = f"[{listen.host}]" if ":" in listen.host else listen.host
    unspecified = listen.host in ("0.0.0.0", "::")
    named = {name.strip().lower().rstrip(".") for name in listen.names}
    return LOOPBACK | settings.hosts | named | (set() if unspecified else {own.lower()})


@contextlib.contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    try:
        places = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = places[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError("not an address of this machine", where="--host", got=listen.host) from error
    with listener:
        if sys.platform != "win32":  # a port that was just left is free; on Windows this would share it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen(256)
        except OSError as error:
            raise InputError(
                "this port cannot be used",
                where=f"{listen.host}:{listen.port}",
                got=error.strerror or error,
                remedy="Stop the other server, or choose another with --port; 0 takes a free one.",
            ) from error
        yield listener


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep a second server out of the home; the system lets go of it when this process dies."""
    if home.exists() and not home.is_dir():
        raise InputError("not a folder", where=home, needed="the home of a studio, or a new folder")
    lock = manifest.make_folder(home) / _LOCK
    try:
        lock.touch(mode=0o600)
        held = holding.hold(lock, alone=True)
    except OSError as error:
        raise of_system(error, lock) or error from error
    if held is None:
        raise InputError(
            "a server runs for this home already",
            where=home,
            remedy="Use its link, or stop it first.",
        )
    with held:
        yield


def _address(listen: Listen, port: int, settings: WebSettings) -> str:
    scheme = "https" if settings.secure else "http"
    name = listen.names[0] if listen.names else listen.host
    if name in ("0.0.0.0", "::"):
        name = "localhost"
    place = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/"
    return place if settings.users else f"{place}sign-in?token={settings.token}"


def _print_address(address: str, settings: WebSettings) -> None:
    terminal.say(f"The studio is open at: {address}")
    if not settings.users:
        terminal.say("Whoever has this link is the owner until the server is stopped.")
    terminal.say("Stop it with Ctrl-C.")
    sys.stdout.flush()


@contextlib.contextmanager
def _link_in(home: Path, address: str) -> Iterator[Path]:
    page, quoted = home.absolute() / LINK, html.escape(address)
    text = (
        '<!doctype html><meta charset="utf-8"><title>Studio</title>'
        '<meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0;url={quoted}"><a href="{quoted}">To the studio</a>\n'
    )
    manifest.write_text_atomic(page, text)
    try:
        yield page
    finally:
        with contextlib.suppress(OSError):
            page.unlink(missing_ok=True)
