"""Fleets: how each stands, everybody of one with their figures, and what has changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from portrait_lora.web import paging
from portrait_lora.web.permissions import FleetToRead, Reader, fleets_of
from portrait_lora.web.services import fleets
from portrait_lora.web.v1 import fleet_shapes as shapes
from portrait_lora.web.v1.parts import Cursor, Limit, queue_of
from portrait_lora.web.v1.routing import router as new_router

router = new_router("fleets")


@router.get("/fleets")
def list_fleets(request: Request, user: Reader) -> shapes.FleetList:
    """Fleets of whose people this user may look at somebody, by name; only those people are counted."""
    listed = fleets_of(request).all(user, queue_of(request))
    return shapes.FleetList(items=[shapes.Fleet.model_validate(fleets.shown(one)) for one in listed])


@router.get("/fleets/{fleet}")
def get_fleet(fleet: FleetToRead) -> shapes.Fleet:
    """One fleet: how many are where, what it has cost, and what it still will."""
    return shapes.Fleet.model_validate(fleets.shown(fleet))


@router.get("/fleets/{fleet}/people")
def list_fleet_people(
    fleet: FleetToRead,
    state: Annotated[list[shapes.PersonState], Query(description="only people in these states")] = [],  # noqa: B006
    cursor: Cursor = "",
    limit: Limit = paging.LIMIT,
) -> shapes.FleetPeople:
    """Everybody of a fleet with their figures; `outlier` says why somebody should look at one."""
    rows = [one for one in fleet.people if not state or one.row.record.state.value in state]
    page, following = paging.page(rows, lambda one: one.row.person, cursor, limit)
    items = [shapes.FleetPerson.model_validate(fleets.shown_person(fleet, one)) for one in page]
    return shapes.FleetPeople(items=items, next=following)


@router.get("/fleets/{fleet}/history")
def get_fleet_history(
    request: Request,
    fleet: FleetToRead,
    after: Annotated[int, Query(ge=0, le=2**53, description="number of the last change that is known")] = 0,
    limit: Limit = paging.LIMIT,
) -> shapes.FleetEvents:
    """What has changed in a fleet behind a number, oldest first."""
    rows = fleets_of(request).history(fleet, after=after, limit=limit)
    items = [shapes.FleetEvent.model_validate(fleets.shown_event(fleet, one)) for one in rows]
    return shapes.FleetEvents(items=items, last=items[-1].number if items else after)
