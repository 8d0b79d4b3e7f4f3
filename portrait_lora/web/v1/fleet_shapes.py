"""The shapes of fleets: seconds are of one device, times since the epoch, shares from 0 to 1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from portrait_lora.web.v1.shapes import Shape

PersonState = Literal[
    "waiting", "running", "succeeded", "needs_photos", "needs_consent", "set_aside", "forgotten"
]


class Fleet(Shape):
    """A fleet: of the people that the user may look at; null where nothing is known yet."""

    id: str
    name: str = Field(description="of its roster")
    people: int
    over: int = Field(description="how many are done, whatever came of it")
    counts: dict[str, int] = Field(description="people by state")
    share_of_ceiling: float | None = Field(description="mean over all who were measured")
    seconds_per_step: float | None
    workers: int = Field(description="at a time, for `left_s`")
    spent_device_s: float
    left_device_s: float | None = Field(description="forecast, from what everybody cost who is done")
    left_device_ci95: list[float] | None
    left_s: float | None = Field(description="by the clock")
    price_per_hour: float | None = Field(description="of one device, from the roster")
    cost: float | None
    cost_in_all: float | None


class FleetList(Shape):
    """All of them."""

    items: list[Fleet]


class FleetFigures(Shape):
    """The likeness of one person; cosines, and shares from 0 to 1."""

    similarity: float
    ci95: list[float]
    ceiling: float
    share_of_ceiling: float | None
    verified_rate: float
    face_found_rate: float
    copy_score: float | None
    portraits: int


class FleetPerson(Shape):
    """Somebody of a fleet; `job` is empty where this studio does not do the work."""

    likeness: str = Field(description="id of the person")
    name: str
    groups: list[str]
    state: PersonState
    outlier: str = Field(description="why somebody should look; empty where nobody has to")
    reason: str
    advice: list[str]
    figures: FleetFigures | None
    tries: int
    starts: int
    device_s: float
    steps: int
    worker: str
    progress: dict[str, JsonValue] = Field(description="while they run: stage, done, total, left_s, loss")
    job: str


class FleetPeople(Shape):
    """Some people, and the cursor of the next page."""

    items: list[FleetPerson]
    next: str | None


class FleetEvent(Shape):
    """One change: state, started, progress, lost or note; `state` is where the person stands after it."""

    number: int
    time: float
    likeness: str
    kind: str
    state: str
    worker: str
    reason: str
    progress: dict[str, JsonValue]


class FleetEvents(Shape):
    """Changes, and the number of the last one."""

    items: list[FleetEvent]
    last: int
