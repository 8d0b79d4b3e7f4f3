"""The page *Marks*: pictures from anywhere are dropped, and which marks they carry is said."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portrait_lora.tasks.detect import rate_in_words
from portrait_lora.web.permissions import Member, Reader
from portrait_lora.web.services import marks
from portrait_lora.web.templating import render
from portrait_lora.web.users import Role

router = APIRouter(include_in_schema=False)


@router.get("/detect")
def page(request: Request, user: Reader) -> HTMLResponse:
    """The page."""
    values = {"most_files": marks.MOST_FILES, "most_bytes": marks.MOST_BYTES}
    rate = rate_in_words(marks.false_positive_rate())
    may_look = user.role >= Role.MEMBER
    return render(request, "detect.html.j2", page="detect", rate=rate, may_look=may_look, **values)


@router.post("/detect")
async def look(request: Request, user: Member) -> HTMLResponse:
    """What one picture or several carry, as cards to show at once."""
    del user
    detection = await marks.look_at(request)
    cards = [(row.file, marks.card(row)) for row in detection.files]
    return render(request, "_marks.html.j2", cards=cards)
