"""The gate that every request passes before anything of the studio sees it.

Address and `Host`, rates, who it is (a cookie or a token, else only the public addresses), where a write
comes from, its CSRF token, limits of its body; then the headers of the answer and the audit log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.web import bodies, headers, origin, problems, tokens
from portrait_lora.web.accounts import Accounts
from portrait_lora.web.audit import Audit
from portrait_lora.web.problems import Forbidden, NotSignedIn
from portrait_lora.web.rates import Rate
from portrait_lora.web.sessions import Session
from portrait_lora.web.users import Role, User
from portrait_lora.web.web_settings import LOOPBACK, WebSettings

SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
PUBLIC: Final = frozenset({SIGN_IN, "/health", "/favicon.ico"})
"""Answered to anybody, beside the files below `STATIC`."""
STATIC: Final = "/static/"
_REFUSALS: Final = (401, 403, 413, 429)
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_log = log.get(__name__)


class Safety:
    """The gate, as ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: WebSettings, accounts: Accounts, audit: Audit):
        limits = settings.limits
        self._app, self._settings, self._accounts, self._audit = app, settings, accounts, audit
        self._reads = Rate(limits.reads_per_s, limits.reads_at_once)
        self._writes = Rate(limits.writes_per_s, limits.writes_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        scope.setdefault("state", {})
        exchange = _Exchange(scope, send, self._settings.secure)
        try:
            inner = await self._checked(scope, exchange, receive)
            if isinstance(inner, Response):
                await inner(scope, receive, exchange.send)
            else:
                await self._app(scope, inner, exchange.send)
        except ClientDisconnect:
            _log.debug("a client went away")
        except PortraitError as error:
            if exchange.status:
                raise
            await problems.response(Request(scope), error)(scope, receive, exchange.send)
        except Exception as error:  # answered here, so that this answer too has the headers
            if exchange.status:
                raise
            await (await problems.unexpected(Request(scope), error))(scope, receive, exchange.send)
        finally:
            self._note(scope, exchange)

    async def _checked(self, scope: Scope, exchange: _Exchange, receive: Receive) -> Receive | Response:
        fields, limits = Headers(scope=scope), self._settings.limits
        host = origin.refuse_foreign_host(fields, self._settings.hosts)
        origin.refuse_odd_request(scope, limits.url_bytes)
        is_read = scope["method"] in origin.SAFE_METHODS
        user, session, scopes = self._who(scope, fields)
        scope["state"].update(user=user, session=session, scopes=scopes, fault=None)
        (self._reads if is_read else self._writes).take(user.name if user else exchange.client)
        if user is None and not _is_public(scope["path"]):
            return _to_sign_in(scope, fields)
        if session is not None and is_read:
            origin.refuse_foreign_read(fields)
        most = bodies.most_bytes(fields, limits)
        inner = bodies.limited(receive, most, limits, lambda error: scope["state"].update(fault=error))
        if is_read:
            _drop_odd_range(scope)
            return inner
        if session is not None or user is None:  # a sign-in too has to come from our own page
            origin.refuse_foreign_write(fields, scope["scheme"], host)
        if session is not None:
            inner = await _with_csrf(session, fields, inner, limits.body_bytes)
        if user is not None and "write" not in scopes:
            raise Forbidden("this token may only look", where="Authorization", needed="the scope write")
        if user is not None and user.role < Role.MEMBER and scope["path"] != SIGN_OUT:
            raise Forbidden("you may look, but not change anything", remedy="Ask an admin of this studio.")
        return inner

    def _who(
        self, scope: Scope, fields: Headers
    ) -> tuple[User | None, Session | None, tuple[tokens.Scope, ...]]:
        sent = fields.getlist("authorization")
        if sent:
            kind, _, secret = sent[0].partition(" ")
            if len(sent) != 1 or kind.lower() != "bearer":
                raise NotSignedIn("not a token", where="Authorization", needed="Bearer TOKEN")
            user, scopes = self._accounts.of_token(secret.strip(), _client(scope))
            return user, None, scopes
        session = self._accounts.session(Request(scope).cookies)
        user = self._accounts.users.find(session.user) if session else None
        return (user, session, tokens.SCOPES) if user else (None, None, ())

    def _note(self, scope: Scope, exchange: _Exchange) -> None:
        reads = scope["method"] in origin.SAFE_METHODS
        route = str(getattr(scope.get("route"), "path", ""))
        if scope["path"].startswith("/v1/") and not route.startswith("/v1/"):  # a router below /v1
            route = f"/v1{route}"
        if reads and exchange.status not in _REFUSALS and route not in (SIGN_IN,) and "download" not in route:
            return
        user = scope["state"].get("user")
        ids = {key: str(value) for key, value in scope.get("path_params", {}).items()}
        self._audit.note(
            user=user.name if user else "",
            client=exchange.client,
            method=scope["method"],
            route=route,
            ids={key: value for key, value in ids.items() if _ID.fullmatch(value)},
            status=exchange.status,
        )


class _Exchange:
    """One request: what was answered, and the headers that every answer gets."""

    def __init__(self, scope: Scope, send: Send, secure: bool):
        # a browser would keep other servers on this machine to TLS as well
        self._send, self._secure = send, secure and origin.name_of(Headers(scope=scope)) not in LOOPBACK
        self._static = scope["path"].startswith(STATIC)
        self.client, self.status = _client(scope), 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            raw = headers.with_safety(message.get("headers", []), secure=self._secure, static=self._static)
            message = {**message, "headers": raw}
        await self._send(message)


def _client(scope: Mapping[str, Any]) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(STATIC)


def _to_sign_in(scope: Scope, fields: Headers) -> Response:
    """Pages lead to the sign-in; everything else is an error."""
    request = Request(scope)
    if scope["method"] == "GET" and problems.wants_page(request) and "hx-request" not in fields:
        return RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    raise NotSignedIn(
        "you are not signed in",
        remedy="Open the link that the server printed, or sign in again; programs send a token.",
    )


async def _with_csrf(session: Session, fields: Headers, receive: Receive, most: int) -> Receive:
    sent = fields.getlist("x-csrf-token")
    token = sent[0] if len(sent) == 1 else ""
    if not sent:
        token, receive = await bodies.csrf_of_form(fields, receive, most)
    if not session.is_csrf(token):
        raise Forbidden(
            "this page is older than your session",
            where="X-CSRF-Token",
            got="another token" if token else "no token",
            remedy="Load the page again; what you typed is still there.",
        )
    return receive


def _drop_odd_range(scope: Scope) -> None:
    """One range at most: many small ones cost more than the whole file."""
    fields = MutableHeaders(scope=scope)
    ranges = fields.getlist("range")
    if len(ranges) > 1 or not all(re.fullmatch(r"bytes=\d{0,19}-\d{0,19}", one) for one in ranges):
        del fields["range"]
