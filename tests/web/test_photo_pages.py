"""Home, Photos and Captions in a browser, as wide as a phone and as a desk: one journey through each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from portrait_lora.dataset.caption import read_captions, write_captions
from portrait_lora.web.services import captions, photos
from portrait_lora.web.users import OWNER
from tests.browser import Window
from tests.sampling import sampled
from tests.web.open_studio import OpenStudio, findings, open_studio, too_wide
from tests.web.test_photo_services import checked, picture, verdict

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE, DESK = Window(390, 844, "dark"), Window(1280, 900)
both = pytest.mark.parametrize(
    "browser_page", sampled([PHONE, DESK], kept=lambda window: window == PHONE, name=str), indirect=True
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStudio]:
    """One studio for all of this file."""
    with open_studio(tmp_path_factory.mktemp("studio")) as studio:
        yield studio


def files(*shades: int) -> list[Any]:
    """What a person chooses."""
    size = (160, 200)
    return [{"name": f"IMG {n}.JPG", "mimeType": "image/jpeg", "buffer": picture(n, size)} for n in shades]


def expected(troubles: list[str], status: int) -> None:
    """One answer of this status was meant to come, and nothing else went wrong."""
    assert [one.partition(":")[0] for one in troubles] == [str(status)]
    troubles.clear()


def wait_for_words(page: Page, words: str) -> None:
    """Wait for words at the foot of the page."""
    page.locator("#words", has_text=words).wait_for()


@both
def test_from_a_new_person_to_decided_photos(
    opened: OpenStudio, browser_page: Page, page_troubles: list[str]
) -> None:
    page = browser_page
    opened.sign_in(page)
    assert findings(page) == [] and not too_wide(page)
    page.locator("[data-open=new-person]").first.click()
    page.fill("#person-name", "Anna Ek")
    page.click("dialog[open] button.primary")
    page.wait_for_url("**/photos")
    person = next(p for p in opened.studio.people(OWNER) if p.id in page.url)

    page.locator("#drop .empty").wait_for()
    bad: Any = {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"PK\x03\x04" + bytes(300)}
    page.set_input_files("#files", [*files(1, 2, 3), bad, files(2)[0]])
    wait_for_words(page, "3 added, 1 was here already, 1 refused.")
    assert page.locator(".photo").count() == 3 and page.locator(".photo .frame img").first.is_visible()
    assert "Not a JPEG" in page.locator(".file .why").inner_text()
    expected(page_troubles, 422)
    assert page.locator("#checking .job").count() == 1  # it looks at them by itself
    assert page.locator("#consent").get_by_text("consent of the person").is_visible()

    opened.app.state.queue.cancel(opened.app.state.queue.list(folder=person.folder)[0].id)
    checked(person, verdict("IMG 1.jpg"), verdict("IMG 2.jpg", "blurred"),
            verdict("IMG 3.jpg", "doubtful_person", severity="question"))  # fmt: skip
    page.reload()
    card = page.locator(".photo", has_text="IMG 2.jpg")
    assert card.locator("svg.box rect").count() == 1 and "Blurred" in card.inner_text()
    card.get_by_role("button", name="Take it anyway").click()
    card.get_by_text("You take it anyway").wait_for()
    page.get_by_role("button", name="This is Anna Ek").click()
    page.get_by_text("You said: this is Anna Ek").wait_for()
    settings = photos.settings_of(person.folder).dataset
    assert (settings.curate.use_anyway, settings.curate.same_person) == (("IMG 2.jpg",), ("IMG 3.jpg",))
    assert findings(page) == [] and not too_wide(page)

    card = page.locator(".photo", has_text="IMG 1.jpg")
    card.get_by_role("button", name="Turn").click()
    card.get_by_text("turned by hand").wait_for()
    card.get_by_role("button", name="Crop").click()
    page.locator("#crop-frame").press("Shift+ArrowLeft")
    assert findings(page) == []
    page.click("#crop-save")
    card.get_by_text("turned and cropped by hand").wait_for()
    edit = photos.edit_of(person.folder, "IMG 1.jpg")
    assert edit is not None and (edit.turn_deg, edit.crop) == (90, (0.0, 0.0, 0.99, 1.0))

    card.get_by_role("button", name="Remove").click()
    wait_for_words(page, "IMG 1.jpg was removed")
    assert page.locator("#photo-grid .photo").count() == 2
    page.get_by_role("button", name="Undo").click()
    page.locator("#photo-grid .photo", has_text="turned and cropped").wait_for()

    page.get_by_role("button", name="Record the consent").click()
    assert findings(page) == []
    page.click("#consent-form button.primary")
    page.get_by_text("Anna Ek has agreed to training, portraits").wait_for()
    assert (person.folder / "consent.json").is_file()


@pytest.mark.parametrize("browser_page", [DESK], indirect=True, ids=str)
def test_an_upload_that_is_cut_off_leaves_nothing_half_and_the_person_is_forgotten(
    opened: OpenStudio, browser_page: Page, page_troubles: list[str]
) -> None:
    page = browser_page
    opened.sign_in(page)
    person = opened.studio.create(OWNER, "Torn")
    page.goto(f"{opened.address}/people/{person.id}/photos")
    page.evaluate(
        "document.querySelector('#drop').dataset.most = '1000'"
    )  # as one of 2 GB, before it is sent
    page.reload()
    page.route(
        "**/photos", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    page.set_input_files("#files", files(7))
    page.locator(".file .why", has_text="does not answer").wait_for()
    page.unroute("**/photos")
    assert photos.files_of(person.folder) == [] and not list(opened.studio.home.glob("uploads/*/*"))
    page.set_input_files("#files", files(7))
    wait_for_words(page, "1 added.")
    page_troubles.clear()  # the request that was cut off

    page.locator("#checking .job").wait_for()  # with a job that waits
    page.get_by_role("button", name="Forget Torn").click()
    assert page.locator("#forget-now").is_disabled() and findings(page) == []
    page.fill("#forget-name", "Torn")
    page.click("#forget-now")
    page.wait_for_url(f"{opened.address}/")
    assert not person.folder.exists() and person.id not in {p.id for p in opened.studio.people(OWNER)}


@pytest.mark.parametrize("browser_page", [PHONE], indirect=True, ids=str)
def test_captions_are_edited_replaced_and_taken_back(
    opened: OpenStudio, browser_page: Page, page_troubles: list[str]
) -> None:
    page = browser_page
    person = opened.studio.create(OWNER, "Bea")
    texts = {"a-111111-1.png": "ohwx person, navy shirt", "b-222222-1.png": "ohwx person, navy coat"}
    (person.folder / "dataset" / "train").mkdir(parents=True)
    (person.folder / "dataset" / "train" / "a-111111-1.png").write_bytes(picture(1, kind="PNG"))
    write_captions(person.folder / captions.NAME, texts)
    opened.sign_in(page)
    page.goto(f"{opened.address}/people/{person.id}/captions")
    assert findings(page) == [] and not too_wide(page)
    first = page.locator("textarea").first
    first.fill("ohwx person, red shirt")
    first.press("Enter")
    page.get_by_text("Saved", exact=True).wait_for()
    assert read_captions(person.folder / captions.NAME)["a-111111-1.png"] == "ohwx person, red shirt"

    second = page.context.new_page()
    second.goto(page.url)
    second.locator("textarea").first.fill("ohwx person, green shirt")
    second.locator("textarea").first.press("Enter")
    second.get_by_text("Saved", exact=True).wait_for()
    first.fill("ohwx person, blue shirt")
    with page.expect_response(lambda r: r.status == 409):
        first.press("Enter")
    dialog = page.locator("#conflict")
    dialog.get_by_text("ohwx person, green shirt").wait_for()
    assert dialog.get_by_text("ohwx person, blue shirt").is_visible() and findings(page) == []
    expected(page_troubles, 409)
    page.click("#keep-yours")
    page.get_by_text("Saved", exact=True).wait_for()

    page.get_by_role("button", name="Find and replace").click()
    page.fill("#find", "navy")
    page.fill("#by", "teal")
    page.get_by_text("1 caption would change").wait_for()
    assert page.locator("#hits del").inner_text() == "navy" and findings(page) == []
    page.click("#replace-all")
    wait_for_words(page, "1 caption changed")
    now = read_captions(person.folder / captions.NAME)
    assert now == {"a-111111-1.png": "ohwx person, blue shirt", "b-222222-1.png": "ohwx person, teal coat"}
    page.reload()  # what can be taken back is kept
    page.click("#undo")
    wait_for_words(page, "1 caption is as before")
    page.click("#undo")
    page.locator("textarea").first.get_by_text("green").wait_for()
    assert read_captions(person.folder / captions.NAME)["b-222222-1.png"] == "ohwx person, navy coat"


@pytest.mark.parametrize("browser_page", [DESK], indirect=True, ids=str)
def test_the_frame_by_keyboard(opened: OpenStudio, browser_page: Page) -> None:
    page = browser_page
    opened.sign_in(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("?")
    page.locator("#keys[open]").wait_for()
    assert page.locator("#keys-list dt", has_text="g j").count() == 1 and findings(page) == []
    page.keyboard.press("Escape")
    page.click("[data-theme-switch]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark" and findings(page) == []
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_all_script_together_is_small() -> None:
    static = Path(photos.__file__).parents[1] / "static"
    assert sum(p.stat().st_size for p in static.rglob("*.js") if "docs" not in p.name) <= 60_000
