"""Which marks of generated media pictures carry."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from portrait_lora.web.permissions import Member
from portrait_lora.web.services import marks
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.routing import router as new_router

router = new_router("marks")
_FORM: Final = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": marks.MOST_FILES,
            "description": "pictures of any program; PNG, JPEG, WebP, AVIF, HEIC",
        }
    },
    "required": ["files"],
}


@router.post(
    "/detect",
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def detect_marks(request: Request, user: Member) -> shapes.Detection:
    """Which marks pictures carry: source type, signed credentials, watermark.  Nothing sent is kept.

    That no mark was found proves nothing.
    """
    del user
    detection = await marks.look_at(request)
    return shapes.Detection.model_validate(detection.model_dump(mode="json"))
