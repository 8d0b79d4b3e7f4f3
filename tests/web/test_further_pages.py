"""Training, portraits, canvas, book, measuring, settings, models, doctor and jobs in a browser's hands."""

from __future__ import annotations

import base64
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from portrait_lora import config
from portrait_lora.web.studio import Person
from tests.browser import Window
from tests.conftest import Journey
from tests.web.open_studio import OpenStudio, findings, open_studio, too_wide

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.journey
PAGES = ("training", "portraits", "portraits/book?begin=headshots", "measure", "settings")
STUDIO = ("/models", "/doctor", "/jobs", "/detect")


@pytest.fixture(scope="module")
def studio(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStudio]:
    """A studio with a copy of the journey; nothing that is asked for runs."""
    folder = tmp_path_factory.mktemp("pages")
    copy = Path(shutil.copytree(journey.folder, folder / "demo"))
    with open_studio(folder / "home", likenesses=(copy,)) as opened:
        yield opened


@pytest.fixture
def person(studio: OpenStudio) -> Person:
    return next(iter(studio.studio._now().values()))


def canvas_of(studio: OpenStudio, person: Person) -> str:
    picture = person.folder / "portraits" / "headshots" / "01-classic.png"
    return f"portraits/{studio.studio.picture_id(person, picture)}/canvas"


@pytest.mark.parametrize("browser_page", [Window(390, scheme="dark")], indirect=True, ids=str)
def test_every_page_fits_a_phone_and_axe_has_nothing_serious(
    studio: OpenStudio, person: Person, browser_page: Page
) -> None:
    studio.sign_in(browser_page)
    places = [f"/people/{person.id}/{page}" for page in (*PAGES, canvas_of(studio, person))]
    for place in (*places, *STUDIO):
        answer = browser_page.goto(studio.address + place)
        assert answer is not None and answer.ok, place
        assert not too_wide(browser_page), place
        assert findings(browser_page) == [], place


def test_checkpoints_one_by_one_and_the_choice_by_hand(
    studio: OpenStudio, person: Person, browser_page: Page
) -> None:
    studio.sign_in(browser_page)
    browser_page.goto(f"{studio.address}/people/{person.id}/training")
    steps = sorted(int(p.name[5:]) for p in person.folder.glob("adapters/main/checkpoints/step-*"))
    kept = json.loads((person.folder / "adapters/main/selection.json").read_text())["step"]
    key, step = ("Home", steps[0]) if kept != steps[0] else ("End", steps[-1])  # one that may be chosen
    browser_page.locator("#checkpoint").focus()
    browser_page.keyboard.press(key)
    shown = browser_page.locator(".probe:visible")
    assert shown.count() == 1 and f"Step {step}" in shown.inner_text()
    assert browser_page.locator("#checkpoint-value").inner_text() == f"step {step}"
    shown.get_by_role("button", name="Keep this one").click()
    browser_page.locator("#confirm-yes").click()
    browser_page.locator("[data-job]").wait_for()
    assert config.load(person.folder / config.FILE_NAME).select.step == step
    job = studio.app.state.queue.list(folder=person.folder)[0]
    assert (job.kind, str(job.state)) == ("train", "queued")
    browser_page.locator("[data-job] button").click()  # stop
    browser_page.locator("[data-job]").wait_for(state="detached")
    assert str(studio.app.state.queue.get(job.id).state) == "cancelled"


def test_favourites_two_side_by_side_and_a_zip(
    studio: OpenStudio, person: Person, browser_page: Page
) -> None:
    studio.sign_in(browser_page)
    base = f"{studio.address}/people/{person.id}/portraits"
    browser_page.goto(base)
    with browser_page.expect_response(lambda answer: answer.request.method not in ("GET", "HEAD")):
        browser_page.locator("[data-like]").first.click()
    browser_page.wait_for_function("() => document.querySelector('[data-like][aria-pressed=true]')")
    browser_page.goto(f"{base}?liked=true")
    assert browser_page.locator("#tiles .shot").count() == 1
    browser_page.goto(base)
    boxes = browser_page.locator("input[name=picture]")
    boxes.nth(0).check()
    boxes.nth(1).check()
    browser_page.select_option("#format", "webp")
    with browser_page.expect_download() as download:
        browser_page.get_by_role("button", name="Download zip").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert archive.namelist() == ["headshots/01-classic.webp", "headshots/02-friendly.webp"]
    browser_page.get_by_role("button", name="Compare two").click()
    browser_page.wait_for_url("**/compare?*")
    browser_page.locator(".before-after input").focus()
    browser_page.keyboard.press("Home")
    cut = browser_page.locator(".before-after").evaluate("one => one.style.getPropertyValue('--cut')")
    assert cut == "0%"


def test_what_is_painted_is_sent_as_a_mask(studio: OpenStudio, person: Person, browser_page: Page) -> None:
    studio.sign_in(browser_page)
    browser_page.goto(f"{studio.address}/people/{person.id}/{canvas_of(studio, person)}")
    browser_page.locator("#brush").click()
    box = browser_page.locator("#paint").bounding_box()
    assert box is not None
    x, y, side = box["x"], box["y"], box["width"]
    for row in (0.25, 0.75):
        browser_page.mouse.move(x + 0.2 * side, y + row * side)
        browser_page.mouse.down()
        browser_page.mouse.move(x + 0.6 * side, y + row * side, steps=4)
        browser_page.mouse.up()
    browser_page.locator("#unpaint").click()
    assert browser_page.locator("#painted").is_checked()
    browser_page.locator("#fix details summary").click()
    browser_page.locator("#fix-expression").fill("smiling")
    browser_page.get_by_role("button", name="Draw again", exact=True).click()
    browser_page.locator("#now [data-job]").wait_for()
    job = studio.app.state.queue.list(folder=person.folder)[0]
    assert job.kind == "fix" and job.arguments["changes"] == {"expression": "smiling"}
    sent = base64.b64decode(str(job.arguments["mask_png"]))
    mask = np.asarray(Image.open(io.BytesIO(sent)).convert("L"))
    half = mask.shape[0] // 2
    assert mask.shape == (128, 128) and mask[32, 30:70].all() and not mask[half:].any()
    assert "region" not in job.arguments
    studio.app.state.queue.cancel(job.id)


def test_a_series_is_written_with_the_linter_beside_it(
    studio: OpenStudio, person: Person, browser_page: Page
) -> None:
    studio.sign_in(browser_page)
    browser_page.goto(f"{studio.address}/people/{person.id}/portraits/book")
    browser_page.fill("#name", "office")
    shot = browser_page.locator("#shots [data-shot]").first
    shot.locator("[data-template]").select_option("*")
    shot.locator("[data-prompt]").fill("an 8k masterpiece")
    shot.locator(".remark").first.wait_for()
    shot.locator("[data-template]").select_option("")
    shot.locator("[data-layer-name=lighting]").select_option("rim lighting")
    browser_page.get_by_text("The linter has nothing to say").wait_for()
    browser_page.get_by_role("button", name="Only keep").click()
    browser_page.wait_for_url("**/book?begin=office")
    assert (person.folder / "portraits" / "office.yaml").is_file()
    assert browser_page.locator("#shots [data-layer-name=lighting]").input_value() == "rim lighting"


def test_settings_in_two_tabs(
    studio: OpenStudio, person: Person, browser_page: Page, page_troubles: list[str]
) -> None:
    studio.sign_in(browser_page)
    place = f"{studio.address}/people/{person.id}/settings"
    browser_page.goto(place)
    other = browser_page.context.new_page()
    other.goto(place)
    browser_page.fill("#seed", "5")
    assert browser_page.locator("[data-changes]").inner_text() == "1 setting changed."
    browser_page.get_by_role("button", name="Save").click()
    browser_page.wait_for_url("**/settings?saved=1")
    other.fill("#training-rank", "4")
    other.get_by_role("button", name="Save").click()
    other.get_by_text("in another tab or in the file").wait_for()
    assert "training.rank" in other.locator(".notice.warn").inner_text()
    assert other.locator("#seed").input_value() == "5"
    other.fill("#training-rank", "0")
    other.get_by_role("button", name="Save").click()
    other.locator("#training-rank-error").wait_for()
    assert other.locator("#training-rank").get_attribute("aria-invalid") == "true"
    page_troubles.clear()  # 409 and 422 were meant to come
    loaded = config.load(person.folder / config.FILE_NAME)
    assert (loaded.seed, loaded.training.rank) == (5, config.load(None).training.rank)


def test_measurements_are_kept_and_compared(studio: OpenStudio, person: Person, browser_page: Page) -> None:
    studio.sign_in(browser_page)
    browser_page.goto(f"{studio.address}/people/{person.id}/measure")
    summary = json.loads((person.folder / "reports" / "drift.json").read_text())
    assert f"{summary['mean']:.3f}" in browser_page.locator(".headline-numbers").inner_text()
    browser_page.fill("#keep-name", "as it was")
    browser_page.get_by_role("button", name="Keep it").click()
    browser_page.locator(".kept li").wait_for()
    browser_page.get_by_role("button", name="Compare", exact=True).click()
    browser_page.get_by_text("No significant difference").wait_for()


def test_pictures_from_another_tool_are_taken_in(
    studio: OpenStudio, person: Person, browser_page: Page
) -> None:
    studio.sign_in(browser_page)
    browser_page.goto(f"{studio.address}/people/{person.id}/measure")
    pictures = sorted((person.folder / "portraits" / "headshots-base").glob("*.png"))[:3]
    browser_page.set_input_files("#judge-files", [str(p) for p in pictures])
    browser_page.fill("#judge-name", "Other Tool")
    browser_page.get_by_role("button", name="Judge them").click()
    browser_page.locator("#now [data-job]").wait_for()
    kept = studio.studio.home / "judged" / person.id / "other-tool"
    assert sorted(p.name for p in kept.iterdir() if p.suffix == ".png") == [
        f"picture-00{i}.png" for i in (1, 2, 3)
    ]
    job = studio.app.state.queue.list(folder=person.folder)[0]
    assert (job.kind, job.arguments["portraits"]) == ("judge", str(kept))
    browser_page.goto(f"{studio.address}/jobs")
    browser_page.locator("#waiting").get_by_role("button", name="Urgent").first.click()
    browser_page.get_by_text("priority 10").wait_for()
    browser_page.locator("#waiting").get_by_role("button", name="Cancel").first.click()
    browser_page.locator("#past").get_by_text("stopped").first.wait_for()
