"""The gallery page shows every look."""

from pathlib import Path

from portrait_lora.generation.templates import TEMPLATES
from scripts import gallery


def test_the_page_is_that_of_the_book_and_its_sheets_are_there() -> None:
    text = (gallery.DOCS / "gallery.md").read_text(encoding="utf-8")
    assert text == gallery.page(gallery.grouped())
    for look in TEMPLATES:
        assert f"| {look.name} | {look.group} | {'shown' if gallery.is_shown(look) else 'not shown'}" in text
    shown = {look.group for look in TEMPLATES if gallery.is_shown(look)}
    assert {p.stem for p in Path(gallery.DOCS).glob("gallery-*.jpg")} == {f"gallery-{g}" for g in shown}
