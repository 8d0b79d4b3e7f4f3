"""The way in: the link that the server printed, or name and password; and the way out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from portrait_lora.web.permissions import ANYBODY, Reader
from portrait_lora.web.problems import NotSignedIn, TooMany, WebError
from portrait_lora.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/sign-in", dependencies=[ANYBODY])
async def sign_in(request: Request, token: str = "", opened: str = "") -> Response:
    """With the token of this start: a session, and away from the address that carries it.  Else the page.

    Where a link elsewhere led here, the browser shows its new cookie only to a page of ours: `opened` goes on
    to the first page from there.
    """
    accounts, client = request.app.state.accounts, _client(request)
    if not token:
        if getattr(request.state, "user", None) is not None:
            return RedirectResponse("/", 303)
        return render(request, "sign_in.html.j2", error=None, name="", opened=bool(opened))
    try:
        user = accounts.by_start_token(token, client)
    except (NotSignedIn, TooMany) as error:
        return _again(request, error)
    answer = _home(request)
    accounts.open(answer, user, request.cookies)
    request.state.user = user
    return answer


@router.post("/sign-in", dependencies=[ANYBODY])
async def sign_in_with_password(
    request: Request,
    name: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
) -> Response:
    """A session for the user of that name and password."""
    accounts = request.app.state.accounts
    try:
        user = await run_in_threadpool(accounts.by_password, name, password, _client(request))
    except (NotSignedIn, TooMany) as error:
        return _again(request, error, name)
    answer = _home(request)
    accounts.open(answer, user, request.cookies)
    request.state.user = user
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, user: Reader) -> Response:
    """End this browser's session."""
    answer = RedirectResponse("/sign-in", 303)
    request.app.state.accounts.close(answer, request.cookies)
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


@router.get("/health", dependencies=[ANYBODY])
async def health() -> dict[str, str]:
    """That the server is there; nothing else."""
    return {"status": "ok"}


def _home(request: Request) -> Response:
    answer = RedirectResponse("/sign-in?opened=1" if request.method == "GET" else "/", 303)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _again(request: Request, error: WebError, name: str = "") -> Response:
    page = render(request, "sign_in.html.j2", status=int(error.status), error=error, name=name, opened=False)
    page.headers["Referrer-Policy"] = "no-referrer"
    if error.retry_after_s:
        page.headers["Retry-After"] = str(error.retry_after_s)
    return page


def _client(request: Request) -> str:
    return request.client.host if request.client else ""
