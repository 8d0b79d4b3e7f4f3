"""The schema of the API, and a page that shows it; nothing of it is loaded from elsewhere."""

from __future__ import annotations

import threading
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse

from portrait_lora.web.permissions import Reader
from portrait_lora.web.problems import MEDIA_TYPE
from portrait_lora.web.templating import render
from portrait_lora.web.v1.docs_page import groups
from portrait_lora.web.v1.routing import router as new_router

router = new_router("schema")
page_router = new_router("schema")
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_ABOUT: Final = """Photos of one person in; a LoRA and portraits whose likeness is measured out.

Work that takes time begins a job: POST answers 202 with it, `GET /v1/jobs/{id}?wait=30` waits for its end,
and `/v1/jobs/{id}/events` streams what happens.  Errors are problems by RFC 9457 that say what, where, got,
needed and remedy.  Lists have a cursor.  `Idempotency-Key` makes a POST safe to send again.
"""
_lock = threading.Lock()


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the routes below /v1; made once."""
    with _lock:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app)
        return app.openapi_schema


def _schema(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title="portrait_lora",
        version=app.version,
        description=_ABOUT,
        routes=app.routes,
    )
    schema["paths"] = {p: v for p, v in schema["paths"].items() if p.startswith("/v1/")}
    schema["components"].setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
    schema["security"] = [{"bearer": []}]
    for path in cast(dict[str, dict[str, Any]], schema["paths"]).values():
        for method in _METHODS:
            if method in path:
                _problems(path[method])
    return schema


def _problems(operation: dict[str, Any]) -> None:
    """Errors are answered as problems, not as plain JSON."""
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status.startswith("4") and "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, user: Reader) -> Response:
    """The OpenAPI document."""
    return JSONResponse(schema_of(request.app))


@page_router.get("/docs", include_in_schema=False)
def docs(request: Request, user: Reader) -> HTMLResponse:
    """The document as a page."""
    base = str(request.base_url).rstrip("/")
    return render(request, "docs.html.j2", groups=groups(schema_of(request.app)), page="docs", base=base)
