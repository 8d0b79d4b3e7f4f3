"""Signing in: the token of this start, a password of the file of users, or a program's token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.responses import Response

from portrait_lora.web.problems import NotSignedIn
from portrait_lora.web.rates import Rate
from portrait_lora.web.sessions import Session, Sessions
from portrait_lora.web.tokens import SCOPES, Scope, Tokens
from portrait_lora.web.users import OWNER, User, Users
from portrait_lora.web.web_settings import WebSettings

_LINK: Final = "Open the link that the server printed when it was started last."
_WRONG: Final = "name or password is wrong"


class Accounts:
    """Who may come in, and who has."""

    def __init__(self, home: Path, settings: WebSettings):
        limits = settings.limits
        self.users = Users(settings.users)
        self.tokens = Tokens(home / "tokens.json")
        self.has_users = settings.users is not None
        self._settings = settings
        self._sessions = Sessions(limits.session_idle_s, limits.session_s)
        self._tries = Rate(limits.sign_ins_per_s, limits.sign_ins_at_once)
        name = f"portrait_lora_{settings.port}"
        self.cookie = f"__Host-{name}" if settings.secure else name
        """Its name carries the port: browsers send cookies to every port of a machine."""

    def session(self, cookies: Mapping[str, str]) -> Session | None:
        """The session of a browser, unless it has none or it ended."""
        cookie = cookies.get(self.cookie, "")
        return self._sessions.find(cookie) if cookie else None

    def of_token(self, secret: str, client: str) -> tuple[User, tuple[Scope, ...]]:
        """The user of a program's token, and what it may do.

        Raises `NotSignedIn`, and `TooMany` after many that are wrong.
        """
        if not self.has_users and self._is_start_token(secret):
            return OWNER, SCOPES
        token = self.tokens.find(secret)
        user = self.users.find(token.user) if token else None
        if token is None or user is None:
            self._tries.take(f"token {client}")
            remedy = "Make a new one on the page of settings, or take the one that the server printed."
            raise NotSignedIn(
                "this token does not hold, or has expired", where="Authorization", remedy=remedy
            )
        return user, token.scopes

    def by_start_token(self, token: str, client: str) -> User:
        """The owner, for the token of this start.  Raises `NotSignedIn`, and `TooMany` after many wrong ones.

        A right one always opens: other pages in the owner's browser could use up the tries.
        """
        if self.has_users or not self._is_start_token(token):
            self._tries.take(f"start {client}")
            raise NotSignedIn("this link does not hold any more", where="token", remedy=_LINK)
        return OWNER

    def by_password(self, name: str, password: str, client: str) -> User:
        """The user of this name.  Raises `NotSignedIn`, and `TooMany` for a name or a client that guesses."""
        if not self.has_users:
            raise NotSignedIn("this studio has no passwords", where="sign-in", remedy=_LINK)
        keys = (f"name {name[:100]}", f"client {client}")
        for key in keys:
            self._tries.take(key)
        user = self.users.signed_in(name, password)
        if user is None:
            raise NotSignedIn(_WRONG, where="sign-in")
        for key in keys:
            self._tries.give_back(key)
        return user

    def open(self, response: Response, user: User, old: Mapping[str, str]) -> None:
        """Put the cookie of a new session into `response`; the one that came along ends."""
        self._sessions.close(old.get(self.cookie, ""))
        response.set_cookie(
            self.cookie,
            self._sessions.open(user.name),
            max_age=int(self._settings.limits.session_s),
            path="/",
            secure=self._settings.secure,
            httponly=True,
            samesite="strict",
        )

    def close(self, response: Response, cookies: Mapping[str, str]) -> None:
        """End a session, and take its cookie away."""
        self._sessions.close(cookies.get(self.cookie, ""))
        secure = self._settings.secure
        response.delete_cookie(self.cookie, path="/", secure=secure, httponly=True, samesite="strict")

    def _is_start_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(errors="replace"), self._settings.token.encode())
