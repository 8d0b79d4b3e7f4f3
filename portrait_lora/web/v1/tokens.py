"""Tokens for programs: made, listed and revoked by the user whose they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from portrait_lora.web.permissions import Member
from portrait_lora.web.tokens import Token, Tokens
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.routing import router as new_router

router = new_router("tokens")
TokenId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]


def _fields(token: Token) -> dict[str, object]:
    return {
        "id": token.id, "name": token.name, "scopes": list(token.scopes),
        "created": token.created, "expires": token.expires,
    }  # fmt: skip


def _tokens(request: Request) -> Tokens:
    return request.app.state.accounts.tokens


@router.get("/tokens")
def list_tokens(request: Request, user: Member) -> shapes.TokenList:
    """The tokens that hold, without their secrets."""
    items = [shapes.Token.model_validate(_fields(token)) for token in _tokens(request).of(user.name)]
    return shapes.TokenList(items=items)


@router.post("/tokens", status_code=201)
def create_token(
    request: Request, response: Response, user: Member, body: shapes.NewToken
) -> shapes.TokenSecret:
    """A token for a program; its secret is shown this once.  `read` alone may look, but not change."""
    token, secret = _tokens(request).create(user.name, body.name, body.days, scopes=tuple(body.scopes))
    response.headers["Location"] = "/v1/tokens"
    return shapes.TokenSecret.model_validate(_fields(token) | {"secret": secret})


@router.delete("/tokens/{token}", status_code=204)
def revoke_token(request: Request, user: Member, token: TokenId) -> Response:
    """The token does not hold any more, at once."""
    _tokens(request).revoke(user.name, token)
    return Response(status_code=204)
