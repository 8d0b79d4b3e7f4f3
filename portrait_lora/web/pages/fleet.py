"""The pages *Fleets* and of one fleet: who runs, what it costs, who needs somebody to look at them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portrait_lora.fleet import report, standings
from portrait_lora.web.permissions import FleetToRead, Reader, fleets_of
from portrait_lora.web.services import fleets, work
from portrait_lora.web.templating import render

router = APIRouter(include_in_schema=False)
_PER_PAGE: Final = 100
_MOST_RUNNING: Final = 24


@router.get("/fleet")
def page(request: Request, user: Reader) -> HTMLResponse:
    """Every fleet of this studio's people."""
    listed = fleets_of(request).all(user, request.app.state.queue)
    return render(request, "fleets.html.j2", page="fleet", fleets=[_summary(fleet) for fleet in listed])


@router.get("/fleet/{fleet}")
def one(
    request: Request, fleet: FleetToRead, start: Annotated[int, Query(alias="from", ge=0, le=10**7)] = 0
) -> HTMLResponse:
    """One fleet; of its table `from` is the first row that is shown."""
    running = [one for one in fleet.people if one.row.record.state.value == "running"]
    shown = fleet.people[start : start + _PER_PAGE]
    return render(
        request,
        "fleet.html.j2",
        page="fleet",
        summary=_summary(fleet),
        about=report.about(fleet.home),
        outliers=[one for one in fleet.people if one.row.outlier],
        running=running[:_MOST_RUNNING],
        more_running=len(running[_MOST_RUNNING:]),
        people=shown,
        start=start,
        before=max(start - _PER_PAGE, 0) if start else None,
        following=start + _PER_PAGE if start + _PER_PAGE < len(fleet.people) else None,
        groups=standings.groups_of(fleet.rows),
        words=report.WORDS,
        tell=lambda text: fleets.words_of(fleet, text),
        progress=work.progress_words,
        fraction=work.fraction_of,
        duration=work.left_words,
    )


def _summary(fleet: fleets.Fleet) -> dict[str, Any]:
    """What stands above: numbers in words."""
    price, expected, counts = fleet.home.plan.price_per_hour, fleet.expected, fleet.counts
    return {
        "fleet": fleet,
        "over": fleet.over,
        "people": len(fleet.people),
        "accepted": counts.get("succeeded", 0),
        "running": counts.get("running", 0),
        "waiting": counts.get("waiting", 0),
        "failed": counts.get("set_aside", 0),
        "to_send": counts.get("needs_photos", 0) + counts.get("needs_consent", 0),
        "share": fleet.share,
        "step": expected.seconds_per_step,
        "spent": report.spent(expected, price),
        "spent_words": "device hours so far" if price is None else "spent so far",
        "forecast": report.forecast_line(expected, price),
    }
