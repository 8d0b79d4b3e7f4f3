"""Every error as an answer: a problem document (RFC 9457) for programs, a page for people.

Both say what, where, got, needed and remedy, as on the command line.  Names of folders on this machine above
the studio are left out.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from portrait_lora import errors, log
from portrait_lora.errors import PortraitError

MEDIA_TYPE: Final = "application/problem+json"
_MOST_FIELDS: Final = 20
_log = log.get(__name__)


class WebError(PortraitError):
    """An error with a status of its own; `retry_after_s` tells when to come again."""

    exit_code = errors.EXIT_BAD_INPUT
    status: int = HTTPStatus.BAD_REQUEST
    retry_after_s: int = 0


class Refused(WebError):
    """The request itself cannot be used."""


class NotSignedIn(WebError):
    """Nobody has signed in, or the session, token or password does not hold."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(WebError):
    """Signed in, but not allowed; or a request that another page made."""

    status = HTTPStatus.FORBIDDEN


class NotFound(WebError):
    """There is no such thing, or it is somebody else's, which looks the same."""

    status = HTTPStatus.NOT_FOUND


class Conflict(WebError):
    """What is there now does not go with this request."""

    status = HTTPStatus.CONFLICT


class TooLarge(WebError):
    """More bytes, files or pixels than are read."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooSlow(WebError):
    """The body came too slowly."""

    status = HTTPStatus.REQUEST_TIMEOUT


class WrongKind(WebError):
    """A body of a kind that is not read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class TooMany(WebError):
    """Too many requests in a short time."""

    status = HTTPStatus.TOO_MANY_REQUESTS


_STATUS: Final[tuple[tuple[type[PortraitError], int], ...]] = (
    (errors.InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.PhotosError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Interrupted, HTTPStatus.CONFLICT),
    (errors.ArtifactError, HTTPStatus.CONFLICT),
)
_NO_ROOM: Final = ("the disk is full", "your quota on this disk is used up")


def status_of(error: PortraitError) -> int:
    """The HTTP status of an error of this program."""
    if isinstance(error, WebError):
        return int(error.status)
    if error.what in _NO_ROOM:
        return int(HTTPStatus.INSUFFICIENT_STORAGE)
    known = (status for kind, status in _STATUS if isinstance(error, kind))
    return int(next(known, HTTPStatus.INTERNAL_SERVER_ERROR))


def document(request: Request, error: PortraitError) -> dict[str, object]:
    """The problem document of an error; keys that say nothing are left out."""
    home = getattr(getattr(request.app.state, "studio", None), "home", None)
    status = status_of(error)
    facts = {key: _short(getattr(error, key), home) for key in ("where", "got", "needed", "remedy")}
    return {
        "type": f"urn:portrait-lora:problem:{_slug(type(error).__name__)}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _short(error.message(), home),
        "what": _short(error.what, home),
        **{key: value for key, value in facts.items() if value},
    }


def response(request: Request, error: PortraitError, extra: dict[str, object] | None = None) -> Response:
    """The answer to a request that failed: a page where a browser wants one, else a problem document."""
    problem = document(request, error) | (extra or {})
    status = status_of(error)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, WebError) and error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if wants_page(request):
        from portrait_lora.web.templating import render

        page = render(request, "problem.html.j2", status=status, problem=problem)
        page.headers.update(headers)
        return page
    return JSONResponse(problem, status, headers, media_type=MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    path = request.scope["path"]
    return not path.startswith(("/v1/", "/pictures/")) and "text/html" in request.headers.get("accept", "")


def install(app: FastAPI) -> None:
    """Answer every error of `app` in this way."""
    app.add_exception_handler(PortraitError, _portrait_error)
    app.add_exception_handler(OSError, _system_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _portrait_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PortraitError)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s", error)
    return response(request, error)


async def _system_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    refused = errors.of_system(error)
    return await (_portrait_error(request, refused) if refused else unexpected(request, error))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    rows: list[dict[str, str]] = []
    for one in error.errors()[:_MOST_FIELDS]:
        where = ".".join(str(part)[:80] for part in one.get("loc", ()))
        rows.append({"where": where, "what": str(one.get("msg", ""))[:200]})
    first = rows[0] if rows else {"where": "", "what": "the request does not fit"}
    refusal = errors.InputError(first["what"], where=first["where"], needed="what /docs describes")
    return response(request, refusal, {"errors": rows})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fault = getattr(request.state, "fault", None)
    if isinstance(fault, PortraitError):  # raised while the body was read, which the framework words anew
        return response(request, fault)
    refusal = _Plain(str(error.detail), error.status_code)
    answer = response(request, refusal)
    if allow := (error.headers or {}).get("Allow"):
        answer.headers["Allow"] = allow
    return answer


async def unexpected(request: Request, error: Exception) -> Response:
    """The answer to a mistake of ours: the log gets the traceback, the client a sentence."""
    _log.error("%s %s: %s", request.method, _route(request), error, exc_info=error)
    refusal = _Plain("something went wrong here; it is in the log of the server", 500)
    return response(request, refusal)


class _Plain(WebError):
    def __init__(self, what: str, status: int):
        super().__init__(what[:1].lower() + what[1:] if what[:2] != what[:2].upper() else what)
        self.status = status


def _route(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", "(no route)"))


def _slug(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).strip("-_")


def _short(text: Any, home: Path | None) -> str:
    whole = str(text)[:2000]
    if home is not None:
        whole = whole.replace(f"{home}/people/", "").replace(f"{home}/", "").replace(str(home), "the studio")
    return whole
