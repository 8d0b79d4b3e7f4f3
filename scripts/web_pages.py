"""Screenshots of the studio's pages for `docs/web.md`, on a person who does not exist.

python -m scripts.web_pages LIKENESS_DIR [--out docs/web] [--only photos captions]

The likeness is one that `portrait-lora demo` made; a copy is shown, and nothing of it is changed.  Every
picture stays below 80 KB.  A page is a row of `PAGES`; one that is not there (yet) is left out, with a word.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS: Final = Path(__file__).parents[1] / "docs" / "web"
MOST_BYTES: Final = 80_000
Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Shot:
    """One picture: the page (`{id}` is the person), the window, and what is done before it is taken."""

    name: str
    path: str
    width_px: int = 1280
    height_px: int = 860
    scheme: Scheme = "light"
    before: Callable[[Page], None] | None = None


def _crop(page: Page) -> None:
    page.locator("[data-crop]").nth(2).click()
    page.locator("#crop-image").evaluate("image => image.decode()")
    for _ in range(12):
        page.locator("#crop-frame").press("Shift+ArrowUp")


def _replace(page: Page) -> None:
    page.get_by_role("button", name="Find and replace").click()
    page.fill("#find", "seamless backdrop")
    page.fill("#by", "wall")
    page.locator("#hits li").first.wait_for()


def _canvas(page: Page) -> None:
    page.locator("#tiles .shot a").first.click()
    page.locator("#easel img").first.evaluate("image => image.decode()")
    page.locator("#brush").click()
    box = page.locator("#paint").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.36 * box["width"], box["y"] + 0.72 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.64 * box["width"], box["y"] + 0.74 * box["height"], steps=8)
    page.mouse.up()


def _remark(page: Page) -> None:
    shot = page.locator("#shots [data-shot]").first
    shot.locator("[data-template]").select_option("*")
    shot.locator("[data-prompt]").fill("an 8k masterpiece with nice lighting")
    shot.locator(".remark").first.wait_for(timeout=180_000)
    shot.scroll_into_view_if_needed()


def _plan(page: Page) -> None:
    page.locator("#plan .numbers").wait_for(timeout=400_000)


def _checks(page: Page) -> None:
    page.locator("#checks .checks").wait_for(timeout=400_000)


PAGES: Final[tuple[Shot, ...]] = (
    Shot("home", "/"),
    Shot("photos", "/people/{id}/photos"),
    Shot("photos-dark", "/people/{id}/photos", scheme="dark"),
    Shot("photos-phone", "/people/{id}/photos", 390, 844),
    Shot("crop", "/people/{id}/photos", before=_crop),
    Shot("captions", "/people/{id}/captions"),
    Shot("captions-phone", "/people/{id}/captions", 390, 844, "dark"),
    Shot("replace", "/people/{id}/captions", before=_replace),
    Shot("training", "/people/{id}/training", height_px=1500, before=_plan),
    Shot("training-phone", "/people/{id}/training", 390, 844, "dark", before=_plan),
    Shot("portraits", "/people/{id}/portraits"),
    Shot("portraits-phone", "/people/{id}/portraits", 390, 844),
    Shot("canvas", "/people/{id}/portraits", before=_canvas),
    Shot("canvas-dark", "/people/{id}/portraits", scheme="dark", before=_canvas),
    Shot("book", "/people/{id}/portraits/book?begin=headshots", before=_remark),
    Shot("measure", "/people/{id}/measure", height_px=1000),
    Shot("measure-phone", "/people/{id}/measure", 390, 844, "dark"),
    Shot("settings", "/people/{id}/settings"),
    Shot("models", "/models"),
    Shot("doctor", "/doctor", before=_checks),
    Shot("jobs", "/jobs"),
)
"""In the order of the document; add a page here."""


@contextmanager
def shown(likeness: Path) -> Iterator[tuple[str, str, str]]:
    """The address of a studio with a copy of the likeness, the link that signs in, the person's id."""
    from tests.web.open_studio import TOKEN, open_studio

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "Studio person"
        shutil.copytree(likeness, copy)
        with open_studio(Path(folder) / "home", likenesses=(copy,)) as studio:
            person = next(iter(studio.studio._now().values()))
            yield studio.address, f"{studio.address}/sign-in?token={TOKEN}", person.id


def take(browser: Browser, shot: Shot, address: str, link: str, person: str) -> bytes | None:
    """The picture as JPEG below `MOST_BYTES`; None when there is no such page."""
    size = {"width": shot.width_px, "height": shot.height_px}
    context = browser.new_context(viewport=size, color_scheme=shot.scheme)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.goto(link)
        page.wait_for_url(f"{address}/")
        answer = page.goto(address + shot.path.format(id=person))
        if answer is None or not answer.ok:
            return None
        if shot.before:
            shot.before(page)
        page.wait_for_load_state("networkidle")
        page.evaluate("document.fonts.ready")
        return small(page.screenshot())
    finally:
        context.close()


def small(png: bytes) -> bytes:
    """The picture as a JPEG of the best quality that stays below `MOST_BYTES`."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (88, 82, 76, 70, 62, 54, 46):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        if stream.tell() <= MOST_BYTES:
            break
    return stream.getvalue()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("likeness", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS)
    parser.add_argument("--only", nargs="*", default=[], help="names of PAGES")
    arguments = parser.parse_args(argv)
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium on this machine")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with shown(arguments.likeness) as (address, link, person), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for shot in PAGES:
            if arguments.only and shot.name not in arguments.only:
                continue
            data = take(browser, shot, address, link, person)
            if data is None:
                print(f"{shot.name}: no such page")
                continue
            (arguments.out / f"{shot.name}.jpg").write_bytes(data)
            print(f"{shot.name}.jpg: {len(data) / 1000:.0f} KB")
        browser.close()


if __name__ == "__main__":
    main()
