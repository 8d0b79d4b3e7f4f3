"""Routes that take a form or a JSON document, and one that fails, for tests of the gate before them."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Form, Request

from portrait_lora.web.permissions import Member


def with_routes(app: FastAPI) -> FastAPI:
    """Routes that take a form and a JSON document, and one that fails."""
    router = APIRouter()

    @router.post("/form")
    def form(user: Member, name: str = Form("")) -> dict[str, str]:
        return {"name": name}

    @router.post("/form-with-files")
    async def form_with_files(user: Member, request: Request) -> dict[str, int]:
        return {"bytes": sum([len(chunk) async for chunk in request.stream()])}

    @router.post("/v1/document")
    def document(user: Member, value: dict[str, object]) -> dict[str, int]:
        return {"keys": len(value)}

    @router.post("/v1/broken")
    def broken(user: Member) -> None:
        raise ValueError(f"secret in {Path(__file__)}")

    app.include_router(router)
    return app
