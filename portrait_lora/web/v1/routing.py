"""How every route of the API behaves: unknown query keys are refused, Idempotency-Key is honoured."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from portrait_lora.web import idempotency
from portrait_lora.web.idempotency import Answer, Keys
from portrait_lora.web.problems import Refused
from portrait_lora.web.v1.shapes import Problem

KEY: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_KEPT_HEADERS: Final = ("location", "content-type")


def idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias=KEY,
            pattern=r"^[!-~]{1,200}$",
            description="the same key with the same request gives the first answer again, for a day",
        ),
    ] = None,
) -> str:
    """The key of this request; empty without one."""
    return key or ""


IdempotencyKey = Annotated[str, Depends(idempotency_key)]
"""Declares that a route can be called again safely with the same key."""


class V1Route(APIRoute):
    """A route of the API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with what all routes have in common before it."""
        inner = super().get_route_handler()
        known = set(_query_names(self.dependant))
        idempotent = any(call is idempotency_key for call in _calls(self.dependant))

        async def handler(request: Request) -> Response:
            _refuse_unknown_query(request, known)
            key = request.headers.get(KEY)
            if key is None:
                return await inner(request)
            if not idempotent:
                raise Refused("this request takes no key", where=KEY, remedy="Send it without one.")
            return await _once(request, inner, key)

        return handler


def router(tag: str) -> APIRouter:
    """A router for one group of routes; an operation is named as its function."""
    return APIRouter(
        tags=[tag],
        route_class=V1Route,
        responses={"4XX": {"model": Problem, "description": "a problem (RFC 9457)"}},
        generate_unique_id_function=lambda route: route.name,
    )


async def _once(
    request: Request, inner: Callable[[Request], Coroutine[Any, Any, Response]], key: str
) -> Response:
    user = getattr(request.state, "user", None)
    if user is None or not 0 < len(key) <= idempotency.MAX_KEY:
        return await inner(request)  # which refuses it
    keys: Keys = request.app.state.keys
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    mark = idempotency.fingerprint(request.method, target, await request.body())
    earlier = await run_in_threadpool(keys.begin, user.name, key, mark)
    if earlier is not None:
        return Response(earlier.body, earlier.status, {**dict(earlier.headers), REPLAYED: "true"})
    try:
        answer = await inner(request)
    except BaseException:
        await run_in_threadpool(keys.release, user.name, key)
        raise
    headers = tuple((k, v) for k, v in answer.headers.items() if k.lower() in _KEPT_HEADERS)
    await run_in_threadpool(
        keys.finish, user.name, key, Answer(answer.status_code, headers, bytes(answer.body))
    )
    return answer


def _refuse_unknown_query(request: Request, known: set[str]) -> None:
    for name in request.query_params:
        if name not in known:
            needed = ", ".join(sorted(known)) or "no query"
            raise Refused("unknown query key", where="query", got=name[:80], needed=needed)
    for name in known:
        if len(request.query_params.getlist(name)) > 1 and name not in ("state", "picture"):
            raise Refused("a query key comes twice", where="query", got=name)


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _calls(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
