"""The page Training while something runs, and before anything can: from its HTML alone."""

from __future__ import annotations

import html as html_text
import re
from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from portrait_lora.web.studio import Person
from portrait_lora.web.users import OWNER
from tests.web.conftest import PAGE
from tests.web.test_training_service import run_of


def person_of(app: FastAPI) -> Person:
    person = app.state.studio.create(OWNER, "Ann", made_up=True)
    (person.folder / "photos" / "1.jpg").write_bytes(b"a photo")
    return person


def html(page: TestClient, person: Person) -> str:
    answer = page.get(f"/people/{person.id}/training", headers=PAGE)
    assert answer.status_code == 200
    return answer.text


def test_without_photos_the_next_step_is_said(app: FastAPI, page: TestClient) -> None:
    person = app.state.studio.create(OWNER, "Ann", made_up=True)
    assert "No photos yet" in html(page, person)


def test_previews_of_a_running_training_are_renewed_from_its_first_moment(
    app: FastAPI, page: TestClient
) -> None:
    person = person_of(app)
    job = app.state.queue.submit("train", person.folder, {}, owner=person.owner)
    text = html(page, person)
    for part in ('id="live" data-every', 'id="checkpoints" data-every', f'data-job="{job.id}"'):
        assert part in text, part
    assert "Start training" not in text
    run_of(person.folder, ".main-0123456789abcdef", steps=12, chosen=None)
    text = html(page, person)
    assert "likeness 0.100" in text and text.count("not probed yet") == 2 and "12" in text
    assert "Keep this one" not in text  # not while it trains
    answer = page.post(f"/people/{person.id}/training/start", json={"previews": True})
    assert answer.status_code == 422 and "trained already" in answer.text
    app.state.queue.cancel(job.id)
    assert "Go on where it stopped" in html(page, person)


def test_photographs_need_a_consent_and_models_made_for_them(app: FastAPI, page: TestClient) -> None:
    from PIL import Image

    person = person_of(app)
    Image.new("RGB", (64, 64)).save(person.folder / "photos" / "2.jpg")
    text = html(page, person)
    assert "Record the consent" in text and "know only the made-up studio" in text
    assert 'data-key="t s" disabled' in text
    answer = page.post(f"/people/{person.id}/training/start", json={})
    assert answer.status_code in (400, 409, 422) and "consent" in answer.text
    assert page.post(f"/people/{person.id}/training/allow").status_code == 200
    assert "know only the made-up studio" not in html(page, person)
    assert "allow_synthetic_models: true" in Path(person.folder / "likeness.yaml").read_text()


def test_every_link_of_a_gallery_of_several_pages_leads_somewhere(app: FastAPI, page: TestClient) -> None:
    person = person_of(app)
    folder = person.folder / "portraits" / "many"
    folder.mkdir(parents=True)
    for i in range(61):
        (folder / f"{i:03d}.png").write_bytes(b"")
        (folder / f"{i:03d}.json").write_text("{}")
    text = page.get(f"/people/{person.id}/portraits", headers=PAGE).text
    links = re.findall(r'class="filter" href="([^"]+)"|data-next href="([^"]+)"', text)
    places = [html_text.unescape(a or b) for a, b in links]
    assert len(places) == 4
    for place in places:
        assert page.get(f"/people/{person.id}/portraits{place}", headers=PAGE).status_code == 200, place
    more = re.search(r'data-more="([^"]+)"', text)
    assert more is not None
    tiles = page.get(f"{html_text.unescape(more[1])}&page=2", headers=PAGE)
    assert tiles.status_code == 200 and tiles.text.count('class="shot"') == 1
