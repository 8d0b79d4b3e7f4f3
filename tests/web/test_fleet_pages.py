"""A fleet in the studio: its pages and its part of the API show what the fleet knows, to whom may look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI

from portrait_lora.fleet import standings, studio_list
from portrait_lora.fleet.home import FleetHome
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonState
from portrait_lora.web.app import create_app
from portrait_lora.web.client_shapes import Fleet
from portrait_lora.web.permissions import Reader, require_declarations
from portrait_lora.web.services.fleets import Fleets
from portrait_lora.web.studio import Studio
from portrait_lora.web.users import OWNER
from portrait_lora.web.web_settings import WebSettings
from tests.browser import Window
from tests.fleet.watched import eight, record
from tests.web.conftest import PAGE, browser, program
from tests.web.open_studio import OpenStudio, findings, open_studio, too_wide
from tests.web.team import USERS

if TYPE_CHECKING:
    from playwright.sync_api import Page


def prepared(folder: Path) -> FleetHome:
    """Eight people of a fleet, whom a studio lists; one of them runs as a job of it."""
    home = eight(folder)
    studio_list.add(home.path, {person: person.title() for person in home.people})
    reason = f"no memory is left; see {home.folder('dan')}/log"
    files.write(home.path, record("dan", PersonState.SET_ASIDE, share=0.93, reason=reason))
    home.note("ida", "started", state=PersonState.RUNNING, worker="cuda:1")
    home.note("ida", "progress", state=PersonState.RUNNING,
              progress={"stage": "train", "done": 30, "total": 120, "left_s": 90.0})  # fmt: skip
    return home


def job_of(app: FastAPI, home: FleetHome, *people: str) -> str:
    """A job of the fleet that does these people together."""
    folders = [str(home.folder(person).resolve()) for person in people]
    arguments = {"people": folders, "worker": "w", "device": "cpu"}
    return app.state.queue.submit("shard", folders[0], arguments, batch="fleet").id


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> FleetHome:
    return prepared(tmp_path_factory.mktemp("fleet-page"))


@pytest.fixture(scope="module")
def studio(fleet: FleetHome) -> Iterator[OpenStudio]:
    with open_studio(fleet.path) as opened:
        job_of(opened.app, fleet, "ida", "gus")
        yield opened


def test_the_api_says_what_the_fleet_knows(fleet: FleetHome, studio: OpenStudio) -> None:
    api = program(studio.app)
    listed = api.get("/v1/fleets").json()["items"]
    assert [one["name"] for one in listed] == ["people"]
    one: Fleet = api.get(f"/v1/fleets/{listed[0]['id']}").json()
    assert one == listed[0]
    assert one["counts"] == {"succeeded": 5, "running": 1, "needs_photos": 1, "set_aside": 1}
    assert (one["over"], one["people"], one["seconds_per_step"]) == (7, 8, 1.0)
    assert one["cost"] == pytest.approx(730 / 3600 * 2.0)  # seven of 100 s, one of 30 s; 2.00 per hour
    assert one["cost_in_all"] == pytest.approx(800 / 3600 * 2.0)
    people = f"/v1/fleets/{one['id']}/people"
    page = api.get(people, params={"limit": 5}).json()
    rest = api.get(people, params={"cursor": page["next"]}).json()
    rows = {row["likeness"]: row for row in [*page["items"], *rest["items"]]}
    assert len(page["items"]) == 5 and rest["next"] is None and set(rows) == set(fleet.people)
    assert rows["finn"]["figures"]["ci95"] == [0.39, 0.49] and "far less like" in rows["finn"]["outlier"]
    assert rows["ida"]["progress"]["done"] == 30 and rows["ida"]["worker"] == "cuda:1"
    assert rows["ida"]["job"] == rows["gus"]["job"] != "" == rows["ann"]["job"]
    assert str(fleet.path) not in str(rows) and "people/dan/log" in rows["dan"]["reason"]
    assert [r["likeness"] for r in api.get(people, params={"state": "set_aside"}).json()["items"]] == ["dan"]
    history = f"/v1/fleets/{one['id']}/history"
    events = api.get(history).json()
    assert [(e["likeness"], e["kind"]) for e in events["items"]] == [("ida", "started"), ("ida", "progress")]
    assert api.get(history, params={"after": events["last"]}).json()["items"] == []
    assert api.get("/v1/fleets/aaaaaaaaaaaaaaaa").status_code == 404


@pytest.mark.parametrize("browser_page", [Window(390, scheme="dark")], indirect=True, ids=str)
def test_the_page_fits_and_shows_those_first_whom_somebody_should_look_at(
    fleet: FleetHome, studio: OpenStudio, browser_page: Page
) -> None:
    client = browser(studio.app)
    listed = client.get("/fleet", headers=PAGE).text
    assert "7 of 8" in listed and "Fleets</a>" in listed
    studio.sign_in(browser_page)
    browser_page.goto(studio.address + re.findall(r'href="(/fleet/\w+)"', listed)[0])
    assert not too_wide(browser_page) and findings(browser_page) == []
    browser_page.set_viewport_size({"width": 1280, "height": 900})
    assert not too_wide(browser_page)
    rows = browser_page.locator("[data-row]").evaluate_all("all => all.map((one) => one.dataset.row)")
    assert rows == [row.person for row in standings.rows_of(fleet)]
    outliers = browser_page.locator("[data-outlier]").evaluate_all("all => all.map((o) => o.dataset.outlier)")
    assert outliers == ["dan", "gus", "finn"]
    text = " ".join(browser_page.locator("#fleet").inner_text().split())
    for words in ("7 of 8", "1 s per training step", "0.41 spent so far", "30 of 120", "0.44 in all"):
        assert words in text, words
    links = browser_page.locator("#fleet a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert "/people/finn/portraits" in links and "/people/ida/photos" in links
    job = next(link for link in links if link.startswith("/jobs/"))
    for place in ("/people/finn/portraits", "/people/ida/photos", job):
        assert client.get(place, headers=PAGE).status_code == 200, place


def test_a_change_of_the_fleet_is_there_at_the_next_look(tmp_path: Path) -> None:
    home, fleets = prepared(tmp_path), Fleets(Studio(tmp_path / "fleet"))
    id = fleets.all(OWNER, None)[0].id
    before = {one.row.person: one for one in fleets.one(OWNER, id, None).people}
    assert before["ida"].progress["done"] == 30
    files.write(home.path, record("ida", PersonState.RUNNING))
    home.note("ida", "lost", state=PersonState.WAITING)
    plan.write(home.path, home.plan.model_copy(update={"price_per_hour": 4.0}))
    after = fleets.one(OWNER, id, None)
    assert {one.row.person: one for one in after.people}["ida"].progress == {}
    assert after.home.plan.price_per_hour == 4.0
    (home.path / "fleet.json").unlink()
    assert not fleets.any(OWNER) and fleets.all(OWNER, None) == []


def test_one_sees_the_people_one_may_look_at_and_no_figure_of_others(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    (tmp_path / "users.yaml").write_text(USERS)
    app = create_app(home.path, WebSettings(users=tmp_path / "users.yaml", runs_jobs=False))
    assert browser(app, "ann").get("/v1/fleets").json()["items"][0]["people"] == 8
    id = browser(app, "ann").get("/v1/fleets").json()["items"][0]["id"]
    for name in ("ben", "cleo", "dan", "eve"):
        client = browser(app, name)
        assert client.get("/v1/fleets").json()["items"] == []
        assert {client.get(f"{place}/{id}").status_code for place in ("/fleet", "/v1/fleets")} == {404}
    rows = studio_list._rows(home.path)
    studio_list._write(home.path, {"ann": rows["ann"] | {"owner": "ben"}}, ())
    for name in ("ben", "dan"):
        client = browser(app, name)
        one = client.get(f"/v1/fleets/{id}").json()
        assert (one["people"], one["spent_device_s"], one["counts"]) == (1, 100.0, {"succeeded": 1})
        assert [row["likeness"] for row in client.get(f"/v1/fleets/{id}/people").json()["items"]] == ["ann"]
        assert client.get(f"/v1/fleets/{id}/history").json()["items"] == []
        page = client.get(f"/fleet/{id}", headers=PAGE).text
        assert 'data-row="ann"' in page and "Bea" not in page and "Finn" not in page


def test_a_route_of_a_fleet_has_to_look_whose_it_is() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def reader(user: Reader) -> None: ...

    app.get("/fleet/{fleet}/new")(reader)
    with pytest.raises(RuntimeError, match="whose fleet"):
        require_declarations(app)
